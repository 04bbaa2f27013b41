"""What a terminal shows of the feed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from bots.web.courier import FeedCourier
from core.chat.message import Address, Conversation, Message, Outcome, Person
from parley.terminal import PLATFORM, Printer, Seat
from tests.support.memory_store import MemoryFeed, MemoryStore

if TYPE_CHECKING:
    from parley.compose import Stores

HERE = Conversation(PLATFORM, "local", "ada", "c1")
ADA = Person("ada", "ada")


async def test_an_answer_that_is_taken_back_ends_what_the_terminal_waits_for() -> None:
    feed, written = MemoryFeed(), list[str]()
    seat = Seat(cast("Stores", SimpleNamespace(feed=feed, mailbox=MemoryStore())), HERE, ADA)
    message = Message(HERE.message_id("m1"), HERE, ADA, "One?", Address.DIRECT, 1.0)
    draft = FeedCourier(PLATFORM, feed).draft(message, resumed=False)
    await draft.show("Fi")
    await draft.close("", Outcome.WITHDRAWN)

    async with asyncio.timeout(5):
        kinds = [event.kind async for event in seat.events(message, "0")]
        outcome = await Printer(written.append).follow(seat.events(message, "0"))

    assert kinds == ["growing", "removed"]
    assert outcome == Outcome.WITHDRAWN
    assert written == ["Fi", "\n(taken back)\n"]
