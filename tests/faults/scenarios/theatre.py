"""What all scenarios share: how a fleet is started, how people talk, how harm is done again and again, how it ends."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.fleet import Fleet, Plan, fleet
from tests.support.history_checker import Harm
from tests.support.nursery import Nursery
from tests.support.platforms import SlackPlatform
from tests.support.postgres import PostgresServer
from tests.support.running import until

SETTLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a scenario: so many people ask so many questions each, `pause_s` apart.

    `harms` is how often the harm is done, `span_s` how long it lasts. Half of the people speak in threads that others
    read, unless there are no `rooms`.
    """

    people: int
    rounds: int
    pause_s: float = 0.1
    harms: int = 1
    span_s: float = 1.0
    rooms: bool = True

    @property
    def names(self) -> list[str]:
        """Who speaks."""
        return [f"{'room' if number % 2 and self.rooms else 'ada'}{number}" for number in range(self.people)]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a scenario. `said` holds what else is worth telling; `None` where nothing was measured."""

    messages: int
    harm: Harm
    recovery_s: float | None = None
    ack_p99_ms: float | None = None
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Theatre:
    """Where a scenario is played: a platform, a folder, and the servers that scenarios share.

    `entry` is the module that is run, with its first arguments: `parley`, or the saboteur and the guard it takes out.
    """

    platform: str
    folder: Path
    nursery: Nursery
    postgres: Callable[[], PostgresServer]
    entry: Sequence[str] = ("parley",)
    patience_s: float = 15.0

    def fleet(self, **plan: Any) -> AbstractAsyncContextManager[Fleet]:
        """A fleet of this platform; `plan` are fields of `Plan`."""
        plan = {"entry": self.entry, "patience_s": self.patience_s, **plan}
        return fleet(Plan(self.platform, **plan), self.folder, self.nursery)


async def talk(running: Fleet, size: Size, *, heard: bool = False) -> None:
    """Everybody asks, again and again, whether answered yet or not.

    Slack gives each event to one of several gateways, and tries again later when that one dies: what is said meanwhile
    may be heard first. Where that can happen nobody goes on before the last question was `heard`.
    """
    for _ in range(size.rounds):
        await running.ask_all(size.names)
        await asyncio.sleep(size.pause_s)
        if heard:
            await until(lambda: not running.platform.unheard(), 30.0)


@asynccontextmanager
async def again_and_again(every_s: float, harm: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Does `harm` every so many seconds for the time of the block; it is never cut half way."""
    over = asyncio.Event()

    async def go_on() -> None:
        while not over.is_set():
            try:
                async with asyncio.timeout(every_s):
                    await over.wait()
            except TimeoutError:
                await harm()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(go_on())
        try:
            yield
        finally:
            over.set()


async def finish(running: Fleet, timeout_s: float = SETTLE_S, **said: Any) -> Report:
    """Waits until all is settled, from now on, and reports."""
    began = time.monotonic()
    harm = await running.settled(timeout_s)
    recovery_s = time.monotonic() - began
    return Report(len(running.asked), harm, recovery_s, ack_p99_ms(running), said)


def ack_p99_ms(running: Fleet) -> float | None:
    """How long Slack waited for acknowledgements, at p99; None where there are none."""
    if not isinstance(running.platform, SlackPlatform) or len(running.platform.slack.sockets.acked_in_s) < 2:
        return None
    return 1000 * statistics.quantiles(running.platform.slack.sockets.acked_in_s, n=100)[98]


async def sleep_until(moment: float) -> None:
    """Until so many monotonic seconds."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def chance(seed: int = 7) -> random.Random:
    """The same chance at each run."""
    return random.Random(seed)
