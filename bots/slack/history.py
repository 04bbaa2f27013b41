"""What was said in Slack since some moment, read from Slack itself, channel by channel."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import structlog
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bots.slack.connection import SlackWeb
from bots.slack.errors import SLACK_FAILURES, reason
from bots.slack.pace import Pace, Place

_log = structlog.get_logger(__name__)

_TYPES = ("public_channel", "private_channel", "mpim", "im")
_PAGE = 200  # the most that Slack recommends; it gives 15 to apps that are sold outside its marketplace
_MAX_PAGES = 20
_ROOTS_S = 24 * 3600.0  # how long before `since` a thread may have been opened, for replies in it to be found
_AHEAD_S = 600.0  # Slack's clock may be ahead of ours

# Reads one page, from a cursor on.
_Read = Callable[[str | None], Awaitable[AsyncSlackResponse]]


class History:
    """Reads channels and threads at Slack's pace. All methods raise SLACK_FAILURES."""

    def __init__(self, web: SlackWeb, pace: Pace, workspace: str, now: Callable[[], float] = time.time) -> None:
        self._client = web.patient
        self._pace = pace
        self._workspace = workspace
        self._now = now

    async def channels(self) -> list[str]:
        """All channels, groups and direct messages that the bot is in, as far as its scopes let it list them."""
        try:
            return await self._channels_of(*_TYPES)
        except SLACK_FAILURES as error:
            if reason(error) != "missing_scope":
                raise
        found: list[str] = []
        for channel_type in _TYPES:
            try:
                found += await self._channels_of(channel_type)
            except SLACK_FAILURES as error:
                if reason(error) != "missing_scope":
                    raise
                _log.warning("slack_channels_not_listed", types=channel_type, remedy="run 'parley check'")
        return found

    async def said_since(self, channel: str, since: float, threads: Collection[str]) -> list[dict[str, Any]]:
        """What was said in `channel` after `since`, oldest first, as the events that would have told it.

        Replies are found in `threads`, and in those that were opened within a day before `since`. Where more was said
        than some thousands of messages, the newest are given.
        """
        place = self._pace.at(self._workspace, channel)
        opened = await self._opened(place, since - _ROOTS_S)
        fresh = {str(post["ts"]) for post in opened if float(post.get("latest_reply") or 0.0) > since}
        unseen = set(threads) - {str(post["ts"]) for post in opened}
        found = {str(post["ts"]): post for post in opened}
        for thread in sorted(fresh | unseen):
            found |= {str(post["ts"]): post for post in await self._replies(place, thread, since)}
        said = [post for post in found.values() if float(post["ts"]) > since]
        return [_as_event(post, channel) for post in sorted(said, key=lambda post: float(post["ts"]))]

    async def _channels_of(self, *types: str) -> list[str]:
        def read(cursor: str | None) -> Awaitable[AsyncSlackResponse]:
            return self._client.users_conversations(
                types=",".join(types), exclude_archived=True, limit=_PAGE, cursor=cursor
            )

        place = self._pace.at(self._workspace)
        return [str(channel["id"]) for channel in await _all(place, "users.conversations", "channels", read)]

    async def _opened(self, place: Place, oldest: float) -> list[Mapping[str, Any]]:
        # With an end given Slack begins there: what is cut off, if there is too much, is the oldest.
        latest = f"{self._now() + _AHEAD_S:.6f}"

        def read(cursor: str | None) -> Awaitable[AsyncSlackResponse]:
            return self._client.conversations_history(
                channel=place.channel, oldest=f"{oldest:.6f}", latest=latest, limit=_PAGE, cursor=cursor
            )

        return await _all(place, "conversations.history", "messages", read)

    async def _replies(self, place: Place, thread: str, since: float) -> list[Mapping[str, Any]]:
        def read(cursor: str | None) -> Awaitable[AsyncSlackResponse]:
            return self._client.conversations_replies(
                channel=place.channel, ts=thread, oldest=f"{since:.6f}", limit=_PAGE, cursor=cursor
            )

        try:
            return await _all(place, "conversations.replies", "messages", read)
        except SLACK_FAILURES as error:
            if reason(error) != "thread_not_found":
                raise
            return []  # it was deleted with all its replies


async def _all(place: Place, method: str, key: str, read: _Read) -> list[Mapping[str, Any]]:
    """What stands under `key` on all pages."""
    found: list[Mapping[str, Any]] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await _page(place, method, read, cursor)
        found += page.get(key) or []
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            return found
    _log.warning("slack_history_cut", method=method, channel=place.channel, read=len(found))
    return found


async def _page(place: Place, method: str, read: _Read, cursor: str | None) -> Mapping[str, Any]:
    answer = await place.insist(method, lambda: read(cursor))
    return answer.data if isinstance(answer.data, dict) else {}


def _as_event(post: Mapping[str, Any], channel: str) -> dict[str, Any]:
    # What was edited meanwhile is told with its latest text: for us it is said only now.
    said = {name: value for name, value in post.items() if name != "edited"}
    return {**said, "type": "message", "channel": channel}
