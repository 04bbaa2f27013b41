"""Intake: decides whether a message is for us, and hands it to the mailbox before anyone acknowledges it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum

import structlog

from core.chat import lines
from core.chat.errors import DeliveryFailed
from core.chat.message import Address, Message
from core.chat.ports import Acceptance, Courier, Mailbox

_log = structlog.get_logger(__name__)

RESET_WORDS = frozenset({"/reset", "reset", "/forget"})
STOP_WORDS = frozenset({"/stop", "stop"})


class Receipt(StrEnum):
    """What became of a message; with each of them the platform's event may be acknowledged."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    BUSY = "busy"
    STOPPING = "stopping"


# What a gateway calls with each message it hears. Raises StoreUnavailable: then the event must not be acknowledged.
Receive = Callable[[Message], Awaitable[Receipt]]


async def receive(
    message: Message, mailbox: Mailbox, courier: Courier, now: Callable[[], float] = time.time
) -> Receipt:
    """Takes `message` in if it is for us.

    Raises:
        StoreUnavailable: nothing was kept; the platform should deliver the message again.
    """
    if not await _is_for_us(message, mailbox):
        return Receipt.IGNORED
    word = message.text.strip().lower()
    if word in STOP_WORDS:
        stopping = await mailbox.request_stop(message.conversation)
        return Receipt.STOPPING if stopping else Receipt.IGNORED
    kind = "reset" if word in RESET_WORDS else message.kind
    acceptance = await mailbox.accept(replace(message, kind=kind, accepted_at=now()))
    if acceptance is Acceptance.FULL:
        await _say_busy(message, courier)
        return Receipt.BUSY
    return Receipt.DUPLICATE if acceptance is Acceptance.DUPLICATE else Receipt.ACCEPTED


async def _is_for_us(message: Message, mailbox: Mailbox) -> bool:
    if message.person.is_bot:
        return False  # bots that answer bots never end
    if message.address is not Address.OVERHEARD:
        return True
    in_thread = bool(message.conversation.thread)
    return in_thread and bool(message.text.strip()) and await mailbox.knows(message.conversation)


async def _say_busy(message: Message, courier: Courier) -> None:
    try:
        await courier.notice(message, lines.BUSY)
    except DeliveryFailed as error:
        _log.warning("busy_line_not_delivered", turn=message.id, reason=str(error))
