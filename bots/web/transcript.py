"""What a page shows of a conversation: its history, and what the feed knows beyond it. The folding is pure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from core.chat.message import Conversation, Outcome, Turn
from core.chat.ports import Feed, FeedEvent, Histories

# Bounds the wait for an event that was there a moment ago.
_REPLAY_S = 2.0


@dataclass(slots=True)
class Exchange:
    """One question and its answer so far; `outcome` is empty while the answer is awaited.

    While another answer is awaited, `earlier` is the outcome of the one that is still there. `answer_id` is the turn id
    of the answer, "" where it is that of the exchange.
    """

    turn_id: str
    question: str = ""
    answer: str = ""
    outcome: str = ""
    remembered: bool = False
    earlier: str = ""
    answer_id: str = ""

    @property
    def pending(self) -> bool:
        """Whether the answer is still to come, or growing."""
        return not self.outcome


@dataclass(frozen=True, slots=True)
class Transcript:
    """The exchanges of a conversation, oldest first, and the feed's id up to which they are told."""

    exchanges: tuple[Exchange, ...]
    after: str

    @property
    def pending(self) -> bool:
        """Whether an answer is still to come."""
        return any(exchange.pending for exchange in self.exchanges)


async def read_transcript(conversation: Conversation, histories: Histories, feed: Feed) -> Transcript:
    """The conversation as it stands. Raises StoreUnavailable."""
    # The feed first: what is committed between the two reads is then in the history, and nowhere missing.
    after = await feed.latest(conversation)
    events = await _replay(conversation, feed, after)
    turns = await histories.turns(conversation)
    return Transcript(tuple(fold(turns, events)), events[-1].id if events else after)


async def wait_for_reset(feed: Feed, conversation: Conversation, after: str, turn_id: str, wait_s: float) -> bool:
    """Until the feed tells, after the event `after`, of the reset `turn_id`; False when `wait_s` have passed."""
    try:
        async with asyncio.timeout(wait_s), aclosing(feed.events(conversation, after)) as stream:  # type: ignore[type-var]
            async for event in stream:
                if (event.kind, event.turn_id) == ("reset", turn_id):
                    return True
    except TimeoutError:
        pass
    return False


def fold(turns: Sequence[Turn], events: Iterable[FeedEvent]) -> list[Exchange]:
    """History and feed as exchanges.

    A question that waits, an answer that grows and one that failed are in the feed only. A turn that was `removed` is
    gone, unless it is answered anew. After a `reset` only what the
    feed tells later belongs to the conversation: history may be read a moment before the reset is committed.
    """
    exchanges = _remembered(turns)
    shown: dict[str, Exchange] = dict(exchanges)
    for event in events:
        if event.kind == "reset":
            shown.clear()
        elif event.kind == "removed":
            shown.pop(event.turn_id, None)
        elif event.kind in {"again", "kept"}:
            if event.turn_id in shown:
                _apply(shown[event.turn_id], event)
        elif event.kind in {"said", "growing", "closed"}:
            exchange = shown.setdefault(event.turn_id, exchanges.get(event.turn_id) or Exchange(event.turn_id))
            _apply(exchange, event)
    return [exchange for exchange in shown.values() if exchange.question]


def _remembered(turns: Sequence[Turn]) -> dict[str, Exchange]:
    exchanges: dict[str, Exchange] = {}
    for turn in turns:
        exchange = exchanges.setdefault(turn.turn_id, Exchange(turn.turn_id, remembered=True))
        if turn.role == "user":
            exchange.question = turn.text
        else:
            exchange.answer, exchange.outcome = turn.text, Outcome.ANSWERED.value
            exchange.answer_id = turn.answer_id
    return exchanges


def _apply(exchange: Exchange, event: FeedEvent) -> None:
    if event.kind == "said":
        exchange.question = event.text
    elif event.kind == "again":
        exchange.earlier, exchange.outcome = exchange.outcome or exchange.earlier, ""
    elif event.kind == "kept":
        exchange.outcome = exchange.outcome or exchange.earlier
    elif event.kind == "closed":
        exchange.answer, exchange.outcome = event.text, event.outcome or Outcome.ANSWERED.value
        exchange.earlier = ""
    elif not exchange.remembered or exchange.earlier:
        # Growing once more after `closed`: the worker died before the commit, and another one answers again.
        exchange.answer, exchange.outcome = event.text, ""


async def _replay(conversation: Conversation, feed: Feed, until: str) -> list[FeedEvent]:
    events: list[FeedEvent] = []
    if until == "0":
        return events
    try:
        async with asyncio.timeout(_REPLAY_S), aclosing(feed.events(conversation, "0")) as stream:  # type: ignore[type-var]
            async for event in stream:
                events.append(event)
                # Not equality: a growing text may have been replaced since, and its id is gone.
                if _order(event.id) >= _order(until):
                    break
    except TimeoutError:
        pass
    return events


def _order(event_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in event_id.split("-"))
