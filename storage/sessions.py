"""Sessions and API tokens in SQL, and the counts of tries at a password."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, Table, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.loop.audit import Note
from core.loop.errors import NotFound
from core.loop.people import Account, Role, Session, Token
from core.loop.throttling import FORGOTTEN_S, Count, Slowness, wait_s
from storage.accounts import account_of, with_issuer
from storage.audit import Now, recorded
from storage.engine import WRITES, in_our_words
from storage.tables import account, api_token, console_session, login_throttle

# Writing down each request would make every page a write; a minute is near enough for a list.
_SEEN_EVERY_S = 60.0
_KNOWN_BROWSER_S = 180 * 24 * 3600.0
_KNOWN = "known:"
# "throttle" in ASCII, shortened: see storage.migrate.
_LOCK = 0x7468726F74


class SqlSessions:
    """Sessions of `core.loop.ports`. Raises StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, now: Now = time.time) -> None:
        self._engine = engine
        self._now = now

    async def begin(self, session: Session, token_hash: str, way: str, replaces_hash: str) -> None:
        """See `Sessions.begin`."""
        over = console_session.c.expires_at < session.created_at
        async with recorded(self._engine, self._now) as change:
            await change.connection.execute(
                delete(console_session).where(over | (console_session.c.token_hash == replaces_hash))
            )
            await change.connection.execute(insert(console_session).values(**asdict(session), token_hash=token_hash))
            subject = f"account:{session.account_id}"
            await change.note(Note(session.account_id, "session.begun", subject, {"session": session.id, "way": way}))

    async def find(self, token_hash: str, now: float, idle_s: float) -> tuple[Session, Account] | None:
        """See `Sessions.find`."""
        here = (console_session.c.token_hash == token_hash) & _alive(now, idle_s)
        found = await _owned(self._engine, console_session, here)
        return (session_of(found[0]), found[1]) if found else None

    async def seen(self, session_id: str, now: float) -> None:
        """See `Sessions.seen`."""
        here = (console_session.c.id == session_id) & (console_session.c.seen_at < now - _SEEN_EVERY_S)
        await _write(self._engine, update(console_session).where(here).values(seen_at=now))

    async def list(self, account_id: str, now: float, idle_s: float) -> Sequence[Session]:
        """See `Sessions.list`."""
        own = (console_session.c.account_id == account_id) & _alive(now, idle_s)
        query = select(console_session).where(own).order_by(console_session.c.created_at.desc())
        return [session_of(row) for row in await _read(self._engine, query)]

    async def end(self, session_id: str, account_id: str, actor: str) -> None:
        """See `Sessions.end`."""
        note = Note(actor, "session.ended", f"account:{account_id}", {"session": session_id})
        await _remove(self._engine, self._now, console_session, session_id, account_id, note)

    async def end_others(self, account_id: str, keep_session: str, actor: str) -> int:
        """See `Sessions.end_others`."""
        others = (console_session.c.account_id == account_id) & (console_session.c.id != keep_session)
        async with recorded(self._engine, self._now) as change:
            gone = (await change.connection.execute(delete(console_session).where(others))).rowcount
            if gone:
                await change.note(Note(actor, "session.ended_all", f"account:{account_id}", {"count": gone}))
        return gone


class SqlTokens:
    """Tokens of `core.loop.ports`. Raises StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, now: Now = time.time) -> None:
        self._engine = engine
        self._now = now

    async def add(self, token: Token, token_hash: str, actor: str) -> None:
        """See `Tokens.add`."""
        details = {"token": token.id, "role": token.role.value}
        async with recorded(self._engine, self._now) as change:
            await change.connection.execute(delete(api_token).where(api_token.c.expires_at < token.created_at))
            values = {**asdict(token), "role": token.role.value, "token_hash": token_hash}
            await change.connection.execute(insert(api_token).values(values))
            await change.note(Note(actor, "token.made", f"account:{token.account_id}", details))

    async def find(self, token_hash: str, now: float) -> tuple[Token, Account] | None:
        """See `Tokens.find`."""
        here = (api_token.c.token_hash == token_hash) & (api_token.c.expires_at > now)
        found = await _owned(self._engine, api_token, here)
        if found is None:
            return None
        token, owner = token_of(found[0]), found[1]
        if now - (token.used_at or 0.0) > _SEEN_EVERY_S:
            await _write(self._engine, update(api_token).where(api_token.c.id == token.id).values(used_at=now))
        return token, owner

    async def list(self, account_id: str, now: float) -> Sequence[Token]:
        """See `Tokens.list`."""
        own = (api_token.c.account_id == account_id) & (api_token.c.expires_at > now)
        query = select(api_token).where(own).order_by(api_token.c.created_at.desc())
        return [token_of(row) for row in await _read(self._engine, query)]

    async def revoke(self, token_id: str, account_id: str, actor: str) -> None:
        """See `Tokens.revoke`."""
        note = Note(actor, "token.revoked", f"account:{account_id}", {"token": token_id})
        await _remove(self._engine, self._now, api_token, token_id, account_id, note)


class SqlThrottle:
    """Throttle of `core.loop.throttling`. Raises StoreUnavailable."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, names: Mapping[str, Slowness], now: float) -> float:
        """See `Throttle.begin`."""
        with in_our_words():
            async with self._engine.execution_options(**WRITES).begin() as connection:
                await _hold(connection)
                await connection.execute(delete(login_throttle).where(_forgotten(now)))
                counts = await _counts(connection, names)
                wait = max(wait_s(counts[name], slowness, now) for name, slowness in names.items())
                if wait == 0.0:
                    rows = [{"name": name, "failures": counts[name].failures + 1, "last_at": now} for name in names]
                    await connection.execute(delete(login_throttle).where(login_throttle.c.name.in_(list(names))))
                    await connection.execute(insert(login_throttle), rows)
                return wait

    async def right(self, own: Collection[str], shared: Collection[str]) -> None:
        """See `Throttle.right`."""
        c = login_throttle.c
        with in_our_words():
            async with self._engine.execution_options(**WRITES).begin() as connection:
                await _hold(connection)
                await connection.execute(delete(login_throttle).where(c.name.in_(list(own))))
                here = c.name.in_(list(shared)) & (c.failures > 0)
                await connection.execute(update(login_throttle).where(here).values(failures=c.failures - 1))

    async def knows_browser(self, name: str) -> bool:
        """See `Throttle.knows_browser`."""
        query = select(login_throttle.c.name).where(login_throttle.c.name == _KNOWN + name)
        return bool(await _read(self._engine, query))

    async def remember_browser(self, name: str, now: float) -> None:
        """See `Throttle.remember_browser`."""
        with in_our_words():
            async with self._engine.execution_options(**WRITES).begin() as connection:
                await _hold(connection)
                await connection.execute(delete(login_throttle).where(login_throttle.c.name == _KNOWN + name))
                await connection.execute(insert(login_throttle).values(name=_KNOWN + name, failures=0, last_at=now))


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def session_of(row: Row[Any]) -> Session:
    """The session in a row of its table."""
    return Session(row.id, row.account_id, row.created_at, row.seen_at, row.expires_at, row.address, row.agent)


def token_of(row: Row[Any]) -> Token:
    """The token in a row of its table."""
    role = Role(row.role)
    return Token(row.id, row.account_id, row.name, role, row.created_at, row.used_at, row.expires_at)


def _alive(now: float, idle_s: float) -> Any:
    return (console_session.c.expires_at > now) & (console_session.c.seen_at > now - idle_s)


async def _owned(engine: AsyncEngine, table: Table, here: Any) -> tuple[Row[Any], Account] | None:
    """The row `here` with its account, where that is active."""
    with in_our_words():
        async with engine.connect() as connection:
            row = (await connection.execute(select(table).where(here))).first()
            if row is None:
                return None
            owner = (
                await connection.execute(with_issuer().where(account.c.id == row.account_id, account.c.active))
            ).first()
    return (row, account_of(owner)) if owner else None


async def _remove(engine: AsyncEngine, now: Now, table: Table, row_id: str, account_id: str, note: Note) -> None:
    own = (table.c.id == row_id) & (table.c.account_id == account_id)
    async with recorded(engine, now) as change:
        if not (await change.connection.execute(delete(table).where(own))).rowcount:
            raise NotFound("That is not there, or not any more.")
        await change.note(note)


async def _read(engine: AsyncEngine, query: Any) -> Sequence[Row[Any]]:
    with in_our_words():
        async with engine.connect() as connection:
            return (await connection.execute(query)).all()


async def _write(engine: AsyncEngine, statement: Any) -> None:
    with in_our_words():
        async with engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(statement)


async def _hold(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite waits at BEGIN IMMEDIATE
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


async def _counts(connection: AsyncConnection, names: Mapping[str, Slowness]) -> dict[str, Count]:
    query = select(login_throttle).where(login_throttle.c.name.in_(list(names)))
    found = {row.name: Count(row.failures, row.last_at) for row in await connection.execute(query)}
    return {name: found.get(name, Count(0, 0.0)) for name in names}


def _forgotten(now: float) -> Any:
    known = login_throttle.c.name.startswith(_KNOWN)
    at = login_throttle.c.last_at
    return (known & (at < now - _KNOWN_BROWSER_S)) | (~known & (at < now - FORGOTTEN_S))
