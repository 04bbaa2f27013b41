"""Items of the inbox as the ledger's writer makes and erases them, in the transaction of their interactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, delete, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.chat.interaction import Interaction
from core.chat.message import Conversation, Outcome
from core.loop.feedback import Feedback, Reason, Source, Verdict
from core.loop.inbox import is_long, is_slow, number_of
from core.loop.review import WAITING, Opinion, State, Weight, first_state, opinion_of, weight_of
from storage.search import add_to_search, take_from_search
from storage.tables import feedback, review, review_item, review_tag, second_review


async def add_items(connection: AsyncConnection, interactions: Sequence[Interaction]) -> None:
    """Makes the items that are not there yet, and indexes the texts of those, which are there already."""
    rows = {each.turn_id: item_row_of(each) for each in interactions}
    # Whoever writes the same turns at once waits at their interactions, and then finds their items here.
    known = await _numbers(connection, rows)
    new = missing = [row for row in rows.values() if row["turn_id"] not in known]
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    while missing:
        await connection.execute(dialect.insert(review_item).on_conflict_do_nothing(), missing)
        known = await _numbers(connection, [row["turn_id"] for row in new])
        # Another turn of the same millisecond has that number: seldom, see core.loop.inbox.
        missing = [{**row, "number": row["number"] + 1} for row in missing if row["turn_id"] not in known]
    await add_to_search(connection, [known[row["turn_id"]] for row in new])
    # What was said of an answer may have overtaken it.
    told = select(feedback.c.turn_id).where(feedback.c.turn_id.in_([each.turn_id for each in interactions]))
    replaced = {each.replaces for each in interactions} - {""}
    await weigh_items(connection, (await connection.scalars(told)).all(), replaced)


async def _numbers(connection: AsyncConnection, turn_ids: Iterable[str]) -> dict[str, int]:
    query = select(review_item.c.turn_id, review_item.c.number).where(review_item.c.turn_id.in_(list(turn_ids)))
    return {row.turn_id: row.number for row in await connection.execute(query)}


async def weigh_items(connection: AsyncConnection, turn_ids: Iterable[str], regenerated: Iterable[str] = ()) -> None:
    """Takes in what people said of answers, and that others were asked for: items move up and down while they wait."""
    again = {*regenerated}
    ids = {*turn_ids} | again
    column = review_item.c
    here = and_(column.turn_id.in_(ids), column.state != State.ERASED.value)
    items = (await connection.execute(select(review_item).where(here).order_by(column.number))).all()
    said: dict[str, list[Feedback]] = {}
    for row in await connection.execute(
        select(feedback).where(feedback.c.turn_id.in_([item.turn_id for item in items]))
    ):
        said.setdefault(row.turn_id, []).append(feedback_of(row))
    for item in items:
        redone = item.regenerated or item.turn_id in again
        opinion = opinion_of(said.get(item.turn_id, ()), regenerated=redone)
        await _weigh(connection, item, opinion, regenerated=redone)


async def _weigh(connection: AsyncConnection, item: Row[Any], opinion: Opinion, *, regenerated: bool) -> None:
    column = review_item.c
    sign = weight_of(item.turn_id, Outcome(item.outcome), opinion)
    waits = column.state.in_([state.value for state in WAITING])
    queued = and_(column.state == State.NEW.value, literal(sign > Weight.REST))
    values = {
        "opinion": opinion.value,
        "regenerated": regenerated,
        "sign": sign.value,
        "weight": case((waits, sign.value), else_=column.weight),
        "state": case((queued, State.QUEUED.value), else_=column.state),
    }
    await connection.execute(update(review_item).where(column.number == item.number).values(values))


async def erase_items(connection: AsyncConnection, whose: ColumnElement[bool]) -> None:
    """Leaves nothing of items but that they were there. Comes before their texts go."""
    numbers = list(await connection.scalars(select(review_item.c.number).where(whose)))
    await take_from_search(connection, numbers)
    for start in range(0, len(numbers), 1000):
        some = numbers[start : start + 1000]
        for table in (review, second_review, review_tag):
            await connection.execute(delete(table).where(table.c.number.in_(some)))
        nothing = {"person_id": "", "weight": 0, "sign": 0, "claimed_by": "", "lease_until": 0.0}
        here = review_item.c.number.in_(some)
        version = review_item.c.row_version + 1
        gone = update(review_item).where(here).values(**nothing, state=State.ERASED.value, row_version=version)
        await connection.execute(gone)


def item_row_of(each: Interaction) -> dict[str, Any]:
    """The columns of a new item."""
    weight = weight_of(each.turn_id, each.outcome)
    return {
        "number": number_of(each.turn_id, each.sent_at),
        "day": each.day,
        "turn_id": each.turn_id,
        "platform": each.conversation.platform,
        "workspace": each.conversation.workspace,
        "channel": each.conversation.channel,
        "person_id": each.person_id,
        "model_version": each.model_version,
        "outcome": each.outcome.value,
        "slow": is_slow(each),
        "long": is_long(each),
        "opinion": "",
        "regenerated": False,
        "state": first_state(weight).value,
        "sign": weight.value,
        "weight": weight.value,
        "claimed_by": "",
        "lease_until": 0.0,
        "row_version": 0,
    }


SAME_FEEDBACK = [name for name in Feedback.__dataclass_fields__ if name != "conversation"]


def feedback_of(row: Row[Any]) -> Feedback:
    """The feedback in a row of its table."""
    found = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's public name for it
    fields = {name: found[name] for name in SAME_FEEDBACK}
    closed = {
        "verdict": Verdict(found["verdict"]),
        "source": Source(found["source"]),
        "reason": Reason(found["reason"]),
        "conversation": Conversation.parse(found["conversation"]),
    }
    return Feedback(**{**fields, **closed})
