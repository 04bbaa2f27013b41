"""The log writer: moves interactions and feedback out of the log stream into the ledger, in batches, each once."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from core.chat.codec import load_feedback, load_interaction
from core.chat.errors import BadEntry, StoreUnavailable
from core.chat.interaction import Interaction
from core.chat.ports import Ledger, LogEntry, LogStream, Meter, Tracer
from core.chat.quiet import NO_METER, NO_TRACER

_log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogWriter:
    """Writes until `stopping` is set and the stream is empty. Several may run side by side.

    A batch holds `max_rows` at most, and else what came within `wait_s`. Others may fill the stream as fast as it is
    read: `drain_s` after `stopping` what is left is left to them.
    """

    stream: LogStream
    ledger: Ledger
    name: str
    stopping: asyncio.Event
    max_rows: int = 200
    wait_s: float = 0.2
    retry_s: float = 1.0
    drain_s: float = 5.0
    meter: Meter = NO_METER
    tracer: Tracer = NO_TRACER
    now: Callable[[], float] = time.time

    async def run(self) -> None:
        """An unreachable store is waited for; while stopping it is left for the next start, nothing is lost."""
        until = math.inf
        while time.monotonic() < until:
            if until == math.inf and self.stopping.is_set():
                until = time.monotonic() + self.drain_s
            entries = await self._read()
            if entries:
                await self._write_steadily(entries)
                if len(entries) < self.max_rows:
                    await self._pause(self.wait_s)  # a transaction costs more than its rows
            elif self.stopping.is_set():
                return

    async def _read(self) -> list[LogEntry]:
        try:
            return await self.stream.read(self.name, self.max_rows, self.wait_s)
        except StoreUnavailable as error:
            await self._wait(error)
            return []

    async def _write_steadily(self, entries: Sequence[LogEntry]) -> None:
        """Writes the batch that was read, however long the ledger is away: nobody else has it now."""
        while True:
            try:
                await self._write(entries)
                return
            except StoreUnavailable as error:
                if self.stopping.is_set():
                    return
                await self._wait(error)

    async def _wait(self, error: StoreUnavailable) -> None:
        _log.warning("log_waits", reason=str(error))
        await self._pause(self.retry_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return

    async def _write(self, entries: Sequence[LogEntry]) -> None:
        done = await self._loaded([entry for entry in entries if entry.kind == "interaction"], load_interaction)
        await self._record(done, self._record_interactions)
        said = await self._loaded([entry for entry in entries if entry.kind == "feedback"], load_feedback)
        await self._record(said, self.ledger.record_feedback)

    async def _loaded(self, entries: Sequence[LogEntry], load: Callable[[str], T]) -> list[tuple[LogEntry, T]]:
        rows: list[tuple[LogEntry, T]] = []
        for entry in entries:
            try:
                rows.append((entry, load(entry.text)))
            except BadEntry as error:
                await self._bury(entry, str(error))
        return rows

    async def _record(
        self, rows: Sequence[tuple[LogEntry, T]], record: Callable[[Sequence[T]], Awaitable[None]]
    ) -> None:
        """Records all rows; when the ledger refuses the batch, halves it until the row at fault stands alone."""
        if not rows:
            return
        try:
            await record([row for _, row in rows])
        except BadEntry as error:
            if len(rows) == 1:
                await self._bury(rows[0][0], str(error))
                return
            middle = len(rows) // 2
            await self._record(rows[:middle], record)
            await self._record(rows[middle:], record)
            return
        await self.stream.done([entry.id for entry, _ in rows])

    async def _record_interactions(self, done: Sequence[Interaction]) -> None:
        await self.ledger.record(done)
        self._measure(done)

    def _measure(self, recorded: Sequence[Interaction]) -> None:
        answered_at = min(row.accepted_at + row.total_ms / 1000 for row in recorded)
        self.meter.logged(len(recorded), max(0.0, self.now() - answered_at))
        for row in recorded:
            with self.tracer.span("log", row.trace, turn=row.turn_id):
                pass

    async def _bury(self, entry: LogEntry, reason: str) -> None:
        _log.error("log_entry_refused", entry=entry.id, reason=reason)
        await self.stream.bury(entry, reason)
