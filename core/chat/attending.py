"""Attending to one claimed conversation: its messages one by one, from the inbox to the commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from core.chat import lines
from core.chat.answer import answer
from core.chat.errors import DeliveryFailed, Fenced, StoreUnavailable
from core.chat.holding import Halt, Hold
from core.chat.interaction import Interaction
from core.chat.kit import Answerer, Attempt, Interrupted
from core.chat.message import Message, Outcome
from core.chat.ports import Claim, Commit, Courier, Mail, Tickets
from core.chat.record import failure
from core.chat.settling import Patience, settle

_log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Overtaken:
    """What a worker that lost its claim may have left before people's eyes."""

    message: Message
    posts: tuple[str, ...]
    courier: Courier

    async def settle(self, tickets: Tickets, patience: Patience) -> None:
        """Takes back what is not part of the answer that counts."""
        await settle(self.message, self.posts, tickets, self.courier, patience)


@dataclass(slots=True)
class Attendant:
    """Answers all mail of one conversation while its `hold` lasts.

    A store that is away is asked again, every `retry_s`, for `patience_s` seconds: as long as a lease can last.
    """

    hold: Hold
    tickets: Tickets
    kit: Answerer
    stopping: asyncio.Event
    patience_s: float
    retry_s: float

    @property
    def _claim(self) -> Claim:
        return self.hold.claim

    async def attend(self) -> Overtaken | None:
        """Returns when nothing waits any more, or the conversation had to be left; says what is to be settled."""
        taken_over = self._claim.taken_over
        first, answered = self._claim.first, False
        while True:
            self.hold.halt = Halt()
            attempt = Attempt(self.hold.halt, check=self.hold.check)
            mail: Mail | None = None
            try:
                mail = await self._next_mail(first, answered=answered)
                first = None
                if mail is None:
                    return None
                await self.kit.reach("begun")
                if taken_over:
                    self.kit.meter.taken_over(self._claim.conversation.platform)
                taken_over = False
                attempt.intend = self._intend(mail.message.id)
                await self._answer_and_commit(mail, attempt)
                answered = True
            except Interrupted as error:
                if error.reason == "revised":
                    continue
                if error.reason == "fenced":
                    return self._overtaken(mail, attempt)
                await self._leave(str(error))
                return None
            except Fenced:
                return self._overtaken(mail, attempt)
            except StoreUnavailable as error:
                await self._leave(str(error))
                return None

    async def _next_mail(self, first: Mail | None, *, answered: bool) -> Mail | None:
        """The first waiting message, or None once the conversation is given back; `first` came with the claim.

        Where one was `answered` there is mostly no other, and `finish` says so without reading the history again.
        """
        while True:
            if self.stopping.is_set():
                await self._release()
                return None
            if first is not None:
                return first
            if answered and await self._steadily(lambda: self.tickets.finish(self._claim)):
                return None
            mail = await self._steadily(lambda: self.tickets.head(self._claim))
            if mail is not None:
                return mail
            answered = True

    async def _answer_and_commit(self, mail: Mail, attempt: Attempt) -> None:
        """Commits unless the question was deleted at the last moment: then it is the next mail once more."""
        commit = await self._answer(mail, attempt)
        with self.kit.tracer.span("commit", mail.message.trace, turn=mail.message.id):
            committed = await self._steadily(lambda: self.tickets.commit(self._claim, commit))
        if not committed:
            return
        await self.kit.reach("committed")
        self._report(commit)
        if commit.interaction is not None:
            self.kit.meter.answered(commit.interaction)
            await self._charge(commit.interaction)

    async def _answer(self, mail: Mail, attempt: Attempt) -> Commit:
        try:
            return await answer(mail, self.kit, attempt)
        except (Fenced, Interrupted, StoreUnavailable):
            raise
        except Exception as error:
            # The one place that catches everything: the message is recorded as failed and its person is told.
            _log.exception("answer_failed", turn=mail.message.id)
            await self._apologise(mail, attempt)
            return failure(mail.message, self.kit, error, attempt.posts)

    def _intend(self, turn_id: str) -> Callable[[], Awaitable[None]]:
        async def intend() -> None:
            await self._steadily(lambda: self.tickets.intend(self._claim, turn_id))

        return intend

    async def _apologise(self, mail: Mail, attempt: Attempt) -> None:
        courier = self.kit.couriers.get(mail.message.conversation.platform)
        if courier is None:
            return
        attempt.check()
        try:
            if mail.message.kind == "again":  # the answer that is there stays
                await courier.notice(mail.message, lines.FAULT)
                return
            attempt.posts = await courier.draft(mail.message, resumed=True).close(lines.FAULT, Outcome.FAILED)
        except DeliveryFailed as error:
            _log.warning("apology_not_delivered", turn=mail.message.id, reason=str(error))

    def _overtaken(self, mail: Mail | None, attempt: Attempt) -> Overtaken | None:
        conversation = self._claim.conversation
        self.kit.meter.fenced(conversation.platform)
        _log.info("conversation_taken_over", conversation=str(conversation), epoch=self._claim.epoch)
        if mail is None or not attempt.posts:
            return None
        return Overtaken(mail.message, attempt.posts, self.kit.couriers[conversation.platform])

    async def _leave(self, reason: str) -> None:
        _log.warning("message_left_for_later", conversation=str(self._claim.conversation), reason=reason)
        await self._release()

    async def _release(self) -> None:
        try:
            await self.tickets.release(self._claim)
        except StoreUnavailable as error:
            _log.warning("claim_not_released", conversation=str(self._claim.conversation), reason=str(error))

    async def _steadily(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeats an idempotent call while the store is away."""
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                return await call()
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(self.retry_s)

    async def _charge(self, done: Interaction) -> None:
        if self.kit.limits is None or not done.completion_tokens:
            return
        try:
            await self.kit.limits.charge_tokens(done.conversation, done.person_id, done.completion_tokens)
        except StoreUnavailable as error:
            _log.warning("tokens_not_charged", turn=done.turn_id, reason=str(error))

    def _report(self, commit: Commit) -> None:
        done = commit.interaction
        if done is None:
            _log.info("turn_done", turn=commit.turn_id, reset=commit.clear)
            return
        _log.info(
            "turn_done",
            turn=done.turn_id,
            outcome=done.outcome.value,
            queue_ms=round((done.started_at - done.accepted_at) * 1000, 1),
            first_token_ms=None if done.first_token_ms is None else round(done.first_token_ms, 1),
            total_ms=round(done.total_ms, 1),
            prompt_tokens=done.prompt_tokens,
            completion_tokens=done.completion_tokens,
            model_version=done.model_version,
            worker=done.worker,
        )
