"""All settings, read from the environment and `.env`: the only place that reads either."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.chat.failpoints import Point
from parley.errors import SettingsError

ENV_FILE = ".env"
WEB_HOST = "127.0.0.1"  # the page knows no logins: whoever wants it elsewhere puts a proxy with one before it
CLUSTER_SCHEMES = ("redis+cluster://", "rediss+cluster://")
CLUSTER_SHARDS = 16
FAILPOINT = re.compile(rf"({'|'.join(get_args(Point))})=(kill|stop)(?::([1-9]\d*))?")
MAX_SOCKET_PATH_BYTES = 107  # sun_path of sockaddr_un, less the closing zero


class Settings(BaseSettings):
    """One field per setting; the environment wins over `.env`, and an empty value counts as not set."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True)

    slack_bot_token: SecretStr | None = None
    slack_app_token: SecretStr | None = None
    slack_signing_secret: SecretStr | None = None
    slack_api_url: str | None = None

    discord_token: SecretStr | None = None
    discord_message_content: bool = False
    discord_api_url: str | None = None
    discord_gateway_url: str | None = None

    redis_url: SecretStr | None = None
    database_url: SecretStr | None = None

    model: str = ""
    model_url: str | None = None
    model_api_key: SecretStr | None = None
    engine: Literal["auto", "openvino", "torch"] = "auto"
    context_tokens: int = Field(default=4096, ge=256)
    embedder: str = ""

    persona_file: Path | None = None
    temperature: float = Field(default=0.3, ge=0.0, le=2.0)
    top_p: float = Field(default=0.9, gt=0.0, le=1.0)
    max_tokens: int = Field(default=512, ge=1)

    parley_home: Path = Path("var")
    parley_port: int = Field(default=8080, ge=1, le=65535)
    parley_hosts: str = ""
    history_days: float = Field(default=30.0, gt=0.0)
    mailbox_shards: int | None = Field(default=None, ge=1, le=64)
    mailbox_replicas: int = Field(default=0, ge=0)
    backfill_hours: float = Field(default=24.0, ge=0.0, le=24.0)
    backfill_messages: int = Field(default=1000, ge=1)

    console_oidc_issuer: str | None = None
    console_oidc_client_id: str = ""
    console_oidc_client_secret: SecretStr | None = None
    console_oidc_name: str = ""
    console_oidc_team: str = ""
    console_oidc_role: Literal["viewer", "reviewer", "trainer", "releaser", "admin"] | None = None

    inbox_limit: int = Field(default=20, ge=1)
    person_messages_per_minute: float = Field(default=20.0, ge=0.0)
    channel_messages_per_minute: float = Field(default=60.0, ge=0.0)
    workspace_messages_per_minute: float = Field(default=600.0, ge=0.0)
    person_tokens_per_minute: float = Field(default=10_000.0, ge=0.0)
    workspace_tokens_per_minute: float = Field(default=200_000.0, ge=0.0)
    worker_slots: int = Field(default=32, ge=1)
    host_slots: int = Field(default=0, ge=0)

    lease_s: float = Field(default=15.0, ge=1.0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    watch_host: str = "127.0.0.1"
    watch_port: int | None = Field(default=None, ge=1, le=65534)
    otel_exporter_otlp_endpoint: str | None = None
    parley_failpoint: str = ""

    @field_validator("slack_bot_token")
    @classmethod
    def _bot_token(cls, token: SecretStr | None) -> SecretStr | None:
        return _prefixed(token, "xoxb-", "the Bot User OAuth Token under 'OAuth & Permissions'")

    @field_validator("slack_app_token")
    @classmethod
    def _app_token(cls, token: SecretStr | None) -> SecretStr | None:
        return _prefixed(token, "xapp-", "an App-Level Token with connections:write under 'Basic Information'")

    @field_validator("slack_api_url", "discord_api_url", "otel_exporter_otlp_endpoint")
    @classmethod
    def _http_url(cls, url: str | None) -> str | None:
        return _with_scheme(url, ("http://", "https://"))

    @field_validator("model_url")
    @classmethod
    def _http_urls(cls, urls: str | None) -> str | None:
        for url in listed(urls or ""):
            _with_scheme(url, ("http://", "https://"))
        return urls

    @field_validator("discord_gateway_url")
    @classmethod
    def _ws_url(cls, url: str | None) -> str | None:
        return _with_scheme(url, ("ws://", "wss://"))

    @field_validator("parley_failpoint")
    @classmethod
    def _failpoint(cls, text: str) -> str:
        if text and not FAILPOINT.fullmatch(text):
            raise ValueError(f"is no point=kill or point=stop with a point of {', '.join(get_args(Point))}.")
        return text

    @model_validator(mode="after")
    def _slack_is_whole(self) -> Self:
        if self.slack_bot_token and not self.slack_app_token:
            raise ValueError(
                "SLACK_BOT_TOKEN is set but SLACK_APP_TOKEN is not; Socket Mode needs both. Make an App-Level Token "
                "(xapp-…) with connections:write under 'Basic Information' and put it into .env, or remove both."
            )
        if self.slack_app_token and not self.slack_bot_token:
            raise ValueError(
                "SLACK_APP_TOKEN is set but SLACK_BOT_TOKEN is not. Copy the Bot User OAuth Token (xoxb-…) from "
                "'OAuth & Permissions' into .env, or remove both."
            )
        return self

    @field_validator("console_oidc_issuer")
    @classmethod
    def _safe_issuer(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise ValueError("does not begin with https://; who somebody is must not be told in the clear.")
        return url

    @model_validator(mode="after")
    def _provider_is_whole(self) -> Self:
        issuer = self.console_oidc_issuer or ""
        if issuer and not (self.console_oidc_client_id and self.console_oidc_client_secret):
            raise ValueError(
                "CONSOLE_OIDC_ISSUER is set, but CONSOLE_OIDC_CLIENT_ID or CONSOLE_OIDC_CLIENT_SECRET is not. Copy "
                "both from the provider's page of your application, or remove the issuer."
            )
        host = urlsplit(issuer).hostname
        if host == "slack.com" and not self.console_oidc_team:
            raise ValueError(
                "CONSOLE_OIDC_ISSUER names Slack, where anybody has a login. Set CONSOLE_OIDC_TEAM to the id of your "
                "workspace (T…)."
            )
        if host == "discord.com" and self.console_oidc_role and not self.console_oidc_team:
            raise ValueError(
                "CONSOLE_OIDC_ROLE would let everybody in who has a Discord account. Set CONSOLE_OIDC_TEAM to the "
                "id of your server, or remove the role."
            )
        return self

    @property
    def home(self) -> Path:
        """The folder of all data, absolute."""
        return self.parley_home.expanduser().absolute()

    @property
    def hosts(self) -> list[str]:
        """The names in PARLEY_HOSTS."""
        return listed(self.parley_hosts)

    @property
    def model_urls(self) -> list[str]:
        """The addresses in MODEL_URL."""
        return listed(self.model_url or "")

    @property
    def runtime_dir(self) -> Path:
        """A short folder for sockets: a socket's path is limited to 107 bytes, and `home` may lie deep."""
        digest = hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:10]
        return Path(f"/tmp/parley-{os.getuid()}-{digest}")  # noqa: S108 - its owner and mode are checked before use

    @property
    def embedded_socket(self) -> Path:
        """Where the embedded Valkey listens."""
        return self.runtime_dir / "valkey.sock"

    @property
    def mailbox_url(self) -> str:
        """REDIS_URL, or the embedded Valkey's."""
        return self.redis_url.get_secret_value() if self.redis_url else f"unix://{self.embedded_socket}"

    @property
    def backfill_s(self) -> float:
        """BACKFILL_HOURS in seconds."""
        return self.backfill_hours * 3600.0

    @property
    def shards(self) -> int:
        """MAILBOX_SHARDS, or as many as suit the server: with a cluster, several for each primary."""
        cluster = self.mailbox_url.startswith(CLUSTER_SCHEMES)
        return self.mailbox_shards or (CLUSTER_SHARDS if cluster else 1)

    @property
    def ledger_url(self) -> str:
        """DATABASE_URL, or SQLite under `home`."""
        return self.database_url.get_secret_value() if self.database_url else f"sqlite:///{self.home}/parley.db"

    @property
    def slack_on(self) -> bool:
        """Whether Slack's tokens are set."""
        return self.slack_bot_token is not None

    @property
    def discord_on(self) -> bool:
        """Whether Discord's token is set."""
        return self.discord_token is not None

    @property
    def platforms(self) -> list[str]:
        """The platforms that are switched on."""
        switched = {"slack": self.slack_on, "discord": self.discord_on}
        return ["web", "terminal", *(name for name, on in switched.items() if on)]


def load_settings() -> Settings:
    """Reads the environment and `.env`.

    Raises:
        SettingsError: a line for each setting that is wrong; secrets are never quoted.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_line(item) for item in error.errors(include_url=False))) from None


def child_environment(overrides: Mapping[str, str]) -> dict[str, str]:
    """The environment for a part that `parley up` starts: ours, with what was decided at start."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **overrides}


def unknown_names() -> list[str]:
    """Names in `.env` that are no setting: most likely typing errors."""
    known = {name.upper() for name in Settings.model_fields}
    return sorted(name for name in dotenv_values(ENV_FILE) if name.upper() not in known)


def listed(text: str) -> list[str]:
    """The parts of a list that is written with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _prefixed(token: SecretStr | None, prefix: str, source: str) -> SecretStr | None:
    if token is not None and not token.get_secret_value().startswith(prefix):
        raise ValueError(f"does not begin with {prefix}; copy {source} from your app's page at Slack.")
    return token


def _with_scheme(url: str | None, schemes: tuple[str, ...]) -> str | None:
    if url is not None and not url.startswith(schemes):
        raise ValueError(f"begins with none of {', '.join(schemes)}")
    return url


def _line(error: Mapping[str, object]) -> str:
    location = error.get("loc")
    text = str(error.get("msg", "")).removeprefix("Value error, ")
    if not isinstance(location, tuple) or not location:
        return text
    name = str(location[0])
    secret = Settings.model_fields[name].annotation == SecretStr | None
    shown = "" if secret else f"={error.get('input')!r}"
    return f"{name.upper()}{shown}: {text} Correct it in .env or the environment."
