"""Seats at hosts: those who wait learn what befalls the hosts, and none of them waits in vain or too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from core.chat.errors import HostUnavailable
from model.client.errors import Overloaded, Unreachable
from model.client.health import BackOff, Clock, Health
from model.client.seats import Seat, Seats
from tests.support.asking import Ticking, never

LONG_S = 3600.0


async def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)


def seats_at(
    *names: str, back_off: BackOff | None = None, clock: Clock = time.monotonic, max_underway: int = 1
) -> Seats:
    back_off = back_off or BackOff(first_s=0.01, pause_s=0.01)
    healths = {name: Health(back_off, clock, never) for name in names}
    return Seats(healths, max_underway=max_underway, clock=clock)


def lose(seats: Seats, seat: Seat) -> None:
    """The connection to the host of `seat` breaks."""
    seats.failed(seat.name, Unreachable("gone"), seat.began)
    seats.leave(seat)


async def test_whoever_waits_for_a_full_host_tries_it_once_it_may_be_back() -> None:
    seats = seats_at("a")
    held = await seats.take("s0", LONG_S, LONG_S)
    waiting = asyncio.ensure_future(seats.take("s1", LONG_S, LONG_S))
    await eventually(lambda: seats.waiting == 1)

    lose(seats, held)

    async with asyncio.timeout(10.0):
        assert (await waiting).probe


async def test_whoever_waits_for_a_full_host_leaves_it_the_time_that_it_asks_for() -> None:
    seats = seats_at("a")
    held = await seats.take("s0", LONG_S, LONG_S)
    waiting = asyncio.ensure_future(seats.take("s1", LONG_S, LONG_S))
    await eventually(lambda: seats.waiting == 1)

    seats.failed("a", Overloaded("429", 0.02, full=True), held.began)
    seats.leave(held)

    async with asyncio.timeout(10.0):
        assert not (await waiting).probe


async def test_first_word_of_the_probe_lets_the_others_in_before_it_is_done() -> None:
    seats = seats_at("a", max_underway=0)
    lose(seats, await seats.take("s0", LONG_S, LONG_S))
    probe = await seats.take("s1", LONG_S, LONG_S)
    waiting = asyncio.ensure_future(seats.take("s2", LONG_S, LONG_S))
    await eventually(lambda: seats.waiting == 1)

    seats.answering(probe)

    async with asyncio.timeout(10.0):
        await waiting
    assert seats.underway == {"a": 2}


async def test_time_in_line_is_not_held_against_a_host_that_goes_away_then() -> None:
    clock = Ticking()
    seats = seats_at("a", clock=clock, back_off=BackOff(first_s=5.0))
    held = await seats.take("s0", LONG_S, 10.0)
    waiting = asyncio.ensure_future(seats.take("s1", LONG_S, 10.0))
    await eventually(lambda: seats.waiting == 1)
    clock.tick(30.0)

    lose(seats, held)
    await look(seats)
    clock.tick(5.0)
    await look(seats)

    assert (await waiting).probe


async def test_hosts_that_are_away_for_longer_than_that_are_not_waited_for() -> None:
    clock = Ticking()
    seats = seats_at("a", "b", clock=clock, back_off=BackOff(first_s=30.0, most_s=30.0))
    for session in ("s0", "s1"):
        lose(seats, await seats.take(session, LONG_S, LONG_S))

    with pytest.raises(HostUnavailable, match="gone"):
        await seats.take("s2", LONG_S, 10.0)

    assert seats.waiting == 0


async def test_each_absence_is_waited_for_anew() -> None:
    clock = Ticking()
    seats = seats_at("a", clock=clock, back_off=BackOff(first_s=6.0, most_s=6.0))
    lose(seats, await seats.take("s0", LONG_S, LONG_S))
    first, second = (asyncio.ensure_future(seats.take(session, LONG_S, 10.0)) for session in ("s1", "s2"))
    await eventually(lambda: seats.waiting == 2)
    clock.tick(6.0)
    await look(seats)
    seats.answering(await first)  # it is back, and full
    await look(seats)
    clock.tick(7.0)

    lose(seats, await first)
    await look(seats)
    clock.tick(6.0)
    await look(seats)

    assert (await second).probe


async def look(seats: Seats) -> None:
    """Lets all who wait look again, at news that change nothing."""
    seats.failed("a", Unreachable("long ago"), -LONG_S)
    for _ in range(10):
        await asyncio.sleep(0)
