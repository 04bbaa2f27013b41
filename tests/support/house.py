"""Core with its worker and log writer running, on working fakes of mailbox, host, platform and ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from core.chat.intake import MailboxIntake, Receipt
from core.chat.interaction import Interaction, Sampling
from core.chat.kit import Answerer
from core.chat.limits import Limits
from core.chat.logbook import LogWriter
from core.chat.message import Message
from core.chat.persona import Persona
from core.chat.worker import Pace, Worker
from tests.support.counting_meter import CountingMeter
from tests.support.memory_store import MemoryLedger, MemoryStore
from tests.support.scripted_host import ScriptedHost
from tests.support.wall import Wall


async def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class House:
    """Core with its worker and log writer running."""

    store: MemoryStore = field(default_factory=MemoryStore)
    host: ScriptedHost = field(default_factory=ScriptedHost)
    wall: Wall = field(default_factory=Wall)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    limits: Limits | None = None
    meter: CountingMeter = field(default_factory=CountingMeter)

    @property
    def intake(self) -> MailboxIntake:
        return MailboxIntake(self.store, self.wall, self.limits)

    async def hear(self, message: Message) -> Receipt:
        return await self.intake.receive(message)

    async def logged(self, message: Message) -> Interaction:
        await eventually(lambda: any(row.turn_id == message.id for row in self.ledger.rows.values()))
        found = await self.ledger.find(message.id)
        assert found is not None
        return found

    @asynccontextmanager
    async def running(self, pace: Pace | None = None) -> AsyncIterator[None]:
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=100, seed=0)
        couriers = {"wall": self.wall}
        kit = Answerer(self.host, couriers, Persona(), sampling, "worker-1", limits=self.limits, meter=self.meter)
        worker = Worker(self.store, kit, self.stopping, pace or Pace(take_wait_s=0.05, retry_s=0.01))
        writer = LogWriter(
            self.store, self.ledger, "writer-1", self.stopping, wait_s=0.02, retry_s=0.05, meter=self.meter
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run())
            group.create_task(writer.run())
            try:
                yield
            finally:
                self.stopping.set()
