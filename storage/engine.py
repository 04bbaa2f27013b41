"""The database behind the ledger: how a URL becomes an engine, and how its errors read in core's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from core.chat.errors import BadEntry, StoreUnavailable

_SQLITE = {"sqlite", "sqlite+aiosqlite"}
_POSTGRES = {"postgres", "postgresql", "postgresql+psycopg"}
_CONNECT_S = 5

# Marks an engine whose transactions write: SQLite then takes its lock at once, where it waits for it properly.
WRITES = {"parley_writes": True}


class LedgerRefused(BadEntry):
    """The database refuses the data itself: the same rows again would be refused again."""


def open_engine(url: str) -> AsyncEngine:
    """An engine for `url`: sqlite:///path or postgresql://user:password@host/name; connects at its first use.

    Raises:
        StoreUnavailable: `url` cannot be read, or names another kind of database.
    """
    parsed = _parse(url)
    if parsed.drivername in _SQLITE:
        engine = create_async_engine(parsed.set(drivername="sqlite+aiosqlite"))
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    return create_async_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_S},
    )


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turns what SQLAlchemy raises into StoreUnavailable, and a refusal of the data itself into LedgerRefused."""
    try:
        yield
    except (SQLAlchemyError, OverflowError, UnicodeError) as error:
        raise _translated(error) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The URL may hold a password: it is not repeated.
        raise StoreUnavailable("DATABASE_URL cannot be read; expected sqlite:///path or postgresql://...") from error
    if parsed.drivername not in _SQLITE | _POSTGRES:
        raise StoreUnavailable(
            f"DATABASE_URL names {parsed.drivername!r}; Parley writes to sqlite:///path or postgresql://..."
        )
    return parsed


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    cursor = connection.cursor()
    # The wait comes first: changing to WAL needs the lock as well. NORMAL under WAL may lose the last commit when the
    # power fails, and then the log stream still has it. What is erased is overwritten, not only unlinked.
    for pragma in (
        "busy_timeout = 5000",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("parley_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _translated(error: Exception) -> Exception:
    if not isinstance(error, SQLAlchemyError):
        return LedgerRefused(f"The database cannot hold this ({error}).")
    cause = getattr(error, "orig", None) or error
    reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    # 22 data, 23 integrity, 54 limits: a key too long for its index.
    about_data = str(getattr(cause, "sqlstate", None) or "")[:2] in {"22", "23", "54"}
    if about_data or isinstance(error, DataError | IntegrityError):
        return LedgerRefused(f"The database refuses the data ({reason}).")
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return LedgerRefused(f"The database cannot hold this ({reason}).")
    if "no such table" in reason or "does not exist" in reason:
        return StoreUnavailable(f"The database has no tables of ours ({reason}): start `parley up`, which makes them.")
    return StoreUnavailable(f"The database cannot be used ({reason}): check DATABASE_URL, the server and its disk.")
