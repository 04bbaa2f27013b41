"""How a filter finds its items: pages that cost the same at any depth.

In the order of weight, and under most filters, items are read weight by weight: for each, one index holds the filter's
items in the order of time, so that a page is a short walk along it from the cursor on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, exists, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.chat.message import Outcome
from core.loop.errors import NoSuchItem
from core.loop.inbox import Cursor, Filter, Item, first_number
from core.loop.review import Opinion, State, Weight
from storage.search import found_by
from storage.tables import interaction, interaction_text, review_item, review_tag

PREVIEW_CHARS = 300
Found = list[tuple[int, int | None]]
# Of several parts of a filter the first one here leads: it has the fewest items each. Most answers are answered.
_LEADING = ("person_id", "channel", "opinion", "outcome", "slow", "long", "workspace", "model_version", "platform")
# The weights that an item of this state can have.
_WEIGHTS = {State.NEW: (Weight.REST, Weight.NONE), State.QUEUED: tuple(sorted(Weight, reverse=True))[:4]}
_DOWN = tuple(sorted(Weight, reverse=True))


async def find_numbers(
    connection: AsyncConnection,
    wanted: Filter,
    limit: int,
    after: Cursor | None,
    *,
    by_weight: bool,
    also: ColumnElement[bool] | None = None,
) -> Found:
    """The items of a page as cursors see them, in order. `also` is one more condition."""
    more = [] if also is None else [also]
    below = after.number if after else None
    if _in_time_only(wanted) or not (by_weight or _parts(wanted)):
        numbers = await _walk(connection, wanted, more, below, limit)
        return [(number, None) for number in numbers]
    weights = _WEIGHTS[wanted.state] if wanted.state else _DOWN
    if by_weight:
        return await _down_the_weights(connection, wanted, more, after, limit, weights)
    every: list[int] = []
    for weight in weights:
        every += await _walk(connection, wanted, [*more, review_item.c.weight == weight], below, limit)
    return [(number, None) for number in sorted(every, reverse=True)[:limit]]


def _in_time_only(wanted: Filter) -> bool:
    """Whether an index of its own leads to them: by tag, by word, or by a state that only some items have."""
    decided = wanted.state is not None and wanted.state not in _WEIGHTS
    return bool(wanted.tag or wanted.text or decided)


async def _down_the_weights(
    connection: AsyncConnection,
    wanted: Filter,
    more: Sequence[ColumnElement[bool]],
    after: Cursor | None,
    limit: int,
    weights: Sequence[Weight],
) -> Found:
    found: Found = []
    first = after.weight if after and after.weight is not None else _DOWN[0]
    for weight in weights:
        if weight is Weight.NONE or weight > first or len(found) >= limit:
            continue
        start = after.number if after and weight == first else None
        level = [*more, review_item.c.weight == weight]
        numbers = await _walk(connection, wanted, level, start, limit - len(found))
        found += [(number, weight.value) for number in numbers]
    return found


async def _walk(
    connection: AsyncConnection,
    wanted: Filter,
    more: Sequence[ColumnElement[bool]],
    below: int | None,
    limit: int,
) -> Sequence[int]:
    """The numbers of at most `limit` items from `below` down."""
    dialect = connection.dialect.name
    number: ColumnElement[int] = review_item.c.number
    source: Any = review_item
    conditions: list[Any] = [*_conditions(wanted, dialect), *more]
    if wanted.text:
        by_word = found_by(dialect, wanted.text)
        if by_word is None:
            return []
        words, number, match = by_word
        source = words.join(review_item, review_item.c.number == number)
        conditions.append(match)
        if wanted.tag:
            same = and_(review_tag.c.number == number, review_tag.c.tag == wanted.tag)
            conditions.append(exists().where(same))
    elif wanted.tag:
        number = review_tag.c.number
        source = review_tag.join(review_item, review_item.c.number == number)
        conditions.append(review_tag.c.tag == wanted.tag)
    conditions += _span(wanted, number, below)
    query = select(number).select_from(source).where(*conditions).order_by(number.desc()).limit(limit)
    return (await connection.scalars(query)).all()


def _span(wanted: Filter, number: ColumnElement[int], below: int | None) -> list[ColumnElement[bool]]:
    ends = [below] if below is not None else []
    if wanted.until is not None:
        ends.append(first_number(wanted.until))
    span = [number < min(ends)] if ends else []
    return span if wanted.since is None else [*span, number >= first_number(wanted.since)]


# ── conditions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _parts(wanted: Filter) -> list[str]:
    """What is set of `_LEADING`, the one that leads first."""
    found = [name for name in _LEADING if getattr(wanted, name)]
    if wanted.outcome is Outcome.ANSWERED:
        found.remove("outcome")
        found.append("outcome")
    return found


def _conditions(wanted: Filter, dialect: str) -> list[ColumnElement[bool]]:
    """What must hold of an item, but for weight, time, tag and words.

    SQLite keeps no counts by which it could choose an index: it is left one only, that of the part that leads. Where
    a tag, a word or a state leads, it is left none of these.
    """
    hide = dialect == "sqlite"
    leads_elsewhere = _in_time_only(wanted)
    conditions: list[ColumnElement[bool]] = []
    for place, name in enumerate(_parts(wanted)):
        hidden = hide and (place > 0 or leads_elsewhere)
        value = getattr(wanted, name)
        if name in ("slow", "long"):
            conditions.append(literal_column(f"+{name}" if hidden else name))
        else:
            column = review_item.c[name]
            conditions.append((_hidden(column) if hidden else column) == value)
    if wanted.state:
        state = review_item.c.state
        leads = not _parts(wanted) or (leads_elsewhere and not (wanted.tag or wanted.text))
        conditions.append((state if leads or not hide else _hidden(state)) == wanted.state.value)
    else:
        state = review_item.c.state
        conditions.append((_hidden(state) if hide else state) != State.ERASED.value)
    return conditions


def _hidden(column: ColumnElement[str]) -> ColumnElement[str]:
    """The same value, which no index holds."""
    return column.concat("")


# ── items ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_SHOWN = ("conversation", "person_id", "person_name", "sent_at", "total_ms", "outcome", "model_version")
_KEPT = ("number", "turn_id", "opinion", "state", "sign", "weight", "claimed_by", "lease_until", "row_version")


async def read_items(connection: AsyncConnection, numbers: Sequence[int]) -> list[Item]:
    """Those of `numbers` that are there, in this order."""
    if not numbers:
        return []
    texts = [func.substr(interaction_text.c[name], 1, PREVIEW_CHARS).label(name) for name in ("question", "answer")]
    shown = [interaction.c[name] for name in _SHOWN]
    query = (
        select(*(review_item.c[name] for name in _KEPT), *shown, *texts)
        .join(interaction, _same_turn(interaction))
        .join(interaction_text, _same_turn(interaction_text))
        .where(review_item.c.number.in_(numbers))
    )
    rows = (await connection.execute(query)).all()
    tags = await _tags(connection, numbers)
    found = {row.number: _item(row, tags.get(row.number, ())) for row in rows}
    return [found[number] for number in numbers if number in found]


async def read_item(connection: AsyncConnection, turn_id: str) -> Item:
    """Raises NoSuchItem."""
    number = await connection.scalar(select(review_item.c.number).where(review_item.c.turn_id == turn_id))
    found = [] if number is None else await read_items(connection, [number])
    if not found:
        raise NoSuchItem("There is no such item, or it was erased.")
    return found[0]


def _same_turn(table: Any) -> ColumnElement[bool]:
    return and_(table.c.day == review_item.c.day, table.c.turn_id == review_item.c.turn_id)


async def _tags(connection: AsyncConnection, numbers: Sequence[int]) -> dict[int, tuple[str, ...]]:
    query = select(review_tag.c.number, review_tag.c.tag).where(review_tag.c.number.in_(numbers))
    tags: dict[int, tuple[str, ...]] = {}
    for row in await connection.execute(query.order_by(review_tag.c.tag)):
        tags[row.number] = (*tags.get(row.number, ()), row.tag)
    return tags


def _item(row: Row[Any], tags: tuple[str, ...]) -> Item:
    found = {**row._mapping, "outcome": Outcome(row.outcome)}  # noqa: SLF001  # public there
    return Item(**{**found, "opinion": Opinion(row.opinion), "state": State(row.state)}, tags=tags)
