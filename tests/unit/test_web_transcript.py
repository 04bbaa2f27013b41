from __future__ import annotations

import asyncio

from bots.web.transcript import Exchange, fold, read_transcript
from core.chat.message import Conversation, Turn
from core.chat.ports import FeedEvent
from tests.support.memory_store import MemoryFeed, MemoryStore

HERE = Conversation("web", "local", "p1", "c1")


def _turns(turn_id: str, question: str, answer: str) -> tuple[Turn, Turn]:
    return Turn("user", question, 1, turn_id, 1.0), Turn("assistant", answer, 1, turn_id, 2.0)


def _told(exchanges: list[Exchange]) -> list[tuple[str, str, str]]:
    return [(exchange.question, exchange.answer, exchange.outcome) for exchange in exchanges]


def test_a_question_that_waits_is_shown_below_the_history() -> None:
    turns = _turns("t1", "One?", "First.")

    exchanges = fold(turns, [FeedEvent("said", "t2", "Two?")])

    assert _told(exchanges) == [("One?", "First.", "answered"), ("Two?", "", "")]
    assert exchanges[1].pending


def test_the_newest_text_of_a_growing_answer_is_shown() -> None:
    events = [FeedEvent("said", "t1", "One?"), FeedEvent("growing", "t1", "Fi"), FeedEvent("growing", "t1", "First")]

    exchanges = fold((), events)

    assert _told(exchanges) == [("One?", "First", "")]


def test_an_answer_that_grows_before_its_question_is_told_is_one_exchange() -> None:
    events = [FeedEvent("growing", "t1", "Fi"), FeedEvent("said", "t1", "One?")]

    exchanges = fold((), events)

    assert _told(exchanges) == [("One?", "Fi", "")]


def test_a_failed_answer_that_no_history_keeps_is_still_shown() -> None:
    events = [FeedEvent("said", "t1", "One?"), FeedEvent("closed", "t1", "Please ask again.", "failed")]

    exchanges = fold((), events)

    assert _told(exchanges) == [("One?", "Please ask again.", "failed")]


def test_the_feed_tells_how_a_remembered_answer_ended() -> None:
    events = [FeedEvent("growing", "t1", "Fi"), FeedEvent("closed", "t1", "First\n\n(stopped)", "stopped")]

    exchanges = fold(_turns("t1", "One?", "First"), events)

    assert _told(exchanges) == [("One?", "First\n\n(stopped)", "stopped")]


def test_a_remembered_answer_does_not_grow_again() -> None:
    exchanges = fold(_turns("t1", "One?", "First."), [FeedEvent("growing", "t1", "Fi")])

    assert _told(exchanges) == [("One?", "First.", "answered")]


def test_an_answer_given_again_before_its_commit_is_awaited_again() -> None:
    events = [
        FeedEvent("said", "t1", "One?"),
        FeedEvent("closed", "t1", "First.", "answered"),
        FeedEvent("growing", "t1", ""),
    ]

    exchanges = fold((), events)

    assert _told(exchanges) == [("One?", "", "")]


def test_after_a_reset_only_what_is_said_later_is_shown() -> None:
    turns = (*_turns("t1", "One?", "First."), *_turns("t3", "Three?", "Third."))
    events = [
        FeedEvent("said", "t1", "One?"),
        FeedEvent("reset", "t2"),
        FeedEvent("closed", "t2", "Done.", "answered"),
        FeedEvent("said", "t3", "Three?"),
    ]

    exchanges = fold(turns, events)

    assert _told(exchanges) == [("Three?", "Third.", "answered")]


def test_a_turn_that_was_taken_back_is_gone() -> None:
    events = [
        FeedEvent("said", "t1", "One?"),
        FeedEvent("said", "t2", "Two?"),
        FeedEvent("growing", "t1", "Fi"),
        FeedEvent("removed", "t1"),
    ]

    assert _told(fold((), events)) == [("Two?", "", "")]


def test_a_late_text_does_not_bring_back_what_was_taken_back() -> None:
    events = [FeedEvent("said", "t1", "One?"), FeedEvent("removed", "t1"), FeedEvent("growing", "t1", "First")]

    assert fold((), events) == []


async def test_the_transcript_ends_where_the_stream_goes_on() -> None:
    feed = MemoryFeed()
    await feed.publish(HERE, FeedEvent("said", "t1", "One?"))
    await feed.publish(HERE, FeedEvent("growing", "t1", "Fi"))

    transcript = await read_transcript(HERE, MemoryStore(), feed)

    assert _told(list(transcript.exchanges)) == [("One?", "Fi", "")]
    assert transcript.after == await feed.latest(HERE)


async def test_an_unknown_conversation_has_an_empty_transcript() -> None:
    transcript = await read_transcript(HERE, MemoryStore(), MemoryFeed())

    assert transcript.exchanges == ()
    assert not transcript.pending
    assert transcript.after == "0"


async def test_a_growing_text_that_is_replaced_meanwhile_holds_up_nothing() -> None:
    feed = _OvertakenFeed()
    await feed.publish(HERE, FeedEvent("said", "t1", "One?"))
    await feed.publish(HERE, FeedEvent("growing", "t1", "Fi"))

    async with asyncio.timeout(1.0):
        transcript = await read_transcript(HERE, MemoryStore(), feed)

    assert _told(list(transcript.exchanges)) == [("One?", "First", "")]
    assert transcript.after == "3-0"


class _OvertakenFeed(MemoryFeed):
    """Replaces the growing text right after it was named as the latest."""

    async def latest(self, conversation: Conversation) -> str:
        newest = await super().latest(conversation)
        self.kept[conversation][-1:] = [FeedEvent("growing", "t1", "First", id="3-0")]
        return newest
