"""The stage: both bots side by side, each on platforms of its own, before the same model host."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.host import BenchHost
from bench.machine import BenchFailed, Running, environment_of, started
from bench.platforms import Platform, discord_platform, slack_platform
from bench.trips import Trip, Trips
from tests.support.running import ROOT, free_port
from tests.support.valkey import ValkeyServer

START_S = 60.0
ANSWER_S = 60.0
# Limits are asked for each message, and let each through.
LIMITLESS = "1e9"
LIMITS = (
    "PERSON_MESSAGES_PER_MINUTE",
    "CHANNEL_MESSAGES_PER_MINUTE",
    "WORKSPACE_MESSAGES_PER_MINUTE",
    "PERSON_TOKENS_PER_MINUTE",
    "WORKSPACE_TOKENS_PER_MINUTE",
)


@dataclass(slots=True)
class Side:
    """One bot on one platform. `worker` is the process that answers, `others` what it needs beside."""

    name: str
    platform: Platform
    worker: Running
    others: tuple[Running, ...] = ()


@dataclass(slots=True)
class Stage:
    """Everything that runs. `sides` are (ours, floor) by platform."""

    trips: Trips
    host: BenchHost
    valkey: ValkeyServer
    sides: dict[str, tuple[Side, Side]]

    async def ask(self, side: Side, conversation: int) -> Trip:
        """Says one message and waits until its whole answer is visible.

        Raises:
            BenchFailed: it did not come.
        """
        trip = self.trips.begin()
        trip.mark_said()
        await side.platform.say(conversation, trip.question)
        try:
            async with asyncio.timeout(ANSWER_S):
                await trip.whole.wait()
        except TimeoutError:
            said = "\n".join(f"--- {process.name}\n{process.tail()}" for process in (side.worker, *side.others))
            raise BenchFailed(f"{side.name} gave no answer on {side.platform.name}.\n{said}") from None
        finally:
            self.trips.end(trip)
        return trip


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """The stage, up and answering, until the block ends; whatever was started is ended."""
    trips = Trips()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
        valkey = stack.enter_context(ValkeyServer())
        host = await stack.enter_async_context(BenchHost(trips))
        ours, theirs = await _platforms(stack, trips), await _platforms(stack, trips)
        worker, *others = await _start_ours(stack, folder, valkey, host, ours)
        floors = [await _start_floor(stack, folder, host, platform) for platform in theirs]
        stage = Stage(trips, host, valkey, {})
        for own, other, floor in zip(ours, theirs, floors, strict=True):
            stage.sides[own.name] = (Side("parley", own, worker, tuple(others)), Side("floor", other, floor))
        await _warm_up(stage)
        yield stage


async def _platforms(stack: AsyncExitStack, trips: Trips) -> list[Platform]:
    slack = await stack.enter_async_context(slack_platform(trips))
    return [slack, await stack.enter_async_context(discord_platform(trips))]


async def _start_ours(
    stack: AsyncExitStack, folder: Path, valkey: ValkeyServer, host: BenchHost, platforms: list[Platform]
) -> list[Running]:
    """Worker, gateways and log writer, each a process of its own, as where there is more than a little to do."""
    settings = {
        "REDIS_URL": valkey.url(),
        "DATABASE_URL": f"sqlite:///{folder / 'log.db'}",
        "MODEL_URL": host.url,
        "PARLEY_PORT": str(free_port()),
        "PARLEY_HOME": str(folder),
        **dict.fromkeys(LIMITS, LIMITLESS),
    }
    for platform in platforms:
        settings |= platform.settings
    environment = environment_of(settings)
    started_ = [
        await stack.enter_async_context(started(name, ["-m", "bench.lifted", *arguments], environment, folder))
        for name, *arguments in (("worker", "worker", "--no-log"), ("bot", "bot"), ("log", "log"))
    ]
    for platform in platforms:
        await _connected(platform, started_[1])
    return started_


async def _start_floor(stack: AsyncExitStack, folder: Path, host: BenchHost, platform: Platform) -> Running:
    environment = environment_of({"MODEL_URL": host.url, **platform.settings})
    script = ROOT / "bench" / f"floor_{platform.name}.py"
    floor = await stack.enter_async_context(started(script.stem, [str(script)], environment, folder))
    await _connected(platform, floor)
    return floor


async def _connected(platform: Platform, process: Running) -> None:
    try:
        async with asyncio.timeout(START_S):
            while not platform.connections:
                process.check()
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise BenchFailed(f"{process.name} did not connect to {platform.name}:\n{process.tail()}") from None


async def _warm_up(stage: Stage) -> None:
    for sides in stage.sides.values():
        for side in sides:
            for conversation in range(3):
                await stage.ask(side, conversation)
