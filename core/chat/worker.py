"""The worker: takes conversations that have mail, answers their messages in order, and holds the lease meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from core.chat.attending import Attendant
from core.chat.errors import HostError, StoreUnavailable
from core.chat.holding import Hold, awake_clock
from core.chat.kit import Answerer
from core.chat.message import Conversation
from core.chat.ports import Claim, Tickets
from core.chat.settling import Patience

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """The worker's clocks, in seconds. `slots` bounds the answers under way at once; `clock` times the leases.

    So many `takers` ask for conversations at the same time: one alone would take no more than the mailbox's round trips
    allow.
    """

    slots: int = 32
    takers: int = 4
    lease_s: float = 15.0
    take_wait_s: float = 0.5
    retry_s: float = 0.2
    drain_s: float = 30.0
    settling: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = awake_clock


@dataclass(slots=True)
class Worker:
    """Answers conversations until `stopping` is set, then finishes what is under way and gives back the rest."""

    tickets: Tickets
    kit: Answerer
    stopping: asyncio.Event
    pace: Pace = field(default_factory=Pace)
    _active: dict[Conversation, Hold] = field(default_factory=dict)
    _settling: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Returns when the drain is over; raises nothing that a store or a host may cause."""
        slots = asyncio.Semaphore(self.pace.slots)
        listening = asyncio.create_task(self._listen())
        try:
            async with asyncio.TaskGroup() as attending:
                takers = [self._keep_taking(slots, attending) for _ in range(self.pace.takers)]
                await asyncio.wait([attending.create_task(taker) for taker in takers])
                attending.create_task(self._limit_drain())
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _keep_taking(self, slots: asyncio.Semaphore, attending: asyncio.TaskGroup) -> None:
        while not self.stopping.is_set():
            await slots.acquire()
            claim = await self._take()
            if claim is None:
                slots.release()
                continue
            task = attending.create_task(self._attend(claim, attending))
            task.add_done_callback(lambda _: slots.release())

    async def _take(self) -> Claim | None:
        try:
            return await self.tickets.take(self.kit.worker, self.pace.take_wait_s)
        except StoreUnavailable as error:
            _log.warning("mailbox_unavailable", reason=str(error))
            await asyncio.sleep(self.pace.retry_s)
            return None

    async def _limit_drain(self) -> None:
        """Interrupts what is still under way when the drain's time is over; the next start goes on with it."""
        deadline = time.monotonic() + self.pace.drain_s
        while (self._active or self._settling) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for hold in self._active.values():
            hold.halt.ask("drain")
        for task in self._settling:
            task.cancel()

    async def _listen(self) -> None:
        """Looks at once where something befell a message; what was missed comes with the renewals."""
        while True:
            try:
                async with aclosing(self.tickets.signals()) as signals:  # type: ignore[type-var]
                    async for signal in signals:
                        self._nudge(None if signal is None else signal[0])
            except StoreUnavailable as error:
                _log.warning("signals_unavailable", reason=str(error))
            await asyncio.sleep(self.pace.retry_s)

    def _nudge(self, conversation: Conversation | None) -> None:
        for active, hold in self._active.items():
            if conversation in (None, active):
                hold.nudge()

    async def _attend(self, claim: Claim, attending: asyncio.TaskGroup) -> None:
        hold = self._active[claim.conversation] = Hold(claim, self.tickets, self.pace.lease_s, self.pace.clock)
        attendant = Attendant(hold, self.tickets, self.kit, self.stopping, self.pace.lease_s, self.pace.retry_s)
        try:
            async with hold.kept():
                overtaken = await attendant.attend()
        finally:
            if self._active.get(claim.conversation) is hold:
                del self._active[claim.conversation]
        if overtaken is not None:
            settling = attending.create_task(overtaken.settle(self.tickets, self.pace.settling))
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)


async def wait_for_host(kit: Answerer, stopping: asyncio.Event, pause_s: float = 1.0) -> None:
    """Returns once the host answers, or when `stopping` is set: until then mail is safe in the mailbox."""
    while not stopping.is_set():
        try:
            await kit.host.describe()
            return
        except HostError as error:
            _log.info("waiting_for_the_model_host", reason=str(error))
        await asyncio.sleep(pause_s)
