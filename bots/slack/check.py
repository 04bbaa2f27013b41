"""Checks the Slack set-up: kinds of tokens, scopes, Socket Mode. Each finding names the remedy."""

from __future__ import annotations

import asyncio
from typing import Literal, NamedTuple

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.connection import Identity, SlackWeb, open_web
from bots.slack.errors import SLACK_FAILURES, SlackSetupError, is_refusal, reason, retry_after_s

_log = structlog.get_logger(__name__)

# Exactly what the code uses; docs/slack-manifest.yml asks for the same.
NEEDED_SCOPES = (
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "channels:read",
    "chat:write",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "mpim:history",
    "mpim:read",
    "users:read",
    "reactions:read",
)
_MANAGE = "https://api.slack.com/apps"
_BOT_REMEDY = f"copy the Bot User OAuth Token (xoxb-…) from {_MANAGE}, OAuth & Permissions"
_APP_REMEDY = (
    f"make an App-Level Token (xapp-…) with the scope connections:write at {_MANAGE}, Basic Information, "
    "and turn Socket Mode on"
)
_RETRIES_S = (1.0, 2.0, 5.0, 10.0, 30.0)


class Finding(NamedTuple):
    """One line of `parley check`."""

    level: Literal["ok", "warning", "error"]
    line: str


async def check_slack(bot_token: str, app_token: str, api_url: str | None = None) -> list[Finding]:
    """Everything an operator can have got wrong with Slack. Never raises for what Slack answers."""
    async with open_web(bot_token, api_url) as web:
        return [*await _bot_findings(web, bot_token), *await _app_findings(web.prompt, app_token, web.api_url)]


async def introduce(web: SlackWeb, app_token: str, stopping: asyncio.Event) -> Identity | None:
    """Who we are, once both tokens were accepted; None when `stopping` came first.

    While Slack cannot be reached it is tried again for ever: an outage of Slack is no fault of the set-up.

    Raises:
        SlackSetupError: a token is wrong.
    """
    for token, kind in ((web.prompt.token or "", "bot"), (app_token, "app")):
        if trouble := _kind_trouble(token, kind):
            raise SlackSetupError(trouble)
    attempt = 0
    while not stopping.is_set():
        name, remedy = "SLACK_BOT_TOKEN", _BOT_REMEDY
        try:
            me = await web.me()
            name, remedy = "SLACK_APP_TOKEN", _APP_REMEDY
            await web.prompt.apps_connections_open(app_token=app_token)
            return me
        except SLACK_FAILURES as error:
            if is_refusal(error) and retry_after_s(error) is None:
                raise SlackSetupError(_failure_line(error, name, remedy, web.api_url)) from error
            _log.warning("slack_unreachable", url=web.api_url, reason=reason(error))
        await _pause(stopping, _RETRIES_S[min(attempt, len(_RETRIES_S) - 1)])
        attempt += 1
    return None


async def _bot_findings(web: SlackWeb, bot_token: str) -> list[Finding]:
    if trouble := _kind_trouble(bot_token, "bot"):
        return [Finding("error", trouble)]
    try:
        answer = await web.prompt.auth_test()
    except SLACK_FAILURES as error:
        return [Finding("error", _failure_line(error, "SLACK_BOT_TOKEN", _BOT_REMEDY, web.api_url))]
    granted = {scope.strip() for scope in str(answer.headers.get("x-oauth-scopes", "")).split(",")}
    found = [Finding("ok", f"SLACK_BOT_TOKEN is accepted: {answer.get('user')} in {answer.get('team')}.")]
    for scope in NEEDED_SCOPES:
        if scope not in granted:
            where = f"add it at {_MANAGE}, OAuth & Permissions, Bot Token Scopes, then reinstall the app"
            found.append(Finding("error", f"SLACK_BOT_TOKEN lacks the scope {scope}: {where}."))
    if len(found) == 1:
        found.append(Finding("ok", "SLACK_BOT_TOKEN has all scopes that Parley uses."))
    return found


async def _app_findings(prompt: AsyncWebClient, app_token: str, api_url: str) -> list[Finding]:
    if trouble := _kind_trouble(app_token, "app"):
        return [Finding("error", trouble)]
    try:
        await prompt.apps_connections_open(app_token=app_token)
    except SLACK_FAILURES as error:
        return [Finding("error", _failure_line(error, "SLACK_APP_TOKEN", _APP_REMEDY, api_url))]
    return [Finding("ok", "SLACK_APP_TOKEN opens Socket Mode.")]


def _kind_trouble(token: str, kind: str) -> str:
    """Says what is wrong with a token at first sight; empty when nothing is."""
    name, prefix, remedy = {
        "bot": ("SLACK_BOT_TOKEN", "xoxb-", _BOT_REMEDY),
        "app": ("SLACK_APP_TOKEN", "xapp-", _APP_REMEDY),
    }[kind]
    if not token:
        return f"{name} is not set: {remedy}."
    return "" if token.startswith(prefix) else f"{name} does not begin with {prefix}: {remedy}."


def _failure_line(error: BaseException, name: str, remedy: str, api_url: str) -> str:
    why = reason(error)
    # A refusal of Slack's has a name; a bare status came from something else that answers there.
    if is_refusal(error) and not why.startswith("http_"):
        return f"{name} is refused by Slack ({why}): {remedy}."
    return f"Slack cannot be reached at {api_url} ({why}): check the network, a proxy, and SLACK_API_URL."


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
