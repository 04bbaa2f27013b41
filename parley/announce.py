"""What `parley up` tells its operator in plain words: what runs, on which defaults, and what to set for more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

import parley
from parley.settings import Settings, listed


@dataclass(frozen=True, slots=True)
class HostAddress:
    """Where workers find the model host, and the key that it asks for."""

    url: str
    key: str


async def describe_host(host: HostAddress) -> str:
    """The model and engine as the first host names them, or why nothing can be said."""
    first, *others = listed(host.url)
    beside = f", and {len(others)} more" if others else ""
    return await _describe(first, host.key) + beside


async def _describe(url: str, key: str) -> str:
    root = url.rstrip("/").removesuffix("/v1")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=5.0)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        models = (await _json(session, f"{root}/v1/models")).get("data") or []
        health = await _json(session, f"{root}/health")
    if not models:
        return "not answering yet: questions wait in the mailbox until it does ('parley check' says more)"
    engine = f" on {health['engine']}, {health.get('device', 'device unknown')}" if "engine" in health else ""
    return f"{models[0].get('id', 'unnamed')}{engine}"


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """The JSON object at `url`, or an empty one: what cannot be asked is not announced."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            found = await response.json() if response.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def announce(
    settings: Settings, model: str, watch: Mapping[str, int], say: Callable[[str], None], first_link: str = ""
) -> None:
    """Says what was started, one line a part; `watch` is the port at which each part can be watched.

    `first_link` makes the first admin's account; it is shown to nobody else and in no log.
    """
    say(f"Parley {parley.__version__} is running.")
    for name, line in _lines(settings, model, watch):
        say(f"  {name:<10} {line}")
    if first_link:
        say("The console has no admin yet. This link makes the first one; it works once, for a day:")
        say(f"  {first_link}")
    say("Ctrl+C stops everything; nothing is lost. Logs are in " + _short(settings.home / "logs") + ".")


def _lines(settings: Settings, model: str, watch: Mapping[str, int]) -> list[tuple[str, str]]:
    home = settings.home
    mailbox = f"Valkey, embedded, in {_short(home / 'valkey')} (REDIS_URL replaces it)"
    log = f"SQLite, {_short(home / 'parley.db')} (DATABASE_URL replaces it)"
    shipped = " (MODEL or MODEL_URL replaces it)" if not settings.model and settings.model_url is None else ""
    slack = "on, over Socket Mode" if settings.slack_on else "off: put SLACK_BOT_TOKEN and SLACK_APP_TOKEN into .env"
    discord = "on" if settings.discord_on else "off: put DISCORD_TOKEN into .env"
    return [
        ("web page", f"http://127.0.0.1:{settings.parley_port}"),
        ("console", f"http://127.0.0.1:{settings.parley_port}/console"),
        ("terminal", "parley chat  (.venv/bin/parley chat after make run)"),
        ("model", f"{model}{shipped}"),
        ("mailbox", "REDIS_URL" if settings.redis_url else mailbox),
        ("log", "DATABASE_URL" if settings.database_url else log),
        ("Slack", slack),
        ("Discord", discord),
        ("watch", ", ".join(f"{name} http://{settings.watch_host}:{port}/ready" for name, port in watch.items())),
    ]


def _short(path: Path) -> str:
    """Relative to where the operator stands, when it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
