"""Turns follow Discord's headers: what they say holds for all that share the buckets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bots.discord.turns import NoTurn, Turns
from core.chat.pacing import Pacer
from tests.support.counting_meter import CountingMeter
from tests.support.memory_buckets import MemoryBuckets

API = "https://discord.com/api/v10"
MESSAGES = "/channels/1/messages"


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


class Desk:
    """Two processes that share the buckets, and a clock that a test moves."""

    def __init__(self) -> None:
        self.clock, self.meter = Clock(), CountingMeter()
        buckets = MemoryBuckets(self.clock)
        self.mine, self.theirs = (Turns(Pacer(buckets, self.meter)) for _ in range(2))

    async def taken(self, kind: Any, channel: str = "1") -> int:
        """How many turns the other process gets now."""
        for number in range(1000):
            try:
                await self.theirs.take(kind, channel, 0.0)
            except NoTurn:
                return number
        return 1000


async def answer(
    turns: Turns, method: str, headers: dict[str, str], *, path: str = MESSAGES, status: int = 200
) -> None:
    """Discord answers a request of this process."""
    url = SimpleNamespace(path=f"/api/v10{path}")
    end = SimpleNamespace(method=method, url=url, response=SimpleNamespace(status=status, headers=headers))
    [note] = turns.watch().on_request_end
    await cast("Any", note)(None, None, end)


def window(calls: int, left: int, reset_s: float) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(calls),
        "X-RateLimit-Remaining": str(left),
        "X-RateLimit-Reset-After": str(reset_s),
    }


async def test_a_channel_gives_five_turns_of_each_kind_in_five_seconds() -> None:
    desk = Desk()

    assert [await desk.taken(kind) for kind in ("post", "edit", "delete")] == [5, 5, 5]
    desk.clock.at += 2.0
    assert (await desk.taken("post"), await desk.taken("post", "2")) == (2, 5)


async def test_what_is_used_up_is_used_up_for_all() -> None:
    desk = Desk()

    await answer(desk.mine, "PATCH", window(5, 0, 3.5), path=f"{MESSAGES}/7")

    assert [await desk.taken("edit"), await desk.taken("post"), await desk.taken("edit", "2")] == [0, 5, 5]
    desk.clock.at += 3.6
    assert await desk.taken("edit") == 5
    assert desk.meter.limited == []


async def test_refusal_holds_its_channel_for_all_and_is_counted() -> None:
    desk = Desk()

    await answer(desk.mine, "POST", {"Retry-After": "2.5"}, status=429)

    assert [await desk.taken("post"), await desk.taken("edit"), await desk.taken("post", "2")] == [0, 5, 5]
    desk.clock.at += 2.6
    assert await desk.taken("post") == 5
    assert desk.meter.limited == [("discord", "post")]


@pytest.mark.parametrize("path", [MESSAGES, "/users/@me"])
async def test_refusal_of_everything_holds_everything(path: str) -> None:
    desk = Desk()

    headers = {"Retry-After": "2.5", "X-RateLimit-Global": "true"}
    await answer(desk.mine, "POST", headers, path=path, status=429)

    assert [await desk.taken("post"), await desk.taken("edit", "2")] == [0, 0]
    desk.clock.at += 2.6
    assert await desk.taken("edit", "2") == 5


async def test_length_of_a_window_is_learned_from_its_first_call() -> None:
    desk = Desk()

    await answer(desk.theirs, "POST", window(10, 9, 2.0))
    await answer(desk.theirs, "POST", window(10, 8, 1.0))

    assert await desk.taken("post") == 10
    desk.clock.at += 1.0
    assert await desk.taken("post") == 5


@pytest.mark.parametrize("headers", [{}, {"X-RateLimit-Remaining": "soon"}, {"Retry-After": "x"}])
async def test_headers_that_say_nothing_change_nothing(headers: dict[str, str]) -> None:
    desk = Desk()

    await answer(desk.mine, "POST", headers)
    await answer(desk.mine, "POST", headers, path="/channels/1/typing", status=429)

    assert await desk.taken("post") == 5
