"""The worker: takes conversations that have mail, answers their messages in order, and holds the lease meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from core.chat import lines
from core.chat.answer import Answerer, Halt, Interrupted, answer, failure
from core.chat.errors import DeliveryFailed, Fenced, HostError, StoreUnavailable
from core.chat.message import Conversation, Outcome
from core.chat.ports import Claim, Commit, Mail, Tickets

_log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """The worker's clocks, in seconds. `slots` bounds the answers under way at once."""

    slots: int = 32
    lease_s: float = 15.0
    take_wait_s: float = 0.5
    retry_s: float = 0.2
    drain_s: float = 30.0


@dataclass(slots=True)
class Worker:
    """Answers conversations until `stopping` is set, then finishes what is under way and gives back the rest."""

    tickets: Tickets
    kit: Answerer
    stopping: asyncio.Event
    pace: Pace = field(default_factory=Pace)
    _active: dict[Conversation, Halt] = field(default_factory=dict)

    async def run(self) -> None:
        """Returns when the drain is over; raises nothing that a store or a host may cause."""
        slots = asyncio.Semaphore(self.pace.slots)
        listening = asyncio.create_task(self._listen_for_stops())
        try:
            async with asyncio.TaskGroup() as attending:
                while not self.stopping.is_set():
                    await slots.acquire()
                    claim = await self._take()
                    if claim is None:
                        slots.release()
                        continue
                    task = attending.create_task(self._attend(claim))
                    task.add_done_callback(lambda _: slots.release())
                attending.create_task(self._limit_drain())
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

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
        while self._active and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for halt in self._active.values():
            halt.ask("drain")

    async def _listen_for_stops(self) -> None:
        while True:
            try:
                async with aclosing(self.tickets.stops()) as stops:  # type: ignore[type-var]
                    async for conversation in stops:
                        if halt := self._active.get(conversation):
                            halt.ask("stop")
            except StoreUnavailable as error:
                _log.warning("stops_unavailable", reason=str(error))
            await asyncio.sleep(self.pace.retry_s)

    async def _attend(self, claim: Claim) -> None:
        """Answers all mail of one conversation."""
        try:
            while mail := await self._next_mail(claim):
                halt = self._active[claim.conversation] = Halt()
                async with self._lease(claim, halt):
                    commit = await self._answer(claim, mail, halt)
                    await self._steadily(lambda commit=commit: self.tickets.commit(claim, commit))  # type: ignore[misc]
                self._report(commit)
        except Fenced:
            _log.info("conversation_taken_over", conversation=str(claim.conversation), epoch=claim.epoch)
        except (Interrupted, StoreUnavailable) as error:
            _log.warning("message_left_for_later", conversation=str(claim.conversation), reason=str(error))
            await self._release(claim)
        finally:
            self._active.pop(claim.conversation, None)

    async def _next_mail(self, claim: Claim) -> Mail | None:
        """The first waiting message, or None once the conversation is given back."""
        while True:
            if self.stopping.is_set():
                await self._release(claim)
                return None
            mail = await self._steadily(lambda: self.tickets.head(claim))
            if mail is not None:
                return mail
            if await self._steadily(lambda: self.tickets.finish(claim)):
                return None

    async def _answer(self, claim: Claim, mail: Mail, halt: Halt) -> Commit:
        turn_id = mail.message.id

        async def intend() -> None:
            await self._steadily(lambda: self.tickets.intend(claim, turn_id))

        try:
            return await answer(mail, self.kit, halt, intend)
        except (Fenced, Interrupted, StoreUnavailable):
            raise
        except Exception as error:
            # The one place that catches everything: the message is recorded as failed and its person is told.
            _log.exception("answer_failed", turn=turn_id)
            await self._apologise(mail)
            return failure(mail.message, self.kit, error)

    async def _apologise(self, mail: Mail) -> None:
        courier = self.kit.couriers.get(mail.message.conversation.platform)
        try:
            if courier is not None:
                await courier.draft(mail.message, resumed=True).close(lines.FAULT, Outcome.FAILED)
        except DeliveryFailed as error:
            _log.warning("apology_not_delivered", turn=mail.message.id, reason=str(error))

    @asynccontextmanager
    async def _lease(self, claim: Claim, halt: Halt) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew(claim, halt))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, claim: Claim, halt: Halt) -> None:
        while True:
            await asyncio.sleep(self.pace.lease_s / 3)
            try:
                # Shielded: a Redis call that is cancelled half way breaks its connection.
                if await asyncio.shield(self.tickets.renew(claim)):
                    halt.ask("stop")
            except Fenced:
                halt.ask("fenced")
                return
            except StoreUnavailable as error:
                _log.warning("lease_not_renewed", conversation=str(claim.conversation), reason=str(error))

    async def _steadily(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeats an idempotent call while the store is away, for as long as a lease can last."""
        deadline = time.monotonic() + self.pace.lease_s
        while True:
            try:
                return await call()
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(self.pace.retry_s)

    async def _release(self, claim: Claim) -> None:
        try:
            await self.tickets.release(claim)
        except StoreUnavailable as error:
            _log.warning("claim_not_released", conversation=str(claim.conversation), reason=str(error))

    def _report(self, commit: Commit) -> None:
        done = commit.interaction
        if done is None:
            _log.info("turn_done", turn=commit.turn_id, reset=commit.clear)
            return
        _log.info(
            "turn_done",
            turn=done.turn_id,
            outcome=done.outcome.value,
            first_token_ms=None if done.first_token_ms is None else round(done.first_token_ms, 1),
            total_ms=round(done.total_ms, 1),
            prompt_tokens=done.prompt_tokens,
            completion_tokens=done.completion_tokens,
            model_version=done.model_version,
        )


async def wait_for_host(kit: Answerer, stopping: asyncio.Event, pause_s: float = 1.0) -> None:
    """Returns once the host answers, or when `stopping` is set: until then mail is safe in the mailbox."""
    while not stopping.is_set():
        try:
            await kit.host.describe()
            return
        except HostError as error:
            _log.info("waiting_for_the_model_host", reason=str(error))
        await asyncio.sleep(pause_s)
