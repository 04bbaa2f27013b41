"""Turns at Discord's calls, which all processes share: they follow what the headers of its responses say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Literal

import aiohttp

from core.chat.errors import DeliveryFailed
from core.chat.pacing import Pacer
from core.chat.ports import Bucket

# What a channel's messages are asked for; each kind has a limit of its own.
Kind = Literal["post", "edit", "delete", "read"]
_KINDS: Mapping[str, Kind] = {"POST": "post", "PATCH": "edit", "DELETE": "delete", "GET": "read"}
_ROUTE = re.compile(r"/channels/(\d+)/messages(?:/\d+)?$")

# Discord publishes no figures. About five posts and five edits have been seen to pass in five seconds and channel.
_CALLS, _WINDOW_S = 5.0, 5.0
# Never empty by itself, for Discord gives each bot a number of its own: held when it says that all calls are too many.
_EVERYWHERE = Bucket("discord:everywhere", 1e6, 1e6)


class NoTurn(DeliveryFailed):
    """Too much goes on in this channel; nothing was asked of Discord."""


@dataclass(slots=True)
class Turns:
    """Takes turns in `pacer`, and tells it what Discord says of the limits; `watch` is how it hears of that."""

    pacer: Pacer
    _pace: dict[Kind, tuple[float, float]] = field(default_factory=dict)  # calls, and the seconds for them

    async def take(self, kind: Kind, channel_id: str, within_s: float) -> None:
        """Waits for a turn, `within_s` seconds at most.

        Raises:
            NoTurn: it would not come in time.
        """
        if not await self.pacer.turn(self._bucket(kind, channel_id), within_s, (_EVERYWHERE,)):
            raise NoTurn(f"Too much goes on in Discord's channel {channel_id} for another {kind} now.")

    def watch(self) -> aiohttp.TraceConfig:
        """For a client's `http_trace`: the SDK waits for its limits by itself, and would tell nobody else."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._note)
        return trace

    async def _note(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        route, kind = _ROUTE.search(end.url.path), _KINDS.get(end.method)
        headers = end.response.headers
        everywhere = bool(headers.get("X-RateLimit-Global"))
        if kind is None or (route is None and not everywhere):
            return
        if end.response.status == 429:
            bucket = self._bucket(kind, route[1]) if route and not everywhere else _EVERYWHERE
            await self.pacer.limited(bucket, _seconds(headers, "Retry-After"), "discord", kind)
        elif route is not None and "X-RateLimit-Remaining" in headers:
            await self._count(kind, route[1], headers)

    async def _count(self, kind: Kind, channel_id: str, headers: Mapping[str, str]) -> None:
        calls, left = _seconds(headers, "X-RateLimit-Limit"), _seconds(headers, "X-RateLimit-Remaining")
        reset_s = _seconds(headers, "X-RateLimit-Reset-After")
        if left == calls - 1 and reset_s > 0:
            self._pace[kind] = (calls, reset_s)  # the first call of a window tells its length
        if left == 0:
            await self.pacer.spent(self._bucket(kind, channel_id), reset_s)

    def _bucket(self, kind: Kind, channel_id: str) -> Bucket:
        calls, window_s = self._pace.get(kind, (_CALLS, _WINDOW_S))
        return Bucket(f"discord:{channel_id}:{kind}", calls / window_s, calls)


def _seconds(headers: Mapping[str, str], name: str) -> float:
    try:
        return max(0.0, float(headers.get(name, "0")))
    except ValueError:
        return 0.0
