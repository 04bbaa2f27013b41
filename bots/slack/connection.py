"""The connection to Slack's Web API: settings, one shared HTTP session, and who we are there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncServerErrorRetryHandler,
)
from slack_sdk.web.async_client import AsyncWebClient

SLACK_API_URL = "https://slack.com/api/"
CALL_S = 20.0
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class BackfillSettings:
    """How far back, and how many messages at most, is read of what was missed in one absence.

    Reading begins `overlap_s` before the mark, as Slack's clock is another than ours. While all is heard the mark is
    moved every `mark_s`. What is said in a channel that Slack cannot let us read waits for `patience_s` at most.
    """

    max_age_s: float = 24 * 3600.0
    max_messages: int = 1000
    overlap_s: float = 60.0
    mark_s: float = 5.0
    patience_s: float = 120.0


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """How to reach Slack.

    `sockets` is the number of Socket Mode connections, of which Slack allows ten an app. One is made anew when it is
    not connected within `connect_s`, stays closed for `regain_s`, lets `silent_pings` pings pass without an answer, or
    brings no event for `quiet_s`: less than the five minutes after which Slack last tries an event again.
    """

    bot_token: str = field(repr=False)
    app_token: str = field(default="", repr=False)
    api_url: str | None = None
    sockets: int = 2
    ping_s: float = 10.0
    connect_s: float = 30.0
    regain_s: float = 8.0
    silent_pings: float = 3.0
    quiet_s: float = 240.0
    look_s: float = 1.0
    backfill: BackfillSettings = BackfillSettings()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the bot token makes us. `team_id` is our workspace, wherever the person who writes to us is at home."""

    team_id: str
    team: str
    user_id: str
    bot_id: str


@dataclass(slots=True)
class SlackWeb:
    """Two clients over one session, which differ in what they do when a call fails. Rate limits are left to `pace.py`.

    `patient` repeats after a server's fault: for what can be done twice without harm.
    `prompt` fails at once: for posts, which have no idempotency key, and for what may be skipped.
    """

    patient: AsyncWebClient
    prompt: AsyncWebClient
    session: aiohttp.ClientSession
    api_url: str
    _me: Identity | None = None

    async def me(self) -> Identity:
        """Our identity, asked once. Raises SLACK_FAILURES."""
        if self._me is None:
            answer = await self.patient.auth_test()
            self._me = Identity(
                team_id=str(answer["team_id"]),
                team=str(answer.get("team") or ""),
                user_id=str(answer["user_id"]),
                bot_id=str(answer.get("bot_id") or ""),
            )
        return self._me


@asynccontextmanager
async def open_web(bot_token: str, api_url: str | None = None) -> AsyncIterator[SlackWeb]:
    """Clients of the Web API for the time of the block."""
    # A session of our own: without it the SDK opens one a call, and with it the SDK's `timeout` is ignored.
    timeout = aiohttp.ClientTimeout(total=CALL_S, sock_connect=CONNECT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        url = api_url or SLACK_API_URL
        faults = AsyncServerErrorRetryHandler(max_retry_count=2)
        yield SlackWeb(
            patient=client(session, url, bot_token, faults, AsyncConnectionErrorRetryHandler()),
            prompt=client(session, url, bot_token),
            session=session,
            api_url=url,
        )


def client(
    session: aiohttp.ClientSession,
    api_url: str,
    token: str | None,
    *retries: AsyncServerErrorRetryHandler | AsyncConnectionErrorRetryHandler,
) -> AsyncWebClient:
    """A client over `session` that repeats a failed call only as `retries` say."""
    made = AsyncWebClient(token=token, base_url=api_url, session=session, retry_handlers=list(retries))
    if is_local(api_url):
        # The SDK sends everything through HTTPS_PROXY and does not look at NO_PROXY.
        made.proxy = None
    return made


def is_local(api_url: str) -> bool:
    """Whether the address is this machine, which no proxy can reach for us."""
    return urlsplit(api_url).hostname in ("127.0.0.1", "localhost", "::1")
