"""What people are called in Slack: asked once, kept for some minutes, and never worth losing a message for."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import structlog
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.errors import SLACK_FAILURES, reason

_log = structlog.get_logger(__name__)

KEPT_S = 600.0
KEPT_UNKNOWN_S = 60.0
MAX_PEOPLE = 10_000
MAX_ASKED = 20  # a message may mention thousands; users.info allows 100 calls a minute
ASK_S = 1.0  # of the three seconds in which Slack wants its acknowledgement


class Names:
    """Display names by user id. `client` must fail at once rather than wait out a rate limit."""

    def __init__(self, client: AsyncWebClient, now: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._now = now
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def of(self, user_ids: Iterable[str]) -> dict[str, str]:
        """The names of the first people in `user_ids`; the id itself where Slack gives no name in time."""
        asked = list(dict.fromkeys(user_ids))[:MAX_ASKED]
        unknown = [user_id for user_id in asked if self._remembered(user_id) is None]
        await asyncio.gather(*(self._ask(user_id) for user_id in unknown))
        return {user_id: self._remembered(user_id) or user_id for user_id in asked}

    def _remembered(self, user_id: str) -> str | None:
        name, until = self._kept.get(user_id, ("", 0.0))
        return name if until > self._now() else None

    async def _ask(self, user_id: str) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                answer = await self._client.users_info(user=user_id)
        except SLACK_FAILURES as error:
            _log.info("slack_name_unknown", person=user_id, reason=reason(error))
            self._keep(user_id, user_id, KEPT_UNKNOWN_S)
            return
        user = answer.get("user") or {}
        profile = user.get("profile") or {}
        name = profile.get("display_name") or profile.get("real_name") or user.get("real_name") or user.get("name")
        self._keep(user_id, " ".join(str(name or user_id).split()), KEPT_S)

    def _keep(self, user_id: str, name: str, for_s: float) -> None:
        self._kept[user_id] = (name, self._now() + for_s)
        self._kept.move_to_end(user_id)
        while len(self._kept) > MAX_PEOPLE:
            self._kept.popitem(last=False)
