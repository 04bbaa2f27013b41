"""What arrives waits in order for the mailbox, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bots.discord.inflow import Inflow, Retries, Step
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
