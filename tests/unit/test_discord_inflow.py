"""What arrives waits in order for the mailbox, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bots.discord.inflow import Inflow, NotYet, Retries, Step
from core.chat.errors import StoreUnavailable

QUICK = Retries(first_pause_s=0.001, longest_pause_s=0.002, settle_s=1.0)


def step(done: list[str], name: str, is_away: Callable[[], bool] = lambda: False) -> Step:
    async def take() -> None:
        await asyncio.sleep(0)
        if is_away():
            raise StoreUnavailable("told to be away")
        done.append(name)

    return take


async def test_a_lane_keeps_its_order_through_an_outage() -> None:
    done: list[str] = []
    refusals = iter([True] * 5)

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK)
        for name in "abc":
            inflow.put("lane", step(done, name, lambda: next(refusals, False)))
        await inflow.settle()

    assert done == ["a", "b", "c"]


async def test_a_waiting_lane_holds_up_no_other() -> None:
    done: list[str] = []

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK)
        inflow.put("stuck", step(done, "a", lambda: "b" not in done))
        inflow.put("free", step(done, "b"))
        await inflow.settle()

    assert done == ["b", "a"]


async def test_a_step_that_breaks_does_not_stop_its_lane() -> None:
    done: list[str] = []

    async def broken() -> None:
        raise ValueError("no such thing")

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK)
        inflow.put("lane", broken)
        inflow.put("lane", step(done, "after"))
        await inflow.settle()

    assert done == ["after"]


async def test_no_more_waits_than_allowed() -> None:
    done: list[str] = []

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, Retries(most_waiting=2))
        for name in "abc":
            inflow.put("lane", step(done, name))
        await inflow.settle()

    assert done == ["a", "b"]


async def test_what_is_dropped_is_not_forgotten() -> None:
    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, Retries(most_waiting=1))
        inflow.put("lane", step([], "a"))
        before = inflow.dropped
        inflow.put("lane", step([], "b"))
        await inflow.settle()

    assert (before, inflow.dropped) == (False, True)


async def test_what_is_held_waits_behind_what_is_put_first() -> None:
    done: list[str] = []

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK)
        inflow.hold()
        inflow.put("lane", step(done, "live"))
        inflow.put("other", step(done, "elsewhere"))
        for _ in range(5):
            await asyncio.sleep(0)
        inflow.put_first("lane", step(done, "missed"))
        assert done == []
        inflow.release()
        await inflow.settle()

    assert sorted(done) == ["elsewhere", "live", "missed"]
    assert done.index("missed") < done.index("live")


async def test_step_that_is_put_first_waits_for_the_one_under_way() -> None:
    done: list[str] = []
    refusals = iter([True] * 5)

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK)
        for name in "ac":
            inflow.put("lane", step(done, name, lambda: next(refusals, False)))
        await asyncio.sleep(0)
        inflow.put_first("lane", step(done, "b"))
        await inflow.settle()

    assert done == ["a", "b", "c"]


async def test_oldest_is_the_one_under_way_or_else_the_first_that_waits() -> None:
    times = iter([1.0, 2.0, 3.0])
    go_on = asyncio.Event()

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK, now=lambda: next(times))
        assert inflow.oldest() is None
        inflow.put("lane", step([], "a", lambda: not go_on.is_set()))
        inflow.put("lane", step([], "b"))
        inflow.put("other", step([], "c"))
        assert inflow.oldest() == 1.0
        await asyncio.sleep(0)
        assert inflow.oldest() == 1.0
        go_on.set()
        await inflow.settle()

    assert inflow.oldest() is None


async def test_what_is_held_at_the_end_is_left() -> None:
    done: list[str] = []

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK)
        inflow.hold()
        inflow.put("lane", step(done, "a"))
        await inflow.settle()

    assert done == []


async def test_step_that_cannot_be_taken_yet_is_tried_again() -> None:
    done: list[str] = []
    tries = iter([True, True])

    async def patient() -> None:
        if next(tries, False):
            raise NotYet("told to wait")
        done.append("patient")

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK)
        inflow.put("lane", patient)
        inflow.put("lane", step(done, "next"))
        await inflow.settle()

    assert done == ["patient", "next"]


async def test_settling_ends_although_the_mailbox_stays_away() -> None:
    done: list[str] = []

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, Retries(first_pause_s=0.001, longest_pause_s=0.002, settle_s=0.05))
        inflow.put("lane", step(done, "a", lambda: True))
        await inflow.settle()

    assert done == []


async def test_a_lane_that_ran_dry_is_used_again() -> None:
    done: list[str] = []

    async with asyncio.TaskGroup() as tasks:
        inflow = Inflow(tasks, QUICK)
        inflow.put("lane", step(done, "a"))
        await inflow.settle()
        inflow.put("lane", step(done, "b"))
        await inflow.settle()

    assert done == ["a", "b"]
