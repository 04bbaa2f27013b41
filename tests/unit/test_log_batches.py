"""The log is written in batches: a transaction costs more than its rows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.chat import codec
from core.chat.interaction import Interaction
from core.chat.logbook import LogWriter
from core.chat.ports import LogEntry
from tests.support.memory_store import MemoryLedger
from tests.support.store_cases import interaction
from tests.support.wall import said

FOREVER_S = 3600.0


@dataclass
class Entries:
    """A log stream in memory."""

    waiting: deque[LogEntry] = field(default_factory=deque)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            asked = said("hello")
            self.waiting.append(LogEntry(asked.id, codec.dump(interaction(asked))))
        self.changed.set()

    async def read(self, writer: str, max_rows: int, wait_s: float) -> list[LogEntry]:
        if not self.waiting:
            self.changed.clear()
            await asyncio.wait({asyncio.ensure_future(self.changed.wait())}, timeout=min(wait_s, 0.05))
        return [self.waiting.popleft() for _ in range(min(max_rows, len(self.waiting)))]

    async def done(self, ids: Sequence[str]) -> None:
        """Nothing is kept."""

    async def bury(self, entry: LogEntry, reason: str) -> None:
        raise AssertionError(reason)


class Batches(MemoryLedger):
    """A ledger that remembers how many rows came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def record(self, interactions: Sequence[Interaction]) -> None:
        await super().record(interactions)
        self.sizes.append(len(interactions))


async def written(ledger: Batches, rows: int) -> None:
    async with asyncio.timeout(5.0):
        while len(ledger.rows) < rows:
            await asyncio.sleep(0.005)


async def others() -> None:
    """Lets everybody else go on for a while."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_what_comes_soon_after_a_batch_is_written_together_at_the_latest_when_stopping() -> None:
    entries, ledger, stopping = Entries(), Batches(), asyncio.Event()
    writing = asyncio.create_task(LogWriter(entries, ledger, "w", stopping, wait_s=FOREVER_S).run())
    entries.add()
    await written(ledger, 1)

    for _ in range(3):
        entries.add()
        await others()
    stopping.set()
    await writing

    assert ledger.sizes == [1, 3]


async def test_a_full_batch_is_followed_by_the_next_at_once() -> None:
    entries, ledger, stopping = Entries(), Batches(), asyncio.Event()
    entries.add(5)
    writing = asyncio.create_task(LogWriter(entries, ledger, "w", stopping, max_rows=2, wait_s=FOREVER_S).run())

    await written(ledger, 5)
    stopping.set()
    await writing

    assert ledger.sizes == [2, 2, 1]
