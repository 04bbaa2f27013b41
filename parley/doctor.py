"""`parley check`: looks at settings, connections, tokens, intents, model and clock; a line each, with the remedy."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

import aiohttp

from core.chat.errors import HostError, ParleyError
from core.chat.ports import ModelInfo
from model.client.host import HttpModelHost
from parley.compose import load_persona, secret
from parley.errors import SetupError
from parley.extras import needs
from parley.settings import Settings, unknown_names
from storage.checks import Fact, check_database, check_redis

Level = Literal["ok", "off", "warning", "error"]
# Slack refuses requests whose stamp is more than five minutes off; answers' times are wrong long before.
MAX_CLOCK_SKEW_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    subject: str
    level: Level
    line: str


Examination = Callable[[Settings], Awaitable[list[Finding]]]


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """All findings, each as soon as it is known."""
    for subject, look in _EXAMINATIONS.items():
        try:
            findings = await look(settings)
        except (SetupError, ParleyError) as error:
            findings = [Finding(subject, "error", str(error))]
        for finding in findings:
            yield finding


async def _settings(settings: Settings) -> list[Finding]:
    persona = load_persona(settings)
    strange = [
        Finding("settings", "warning", f"{name} in .env is no setting of Parley's; see .env.example for the names.")
        for name in unknown_names()
    ]
    return [*strange, Finding("settings", "ok", f"read; persona {persona.name!r}, version {persona.version}")]


async def _mailbox(settings: Settings) -> list[Finding]:
    if settings.redis_url is None and not settings.embedded_socket.exists():
        return [Finding("mailbox", "off", "the embedded Valkey is not running; 'parley up' starts it.")]
    return _of_store("mailbox", await check_redis(settings.mailbox_url))


async def _log(settings: Settings) -> list[Finding]:
    if settings.database_url is None and not (settings.home / "parley.db").exists():
        return [Finding("log", "off", "no database yet; 'parley up' makes it.")]
    return _of_store("log", await check_database(settings.ledger_url))


def _of_store(subject: str, facts: list[Fact]) -> list[Finding]:
    return [
        Finding(subject, "warning", f"{fact.name} is {fact.value}: {fact.remedy}")
        if fact.remedy
        else Finding(subject, "ok", f"{fact.name}: {fact.value}")
        for fact in facts
    ]


async def _model(settings: Settings) -> list[Finding]:
    if not settings.model_urls:
        return [_model_here(settings)]
    async with aiohttp.ClientSession() as session:
        found = [await _model_at(url, settings, session) for url in settings.model_urls]
    models = {info.id for info, _ in found if info}
    strange = [Finding("model", "warning", f"the hosts serve different models: {', '.join(sorted(models))}")]
    return [finding for _, findings in found for finding in findings] + (strange if len(models) > 1 else [])


async def _model_at(
    url: str, settings: Settings, session: aiohttp.ClientSession
) -> tuple[ModelInfo | None, list[Finding]]:
    host = HttpModelHost(url, secret(settings.model_api_key), session, model="")
    try:
        info = await host.describe()
    except HostError as error:
        return None, [Finding("model", "error", f"MODEL_URL={url}: {error}")]
    counted = "counts tokens" if info.exact else "counts no tokens (an upper bound is used)"
    line = f"{info.id} at {url}, {info.context_tokens} tokens of context, {counted}"
    return info, [Finding("model", "ok", line), *await _clock_skew(session, url)]


def _model_here(settings: Settings) -> Finding:
    with needs("host", "a model host", "MODEL"):
        from model.serve.errors import HostStartError  # noqa: PLC0415 - with the host's extra
        from model.serve.main import find_model  # noqa: PLC0415
    try:
        fitness = find_model(settings.model)
    except HostStartError as error:
        return Finding("model", "error", str(error))
    return Finding("model", "ok", f"{fitness.name} fits the task; 'parley up' serves it")


async def _clock_skew(session: aiohttp.ClientSession, url: str) -> list[Finding]:
    """Our clock against the Date that a server sends; silent when it sends none."""
    async with session.head(url, allow_redirects=False) as response:
        stamp = response.headers.get("Date")
    if stamp is None:
        return []
    skew_s = time.time() - parsedate_to_datetime(stamp).timestamp()
    if abs(skew_s) > MAX_CLOCK_SKEW_S:
        return [Finding("clock", "warning", f"differs by {skew_s:.0f} s from the model host's; use NTP on both.")]
    return [Finding("clock", "ok", "agrees with the model host's")]


async def _slack(settings: Settings) -> list[Finding]:
    if not settings.slack_on:
        return [Finding("Slack", "off", "SLACK_BOT_TOKEN and SLACK_APP_TOKEN are not set.")]
    with needs("slack", "Slack", "SLACK_BOT_TOKEN"):
        from bots.slack.check import check_slack  # noqa: PLC0415
    found = await check_slack(
        secret(settings.slack_bot_token), secret(settings.slack_app_token), settings.slack_api_url
    )
    return [Finding("Slack", level, line) for level, line in found]


async def _discord(settings: Settings) -> list[Finding]:
    if not settings.discord_on:
        return [Finding("Discord", "off", "DISCORD_TOKEN is not set.")]
    with needs("discord", "Discord", "DISCORD_TOKEN"):
        from bots.discord.check import check_discord  # noqa: PLC0415
    facts = await check_discord(secret(settings.discord_token), settings.discord_api_url)
    findings = [
        Finding("Discord", "ok", f"{facts.bot_name} is on {facts.guild_count} server(s)"),
        Finding("Discord", "ok", f"add it to a server: {facts.invite_url}"),
    ]
    if settings.discord_message_content and not facts.message_content:
        findings.append(
            Finding(
                "Discord",
                "error",
                "DISCORD_MESSAGE_CONTENT is on, but the bot's 'Message Content Intent' is off; turn it on under 'Bot' "
                "on its page in Discord's developer portal, or turn the setting off.",
            )
        )
    return findings


_EXAMINATIONS: dict[str, Examination] = {
    "settings": _settings,
    "mailbox": _mailbox,
    "log": _log,
    "model": _model,
    "Slack": _slack,
    "Discord": _discord,
}
