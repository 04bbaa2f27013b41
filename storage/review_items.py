"""Items of the inbox as the ledger's writer makes and erases them, in the transaction of their interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.chat.interaction import Interaction
from core.loop.inbox import is_long, is_slow, number_of
from core.loop.review import State, first_state, weight_of
from storage.search import add_to_search, take_from_search
from storage.tables import review, review_item, review_tag, second_review


async def add_items(connection: AsyncConnection, interactions: Sequence[Interaction]) -> None:
    """Makes the items that are not there yet, and indexes the texts of those, which are there already."""
    added: list[int] = []
    missing = list({each.turn_id: _row(each) for each in interactions}.values())
    while missing:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(review_item).on_conflict_do_nothing().returning(review_item.c.number)
        added += (await connection.scalars(statement, missing)).all()
        ids = [row["turn_id"] for row in missing]
        known = set(await connection.scalars(select(review_item.c.turn_id).where(review_item.c.turn_id.in_(ids))))
        # Another turn of the same millisecond has that number: seldom, see core.loop.inbox.
        missing = [{**row, "number": row["number"] + 1} for row in missing if row["turn_id"] not in known]
    await add_to_search(connection, added)


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


def _row(each: Interaction) -> dict[str, Any]:
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
        "state": first_state(weight).value,
        "sign": weight.value,
        "weight": weight.value,
        "claimed_by": "",
        "lease_until": 0.0,
        "row_version": 0,
    }
