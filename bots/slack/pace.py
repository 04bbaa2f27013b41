"""Turns at Slack's methods: all processes keep the pace of a workspace together, and hold where Slack says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bots.slack.errors import NoTurn, retry_after_s
from core.chat.pacing import Pacer
from core.chat.ports import Bucket

_log = structlog.get_logger(__name__)

INSIST_S = 600.0  # how long what must be done waits for its turn, and waits out rate limits

# Makes one call of the Web API.
Do = Callable[[], Awaitable[AsyncSlackResponse]]


@dataclass(frozen=True, slots=True)
class Tier:
    """How many calls of a method Slack takes a minute, from a workspace or, `per_channel`, in each channel.

    `burst` of them may come at once; the rest is what refills meanwhile, so that no minute has more than the tier.
    """

    per_minute: int
    burst: int
    per_channel: bool = False

    def bucket(self, name: str) -> Bucket:
        """The shared bucket that keeps this tier."""
        return Bucket(name, (self.per_minute - self.burst) / 60.0, float(self.burst))


_TIER_2, _TIER_3, _TIER_4 = Tier(20, 5), Tier(50, 12), Tier(100, 25)
# As Slack publishes them (docs.slack.dev/apis/web-api/rate-limits). With `:spare` stands what of a tier may be used for
# calls that can be left out: a growing text must not take the turns of the final ones.
TIERS: Mapping[str, Tier] = {
    "agents.sessions.setStatus": _TIER_3,
    "chat.appendStream": _TIER_4,
    "chat.delete": _TIER_3,
    "chat.postMessage": Tier(60, 5, per_channel=True),
    "chat.startStream": _TIER_2,
    "chat.stopStream": _TIER_2,
    "chat.update": _TIER_3,
    "chat.update:spare": Tier(30, 8),
    "conversations.history": _TIER_3,
    "conversations.replies": _TIER_3,
    "users.conversations": _TIER_3,
}


class Pace:
    """The pace of one bot token, over all methods.

    Args:
        pacer: The turns that all processes share. Without buckets every turn comes at once.
        tiers: What Slack allows, by method; a method that is not there has no limit.
        now: Seconds, by which this process holds where Slack limited it, whether or not the buckets can be reached.
    """

    def __init__(
        self, pacer: Pacer | None = None, tiers: Mapping[str, Tier] = TIERS, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._pacer = pacer or Pacer()
        self._tiers = tiers
        self._now = now
        self._held_until: dict[str, float] = {}

    def at(self, workspace: str, channel: str = "") -> Place:
        """The place of some calls."""
        return Place(self, workspace, channel)

    async def turn(self, place: Place, method: str, within_s: float) -> bool:
        """Waits for a turn; False when none comes within `within_s` seconds."""
        tier = self._tiers.get(method)
        name = _name(place, method, tier)
        held_s = self._held_until.get(name, 0.0) - self._now()
        if held_s > within_s:
            return False
        if held_s > 0.0:
            await asyncio.sleep(held_s)
        return tier is None or await self._pacer.turn(tier.bucket(name), within_s - max(0.0, held_s))

    async def limited(self, place: Place, method: str, wait_s: float) -> None:
        """Slack refused a call for `wait_s` seconds: nobody calls `method` there until then."""
        tier = self._tiers.get(method) or Tier(60, 5)
        name = _name(place, method, tier)
        _log.info("slack_limited", method=method, channel=place.channel if tier.per_channel else "", wait_s=wait_s)
        self._held_until[name] = self._now() + wait_s
        await self._pacer.limited(tier.bucket(name), wait_s, "slack", method)


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace, and a channel in it, in which calls are made. All methods raise SLACK_FAILURES."""

    pace: Pace
    workspace: str
    channel: str

    async def attempt(self, method: str, do: Do, within_s: float = 0.0) -> AsyncSlackResponse:
        """Makes a call that may be left out. Raises NoTurn when its turn does not come within `within_s` seconds."""
        for asked in (f"{method}:spare", method):
            if not await self.pace.turn(self, asked, within_s):
                raise NoTurn(method)
        return await self._call(method, do)

    async def insist(self, method: str, do: Do) -> AsyncSlackResponse:
        """Makes a call that must be made: waits for its turn, then tries anyway, and waits out what Slack limits."""
        deadline = time.monotonic() + INSIST_S
        while True:
            await self.pace.turn(self, method, max(0.0, deadline - time.monotonic()))
            try:
                return await self._call(method, do)
            except SlackApiError as error:
                wait_s = retry_after_s(error)
                if wait_s is None or time.monotonic() + wait_s > deadline:
                    raise
                await asyncio.sleep(wait_s)

    async def _call(self, method: str, do: Do) -> AsyncSlackResponse:
        try:
            return await do()
        except SlackApiError as error:
            wait_s = retry_after_s(error)
            if wait_s is not None:
                await self.pace.limited(self, method, wait_s)
            raise


def _name(place: Place, method: str, tier: Tier | None) -> str:
    name = f"slack:{place.workspace}:{method}"
    return f"{name}:{place.channel}" if tier is not None and tier.per_channel else name
