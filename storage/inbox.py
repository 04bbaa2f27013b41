"""The inbox in SQL: its pages, and claims that are one conditional update each."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.loop.errors import NotAllowed, NotYours
from core.loop.inbox import LEASE_S, MAX_PAGE, Cursor, Filter, Item, Page
from core.loop.review import State, Step, Weight, befores
from storage.audit import Now
from storage.engine import WRITES, in_our_words
from storage.finding import find_numbers, read_item, read_items
from storage.tables import review_item, second_review

_TRIES = 8
_TAKEN = "Somebody else is reviewing this item."


class SqlInbox:
    """Inbox of `core.loop.inbox`. Raises StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, now: Now = time.time) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**WRITES)
        self._now = now

    async def page(self, wanted: Filter, limit: int, after: Cursor | None = None, *, by_weight: bool = False) -> Page:
        """See `Inbox.page`."""
        limit = max(1, min(limit, MAX_PAGE))
        with in_our_words():
            async with self._engine.connect() as connection:
                found = await find_numbers(connection, wanted, limit + 1, after, by_weight=by_weight)
                items = await read_items(connection, [number for number, _ in found[:limit]])
        following = Cursor(*found[limit - 1]) if len(found) > limit else None
        return Page(items, following)

    async def item(self, turn_id: str) -> Item:
        """See `Inbox.item`."""
        with in_our_words():
            async with self._engine.connect() as connection:
                return await read_item(connection, turn_id)

    async def claim(self, turn_id: str, reviewer: str, lease_s: float = LEASE_S) -> Item:
        """See `Inbox.claim`."""
        with in_our_words():
            async with self._writer.begin() as connection:
                here = review_item.c.turn_id == turn_id
                if await _claim(connection, here, reviewer, self._now(), lease_s) is None:
                    _explain(await read_item(connection, turn_id))
                return await read_item(connection, turn_id)

    async def claim_next(self, wanted: Filter, reviewer: str, lease_s: float = LEASE_S) -> Item | None:
        """See `Inbox.claim_next`."""
        after: Cursor | None = None
        for _ in range(_TRIES):
            with in_our_words():
                async with self._engine.connect() as connection:
                    free = _free(self._now())
                    found = await find_numbers(connection, wanted, 20, after, by_weight=True, also=free)
            for number, weight in found:
                if item := await self._claim_number(number, reviewer, lease_s):
                    return item
                after = Cursor(number, weight)
            if len(found) < 20:
                break
        return None

    async def claim_second(self, reviewer: str, lease_s: float = LEASE_S) -> Item | None:
        """See `Inbox.claim_second`."""
        now, table = self._now(), second_review.c
        free = or_(table.claimed_by.in_(("", reviewer)), table.lease_until < now)
        open_to_me = and_(~table.done, table.first_reviewer != reviewer, free)
        one = select(table.number).where(open_to_me).order_by(table.number.desc()).limit(1)
        with in_our_words():
            async with self._writer.begin() as connection:
                if connection.dialect.name == "postgresql":
                    one = one.with_for_update(skip_locked=True)
                taken = update(second_review).where(table.number == one.scalar_subquery(), open_to_me)
                given = taken.values(claimed_by=reviewer, lease_until=now + lease_s).returning(table.number)
                number = await connection.scalar(given)
                if number is None:
                    return None
                [item] = await read_items(connection, [number])
        return as_if_first(item, reviewer, now + lease_s)

    async def release(self, turn_id: str, reviewer: str) -> None:
        """See `Inbox.release`."""
        nobody = {"claimed_by": "", "lease_until": 0.0}
        with in_our_words():
            async with self._writer.begin() as connection:
                item = await read_item(connection, turn_id)
                second = and_(second_review.c.number == item.number, second_review.c.claimed_by == reviewer)
                freed = await connection.execute(
                    update(second_review).where(second, ~second_review.c.done).values(nobody)
                )
                if freed.rowcount:
                    return
                mine = and_(_is(item.number), _in((State.CLAIMED,)), review_item.c.claimed_by == reviewer)
                # Somebody picked it: it waits in the queue from now on.
                sign = max(item.sign, Weight.SAMPLED.value)
                back = {"state": State.QUEUED.value, "sign": sign, "weight": sign}
                values = {**nobody, **back, "row_version": review_item.c.row_version + 1}
                if not (await connection.execute(update(review_item).where(mine).values(values))).rowcount:
                    raise NotYours("You have not claimed this item, or the claim ran out and somebody else has it.")

    async def _claim_number(self, number: int, reviewer: str, lease_s: float) -> Item | None:
        now = self._now()
        with in_our_words():
            async with self._writer.begin() as connection:
                if await _claim(connection, and_(_is(number), _free(now)), reviewer, now, lease_s) is None:
                    return None
                [item] = await read_items(connection, [number])
        return item


# ── claims ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _claim(
    connection: AsyncConnection, here: ColumnElement[bool], reviewer: str, now: float, lease_s: float
) -> int | None:
    """Takes the item if it is free, or claimed by the same reviewer already; its number, or None."""
    column = review_item.c
    held = and_(_in((State.CLAIMED,)), or_(column.claimed_by == reviewer, column.lease_until < now))
    free = or_(_in(tuple(befores(Step.CLAIM))), held)
    values = {"state": State.CLAIMED.value, "claimed_by": reviewer, "lease_until": now + lease_s}
    taken = (
        update(review_item).where(here, free).values(**values, weight=column.sign, row_version=column.row_version + 1)
    )
    number: int | None = await connection.scalar(taken.returning(column.number))
    return number


def _free(now: float) -> ColumnElement[bool]:
    run_out = and_(_in((State.CLAIMED,)), review_item.c.lease_until < now)
    return or_(_in((State.NEW, State.QUEUED)), run_out)


def _explain(item: Item) -> None:
    """Why an item could not be claimed."""
    if item.state is State.CLAIMED:
        raise NotYours(_TAKEN)
    raise NotAllowed(f"This item is {item.state.value} already.")


def as_if_first(item: Item, reviewer: str, lease_until: float) -> Item:
    """The item as whoever reviews it for the second time sees it: without a trace of the first verdict."""
    fields = {name: getattr(item, name) for name in item.__dataclass_fields__}
    blind = {"state": State.CLAIMED, "claimed_by": reviewer, "lease_until": lease_until, "tags": (), "weight": 0}
    return Item(**{**fields, **blind})


def _is(number: int) -> ColumnElement[bool]:
    return review_item.c.number == number


def _in(states: Sequence[State]) -> ColumnElement[bool]:
    return review_item.c.state.in_([state.value for state in states])
