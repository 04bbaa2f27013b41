"""Scenarios 1 to 4: workers and gateways are killed and frozen, at random moments and at each named point."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import get_args

from core.chat.failpoints import Point
from tests.faults.scenarios.theatre import Report, Size, Theatre, again_and_again, chance, finish, talk
from tests.support.fleet import LEASE_S, Fleet
from tests.support.nursery import Child
from tests.support.running import until

POINTS: tuple[Point, ...] = get_args(Point)
WORKER_POINTS = tuple(point for point in POINTS if point != "accepted")


async def workers_killed(theatre: Theatre, size: Size) -> Report:
    """1: kill -9 of a random worker every half second, and another in its place."""
    async with theatre.fleet(workers=4) as running:
        dice = chance()
        async with again_and_again(0.5, lambda: running.kill_worker(dice)):
            await talk(running, size)

        return await finish(running)


async def killed_mid_answer(theatre: Theatre, size: Size) -> Report:
    """1: the only worker is killed while half of each answer is visible; the next one goes on in the same posts."""
    async with theatre.fleet(workers=1) as running:
        host = running.hosts[0]
        for _ in range(size.rounds):
            host.delay_s = 2.0
            await running.ask_all(size.names)
            await until(lambda: _growing(running) == size.people, 30.0)
            host.delay_s = 0.01
            await running.kill_worker(chance())
            await running.settled(20.0)

        return await finish(running)


def _growing(running: Fleet) -> int:
    """Posts that show the beginning of an answer."""
    return sum(not seen.text.endswith("as asked") for seen in running.platform.visible())


async def killed_at(theatre: Theatre, size: Size, point: Point) -> Report:
    """2: every worker (or gateway) dies at its second passing of `point`; the next one goes on from there."""
    async with theatre.fleet(workers=0 if point != "accepted" else 2, gateways=int(point != "accepted")) as running:
        for _ in range(size.harms):
            victim = await _doomed(running, f"{point}=kill:2")
            await talk(running, size)
            await victim.ended()
        await _healthy(running, point)

        return await finish(running)


async def frozen_at(theatre: Theatre, size: Size, point: Point) -> Report:
    """3: a worker (or gateway) freezes at `point` for twice the lease at least, and wakes when others have answered."""
    async with theatre.fleet(workers=0 if point != "accepted" else 2, gateways=int(point != "accepted")) as running:
        for _ in range(size.harms):
            victim = await _doomed(running, f"{point}=stop")
            await talk(running, size)
            await until(lambda victim=victim: victim.frozen, 30.0)  # type: ignore[misc]
            frozen_at = time.monotonic()
            successor = await _healthy(running, point)
            await running.settled(20.0)
            await asyncio.sleep(max(0.0, frozen_at + 2 * LEASE_S - time.monotonic()))
            victim.signal(signal.SIGCONT)
            await talk(running, size)
            await running.settled(20.0)
            for child in (victim, successor):
                await child.kill()
        await _healthy(running, point)
        await talk(running, size)

        return await finish(running)


async def gateways_killed(theatre: Theatre, size: Size) -> Report:
    """4: kill -9 of a random gateway again and again, every other one right between its write and its ack."""
    async with theatre.fleet(gateways=2) as running:
        dice = chance()

        async def harm() -> None:
            victim = running.gateways.pop(dice.randrange(len(running.gateways)))
            await victim.kill()
            running.add_gateway("accepted=kill:3" if dice.random() < 0.5 else "")

        async with again_and_again(0.7, harm):
            await talk(running, size, heard=True)
        for gateway in running.gateways:
            await gateway.kill()
        running.gateways.clear()
        running.add_gateway()

        return await finish(running)


async def killed_before_the_write(theatre: Theatre, size: Size) -> Report:
    """4: kill -9 of the only gateway while the mailbox's server hangs: nothing is written, nothing acknowledged."""
    async with theatre.fleet(proxied=True) as running:
        running.proxy.stall()
        await talk(running, size)
        await running.gateways.pop().kill()
        running.proxy.flow()
        running.add_gateway()

        return await finish(running)


async def _doomed(running: Fleet, failpoint: str) -> Child:
    """A worker, or the gateway for the point that only gateways pass, with that end before it."""
    return await _started(running, failpoint, gateway=failpoint.startswith("accepted"))


async def _healthy(running: Fleet, point: Point) -> Child:
    return await _started(running, "", gateway=point == "accepted")


async def _started(running: Fleet, failpoint: str, *, gateway: bool) -> Child:
    child = running.add_gateway(failpoint) if gateway else running.add_worker(failpoint)
    await running.connected(30.0)
    return child
