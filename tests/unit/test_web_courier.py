from __future__ import annotations

import pytest

from bots.web.courier import FeedCourier
from core.chat.errors import DeliveryFailed, StoreUnavailable
from core.chat.message import Address, Conversation, Message, Outcome, Person
from core.chat.ports import FeedEvent
from tests.support.memory_store import MemoryFeed

HERE = Conversation("terminal", "local", "ada", "c1")


class _FeedAway(MemoryFeed):
    async def publish(self, conversation: Conversation, event: FeedEvent) -> None:
        raise StoreUnavailable("away")


def _message(text: str = "One?") -> Message:
    person = Person("ada", "ada")
    return Message(HERE.message_id("m1"), HERE, person, text, Address.DIRECT, 1.0)


def _told(feed: MemoryFeed) -> list[tuple[str, str, str]]:
    return [(event.kind, event.text, event.outcome) for event in feed.kept.get(HERE, [])]


async def test_a_draft_tells_the_question_its_growth_and_its_end() -> None:
    feed = MemoryFeed()
    draft = FeedCourier("terminal", feed).draft(_message(), resumed=False)

    await draft.begin()
    await draft.show("Fi")
    posts = await draft.close("First.", Outcome.ANSWERED)

    assert _told(feed) == [
        ("said", "One?", ""),
        ("growing", "", ""),
        ("growing", "Fi", ""),
        ("closed", "First.", "answered"),
    ]
    assert posts == (_message().id,)
    assert {event.turn_id for event in feed.kept[HERE]} == {_message().id}


async def test_a_reset_forgets_on_the_page_before_its_line() -> None:
    feed = MemoryFeed()
    reset = Message(HERE.message_id("m2"), HERE, Person("ada", "ada"), "/reset", Address.DIRECT, 1.0, kind="reset")
    draft = FeedCourier("terminal", feed).draft(reset, resumed=False)

    await draft.begin()
    await draft.close("Forgotten.", Outcome.ANSWERED)

    assert _told(feed) == [("reset", "", ""), ("closed", "Forgotten.", "answered")]


async def test_a_draft_that_is_left_names_its_turn_once_something_was_visible() -> None:
    courier = FeedCourier("terminal", MemoryFeed())
    unseen, begun, resumed = (courier.draft(_message(), resumed=False) for _ in range(3))
    await begun.begin()
    await resumed.show("Fi")

    assert await unseen.leave() == ()
    assert await begun.leave() == await resumed.leave() == (_message().id,)


async def test_an_empty_end_takes_the_answer_back() -> None:
    feed = MemoryFeed()
    draft = FeedCourier("terminal", feed).draft(_message(), resumed=False)
    await draft.show("Fi")

    assert await draft.close("", Outcome.WITHDRAWN) == ()
    assert _told(feed) == [("growing", "Fi", ""), ("removed", "", "")]


async def test_only_the_turns_own_post_is_taken_back() -> None:
    feed = MemoryFeed()
    courier = FeedCourier("terminal", feed)

    await courier.retract(_message(), ())
    await courier.retract(_message(), ("another turn",))
    assert _told(feed) == []

    await courier.retract(_message(), (_message().id,))
    assert _told(feed) == [("removed", "", "")]


async def test_a_feed_that_is_away_is_a_failed_delivery_worth_another_try() -> None:
    courier = FeedCourier("terminal", _FeedAway())
    draft = courier.draft(_message(), resumed=False)

    await draft.begin()
    with pytest.raises(DeliveryFailed) as of_close:
        await draft.close("First.", Outcome.ANSWERED)
    with pytest.raises(DeliveryFailed):
        await courier.notice(_message(), "Busy.")
    with pytest.raises(DeliveryFailed):
        await courier.retract(_message(), (_message().id,))

    assert of_close.value.retryable
