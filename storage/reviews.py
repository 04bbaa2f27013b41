"""Verdicts, tags and saved views in SQL. Every change is kept with its note in the audit trail, or neither is."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, and_, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.loop.audit import Note
from core.loop.errors import ChangedMeanwhile, NoSuchItem, NotAllowed, NotYours
from core.loop.inbox import LEASE_S, Filter, Item, Stats, View
from core.loop.review import (
    JUDGING,
    Draft,
    Review,
    State,
    Step,
    Verdict,
    after,
    agreement,
    befores,
    checked,
    clean_tags,
    looks_twice,
)
from storage.audit import Now, recorded
from storage.engine import in_our_words
from storage.finding import read_item
from storage.tables import review, review_item, review_tag, salt, saved_view, second_review

_NOT_CLAIMED = "You have not claimed this item, or the claim ran out and somebody else has it."


class SqlReviews:
    """Reviews of `core.loop.inbox`. Raises StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, now: Now = time.time) -> None:
        self._engine = engine
        self._now = now

    async def judge(self, turn_id: str, reviewer: str, draft: Draft, row_version: int | None = None) -> Review:
        """See `Reviews.judge`."""
        fit = checked(draft)
        async with recorded(self._engine, self._now) as change:
            item = await read_item(change.connection, turn_id)
            blind = await _close_second(change.connection, item, reviewer)
            if not blind:
                await _close_first(change.connection, item, reviewer, fit.verdict, row_version)
            made = Review(uuid.uuid4().hex, item.turn_id, reviewer, self._now(), fit, blind)
            await change.connection.execute(insert(review).values(_values(made, item.number)))
            if not blind and fit.verdict in JUDGING:
                await _ask_for_second(change.connection, item, reviewer)
            details: dict[str, str | int | bool] = {"verdict": fit.verdict.value, "blind": blind}
            await change.note(Note(reviewer, "review.judged", f"item:{item.number}", details))
        return made

    async def undo(self, reviewer: str, lease_s: float = LEASE_S) -> Review:
        """See `Reviews.undo`."""
        mine = and_(review.c.reviewer == reviewer, ~review.c.undone)
        last = select(review).where(mine).order_by(review.c.at.desc(), review.c.id).limit(1)
        async with recorded(self._engine, self._now) as change:
            row = (await change.connection.execute(last)).first()
            if row is None:
                raise NoSuchItem("You have given no verdict that could be taken back.")
            undone = update(review).where(review.c.id == row.id, ~review.c.undone).values(undone=True)
            await change.connection.execute(undone)
            await _open_again(change.connection, row, reviewer, self._now() + lease_s)
            await change.note(Note(reviewer, "review.undone", f"item:{row.number}", {"verdict": row.verdict}))
        return _review(row, undone=True)

    async def of_item(self, turn_id: str, reader: str) -> Sequence[Review]:
        """See `Reviews.of_item`."""
        verdicts = select(review).where(review.c.turn_id == turn_id).order_by(review.c.at, review.c.id)
        waits = select(second_review.c.number).join(review_item, review_item.c.number == second_review.c.number)
        blind = waits.where(review_item.c.turn_id == turn_id, ~second_review.c.done)
        with in_our_words():
            async with self._engine.connect() as connection:
                hidden = await connection.scalar(blind) is not None
                found = [_review(row) for row in await connection.execute(verdicts)]
        return [each for each in found if not hidden or each.reviewer == reader]

    async def tag(self, turn_id: str, actor: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Sequence[str]:
        """See `Reviews.tag`."""
        async with recorded(self._engine, self._now) as change:
            item = await read_item(change.connection, turn_id)
            kept = clean_tags([*({*item.tags} - {*clean_tags(remove)}), *add])
            here = review_tag.c.number == item.number
            await change.connection.execute(delete(review_tag).where(here, review_tag.c.tag.not_in(kept)))
            new = [{"tag": tag, "number": item.number} for tag in kept if tag not in item.tags]
            if new:
                await change.connection.execute(insert(review_tag), new)
            if kept != item.tags:
                await change.note(Note(actor, "review.tagged", f"item:{item.number}", {"tags": len(kept)}))
        return kept

    async def save_view(self, view: View) -> None:
        """See `Reviews.save_view`."""
        kept = {"filter": view.filter.as_dict(), "by_weight": view.by_weight}
        async with recorded(self._engine, self._now) as change:
            dialect = sqlite if change.connection.dialect.name == "sqlite" else postgresql
            new = dialect.insert(saved_view).values(owner=view.owner, name=view.name, **kept)
            keys = [saved_view.c.owner, saved_view.c.name]
            await change.connection.execute(new.on_conflict_do_update(index_elements=keys, set_=kept))
            await change.note(Note(view.owner, "view.saved", "view"))

    async def views(self, owner: str) -> Sequence[View]:
        """See `Reviews.views`."""
        query = select(saved_view).where(saved_view.c.owner == owner).order_by(saved_view.c.name)
        with in_our_words():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(query)).all()
        return [View(row.owner, row.name, Filter.of(row.filter), row.by_weight) for row in rows]

    async def drop_view(self, owner: str, name: str) -> bool:
        """See `Reviews.drop_view`."""
        here = and_(saved_view.c.owner == owner, saved_view.c.name == name)
        async with recorded(self._engine, self._now) as change:
            dropped = (await change.connection.execute(delete(saved_view).where(here))).rowcount > 0
            if dropped:
                await change.note(Note(owner, "view.dropped", "view"))
        return dropped

    async def stats(self) -> Stats:
        """See `Reviews.stats`."""
        by_state = select(review_item.c.state, func.count()).group_by(review_item.c.state)
        spent = select(review.c.reviewer, func.count(), func.sum(review.c.ms_spent)).where(~review.c.undone)
        open_seconds = select(func.count()).select_from(second_review).where(~second_review.c.done)
        with in_our_words():
            async with self._engine.connect() as connection:
                states = {State(state): count for state, count in await connection.execute(by_state)}
                people = await connection.execute(spent.group_by(review.c.reviewer).order_by(review.c.reviewer))
                by_reviewer = {reviewer: (count, int(ms)) for reviewer, count, ms in people}
                waiting = await connection.scalar(open_seconds) or 0
                pairs = await connection.execute(_PAIRS)
                found = agreement([(Verdict(first), Verdict(second)) for first, second in pairs])
        return Stats(states, by_reviewer, waiting, found)


_first, _second = review.alias("first"), review.alias("second")
_PAIRS = (
    select(_first.c.verdict, _second.c.verdict)
    .join(_second, _first.c.number == _second.c.number)
    .where(~_first.c.blind, ~_first.c.undone, _second.c.blind, ~_second.c.undone)
)


# ── giving a verdict ────────────────────────────────────────────────────────────────────────────────────────────────


async def _close_second(connection: AsyncConnection, item: Item, reviewer: str) -> bool:
    """Whether `reviewer` held the second review, which is done now."""
    mine = and_(second_review.c.number == item.number, second_review.c.claimed_by == reviewer, ~second_review.c.done)
    done = await connection.execute(update(second_review).where(mine).values(done=True, claimed_by="", lease_until=0.0))
    return done.rowcount > 0


async def _close_first(
    connection: AsyncConnection, item: Item, reviewer: str, verdict: Verdict, row_version: int | None
) -> None:
    if item.state is not State.CLAIMED or item.claimed_by != reviewer:
        raise NotYours(_NOT_CLAIMED)
    if row_version is not None and row_version != item.row_version:
        raise ChangedMeanwhile("This item has changed since you opened it. Look at it again.")
    closed = {"state": after(item.state, verdict).value, "weight": 0, "claimed_by": "", "lease_until": 0.0}
    if not await _step(connection, item.number, item.row_version, closed):
        raise NotYours(_NOT_CLAIMED)


async def _step(connection: AsyncConnection, number: int, row_version: int, values: Mapping[str, Any]) -> bool:
    """Changes an item that is still as it was read."""
    as_read = and_(review_item.c.number == number, review_item.c.row_version == row_version)
    changed = update(review_item).where(as_read).values(**values, row_version=row_version + 1)
    return (await connection.execute(changed)).rowcount > 0


async def _ask_for_second(connection: AsyncConnection, item: Item, reviewer: str) -> None:
    value = await connection.scalar(select(salt.c.value).where(salt.c.name == "second_review"))
    if not looks_twice(bytes.fromhex(str(value)), item.turn_id):
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    asked = {"number": item.number, "first_reviewer": reviewer, "claimed_by": "", "lease_until": 0.0, "done": False}
    await connection.execute(dialect.insert(second_review).values(asked).on_conflict_do_nothing())


async def _open_again(connection: AsyncConnection, row: Row[Any], reviewer: str, lease_until: float) -> None:
    """Gives the item of an undone verdict back to its reviewer. Raises NotAllowed when it has gone on since."""
    mine = {"claimed_by": reviewer, "lease_until": lease_until}
    if row.blind:
        await connection.execute(
            update(second_review).where(second_review.c.number == row.number).values(**mine, done=False)
        )
        return
    item = await read_item(connection, row.turn_id)
    if item.state not in befores(Step.UNDO) or item.state.value not in (row.verdict, State.ELIGIBLE.value):
        raise NotAllowed("This item has gone on since your verdict; it cannot be taken back.")
    again = {**mine, "state": after(item.state, Step.UNDO).value, "weight": item.sign}
    if not await _step(connection, item.number, item.row_version, again):
        raise NotAllowed("Somebody else works on this item.")
    unseen = and_(second_review.c.number == row.number, ~second_review.c.done)
    await connection.execute(delete(second_review).where(unseen))


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_DRAFT = ("answer", "question", "note", "ms_spent")


def _values(made: Review, number: int) -> dict[str, Any]:
    said = {name: getattr(made.draft, name) for name in _DRAFT}
    whole = {"id": made.id, "number": number, "turn_id": made.turn_id, "reviewer": made.reviewer, "at": made.at}
    return {**whole, **said, "verdict": made.draft.verdict.value, "blind": made.blind, "undone": made.undone}


def _review(row: Row[Any], *, undone: bool | None = None) -> Review:
    draft = Draft(Verdict(row.verdict), row.answer, row.question, row.note, row.ms_spent)
    taken_back = row.undone if undone is None else undone
    return Review(row.id, row.turn_id, row.reviewer, row.at, draft, row.blind, taken_back)
