"""How a log writer ends: with all that waits when it is alone, and in time when others go on writing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.chat.codec import dump
from core.chat.interaction import Interaction, Sampling
from core.chat.logbook import LogWriter
from core.chat.message import Conversation, Outcome
from core.chat.ports import LogEntry
from tests.support.memory_store import MemoryLedger

ROW = Interaction(
    turn_id="",
    conversation=Conversation("slack", "T1", "C1"),
    person_id="U1",
    person_name="Ada",
    sent_at=1000.0,
    accepted_at=1000.0,
    started_at=1000.0,
    first_token_ms=1.0,
    total_ms=2.0,
    outcome=Outcome.ANSWERED,
    finish_reason="stop",
    error="",
    question="?",
    messages=(),
    answer="!",
    model="m",
    model_version="1",
    persona="p",
    persona_version="1",
    template_version="1",
    sampling=Sampling(0.0, 1.0, 10, 0),
    prompt_tokens=1,
    completion_tokens=1,
    tokens_exact=True,
    worker="w",
)


@dataclass
class Stream:
    """A log stream with `left` entries, one a read; `done` says which were taken out."""

    left: float
    given: int = 0
    finished: list[str] = field(default_factory=list)

    async def read(self, writer: str, max_rows: int, wait_s: float) -> list[LogEntry]:
        await asyncio.sleep(0)
        if self.given >= self.left:
            return []
        self.given += 1
        return [LogEntry(str(self.given), dump(replace(ROW, turn_id=f"slack:T1:C1:{self.given}")))]

    async def done(self, ids: Sequence[str]) -> None:
        self.finished += ids

    async def bury(self, entry: LogEntry, reason: str) -> None:
        raise AssertionError(reason)


async def test_all_that_waits_is_written_before_the_end() -> None:
    stream, ledger, stopping = Stream(left=50), MemoryLedger(), asyncio.Event()
    stopping.set()

    await LogWriter(stream, ledger, "writer", stopping).run()

    assert len(ledger.rows) == len(stream.finished) == 50


async def test_a_stream_that_others_keep_filling_is_left_to_them() -> None:
    stream, ledger, stopping = Stream(left=float("inf")), MemoryLedger(), asyncio.Event()
    stopping.set()

    async with asyncio.timeout(20.0):
        await LogWriter(stream, ledger, "writer", stopping, drain_s=0.05).run()

    assert len(ledger.rows) == len(stream.finished) == stream.given
