"""Intake: decides whether a message is for us, and hands it to the mailbox before anyone acknowledges it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Protocol

import structlog

from core.chat import lines
from core.chat.errors import DeliveryFailed
from core.chat.failpoints import Reach, passing
from core.chat.limits import Limits
from core.chat.message import Address, Conversation, Message
from core.chat.ports import Acceptance, Change, Courier, Mailbox, Meter, Tracer
from core.chat.quiet import NO_METER, NO_TRACER

_log = structlog.get_logger(__name__)

RESET_WORDS = frozenset({"/reset", "reset", "/forget"})
STOP_WORDS = frozenset({"/stop", "stop"})


class Receipt(StrEnum):
    """What became of a message; with each of them the platform's event may be acknowledged."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    BUSY = "busy"
    LIMITED = "limited"
    STOPPING = "stopping"


# What a gateway calls with each message it hears. Raises StoreUnavailable: then the event must not be acknowledged.
Receive = Callable[[Message], Awaitable[Receipt]]


class Intake(Protocol):
    """What a gateway hands to core. Each raises StoreUnavailable: then the event must not be acknowledged."""

    async def receive(self, message: Message) -> Receipt:
        """A message was said."""

    async def revise(self, message: Message) -> Change:
        """A message was edited; `message` holds its new text under the id it has always had."""

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        """A message was deleted."""


@dataclass(frozen=True, slots=True)
class MailboxIntake:
    """The `Intake` of one platform. Without `limits` everybody may ask as much as the inboxes hold."""

    mailbox: Mailbox
    courier: Courier
    limits: Limits | None = None
    meter: Meter = NO_METER
    tracer: Tracer = NO_TRACER
    reach: Reach = passing
    now: Callable[[], float] = time.time

    async def receive(self, message: Message) -> Receipt:
        """Takes `message` in if it is for us.

        Raises:
            StoreUnavailable: nothing was kept; the platform should deliver the message again.
        """
        if not await self._is_for_us(message):
            return Receipt.IGNORED
        with self.tracer.span("receive", message.trace, turn=message.id) as trace:
            receipt = await self._take_in(replace(message, trace=trace))
        self.meter.received(message.conversation.platform, receipt.value)
        return receipt

    async def revise(self, message: Message) -> Change:
        """See `Intake.revise`."""
        if message.person.is_bot:
            return Change.LATE
        return await self.mailbox.revise(replace(message, kind=_kind(message)))

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        """See `Intake.withdraw`."""
        return await self.mailbox.withdraw(conversation, message_id)

    async def _take_in(self, message: Message) -> Receipt:
        if _word(message) in STOP_WORDS:
            stopping = await self.mailbox.request_stop(message.conversation)
            return Receipt.STOPPING if stopping else Receipt.IGNORED
        if wait_s := await self._limited(message):
            if await self.mailbox.accepted(message):
                return Receipt.DUPLICATE
            await self._say_limited(message, wait_s)
            return Receipt.LIMITED
        acceptance = await self.mailbox.accept(replace(message, kind=_kind(message), accepted_at=self.now()))
        await self.reach("accepted")
        if acceptance is Acceptance.ACCEPTED:
            return Receipt.ACCEPTED
        if self.limits is not None:
            await self.limits.give_back(message.conversation, message.person.id)
        if acceptance is Acceptance.DUPLICATE:
            return Receipt.DUPLICATE
        await self._say(message, lines.BUSY)
        return Receipt.BUSY

    async def _limited(self, message: Message) -> float:
        if self.limits is None:
            return 0.0
        return await self.limits.admit(message.conversation, message.person.id)

    async def _say_limited(self, message: Message, wait_s: float) -> None:
        assert self.limits is not None  # noqa: S101 - only limits make anybody wait
        if await self.limits.may_tell(message.conversation, message.person.id):
            await self._say(message, lines.LIMITED.format(wait=lines.in_words(wait_s)))

    async def _is_for_us(self, message: Message) -> bool:
        if message.person.is_bot:
            return False  # bots that answer bots never end
        if message.address is not Address.OVERHEARD:
            return True
        in_thread = bool(message.conversation.thread)
        return in_thread and bool(message.text.strip()) and await self.mailbox.knows(message.conversation)

    async def _say(self, message: Message, line: str) -> None:
        try:
            await self.courier.notice(message, line)
        except DeliveryFailed as error:
            _log.warning("line_not_delivered", turn=message.id, reason=str(error))


def _word(message: Message) -> str:
    return message.text.strip().lower()


def _kind(message: Message) -> Literal["say", "reset", "again"]:
    return "reset" if _word(message) in RESET_WORDS else message.kind
