"""The audit trail in SQL: appends one after another, whoever appends, and the walk along all of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Row, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.loop.audit import EMPTY, Entry, Head, Note, Verdict, Walk, link
from core.loop.ports import Wanted
from storage.engine import WRITES, in_our_words
from storage.tables import audit_event

# "audit" in ASCII, see storage.migrate.
_LOCK = 0x6175646974
_STEP = 1000
Now = Callable[[], float]


class Recorded:
    """A transaction that holds the end of the chain: what it changes and what it notes are kept together."""

    def __init__(self, connection: AsyncConnection, now: Now) -> None:
        self.connection = connection
        self._now = now

    async def note(self, note: Note) -> Entry:
        """Appends `note`."""
        entry = link(await _head(self.connection), note, int(self._now() * 1000))
        await self.connection.execute(insert(audit_event).values(_values(entry)))
        return entry


@asynccontextmanager
async def recorded(engine: AsyncEngine, now: Now = time.time) -> AsyncIterator[Recorded]:
    """A transaction for a change and its note. All such transactions run one after another, in every process.

    The chain is held before anything else, so that no two of them wait for each other's rows. Raises StoreUnavailable.
    """
    with in_our_words():
        async with engine.execution_options(**WRITES).begin() as connection:
            if connection.dialect.name == "postgresql":  # SQLite waits at BEGIN IMMEDIATE
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield Recorded(connection, now)


class SqlTrail:
    """Trail of `core.loop.ports`. Raises StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, now: Now = time.time) -> None:
        self._engine = engine
        self._now = now

    async def append(self, note: Note) -> Entry:
        """See `Trail.append`."""
        async with recorded(self._engine, self._now) as change:
            return await change.note(note)

    async def page(self, wanted: Wanted, limit: int) -> Sequence[Entry]:
        """See `Trail.page`."""
        query = select(audit_event).order_by(audit_event.c.seq.desc()).limit(limit)
        for name in ("actor", "action", "subject"):
            if value := getattr(wanted, name):
                query = query.where(audit_event.c[name] == value)
        if wanted.before is not None:
            query = query.where(audit_event.c.seq < wanted.before)
        with in_our_words():
            async with self._engine.connect() as connection:
                return [_entry(row) for row in await connection.execute(query)]

    async def actions(self) -> Sequence[str]:
        """See `Trail.actions`."""
        found = []
        with in_our_words():
            async with self._engine.connect() as connection:
                # From one action to the next along the index: as many steps as there are actions, not entries.
                action = await connection.scalar(_next_action(""))
                while action is not None:
                    found.append(str(action))
                    action = await connection.scalar(_next_action(str(action)))
        return found

    async def verify(self, expected: Head | None = None) -> Verdict:
        """See `Trail.verify`."""
        walk = Walk(expected)
        while entries := await self._after(walk.head.seq):
            for entry in entries:
                if broken := walk.step(entry):
                    return Verdict(walk.head, broken)
        return Verdict(walk.head, walk.end())

    async def _after(self, seq: int) -> list[Entry]:
        query = select(audit_event).where(audit_event.c.seq > seq).order_by(audit_event.c.seq).limit(_STEP)
        with in_our_words():
            async with self._engine.connect() as connection:
                return [_entry(row) for row in await connection.execute(query)]


def _next_action(after: str) -> Any:
    column = audit_event.c.action
    return select(column).where(column > after).order_by(column).limit(1)


async def _head(connection: AsyncConnection) -> Head:
    query = select(audit_event.c.seq, audit_event.c.hash).order_by(audit_event.c.seq.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return Head(row.seq, row.hash) if row else EMPTY


def _values(entry: Entry) -> dict[str, Any]:
    return {column.name: getattr(entry, column.name) for column in audit_event.c}


def _entry(row: Row[Any]) -> Entry:
    return Entry(**row._mapping)  # noqa: SLF001  # SQLAlchemy's public name for it
