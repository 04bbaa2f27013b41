"""Brings a database to the tables of this version; safe when several processes start at once."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from core.chat.errors import StoreUnavailable
from storage.engine import WRITES, in_our_words, open_engine

# Any number that no other program on the same server uses: "parley" in ASCII.
_LOCK = 0x7061726C6579


async def migrate(database_url: str, to: str = "head") -> None:
    """Creates or updates the tables, up to the revision `to`, in one transaction: all or nothing.

    Raises:
        StoreUnavailable: the database cannot be used, or was made by a newer Parley.
    """
    engine = open_engine(database_url)
    try:
        with as_file(files("storage").joinpath("migrations")) as scripts, in_our_words():
            async with engine.execution_options(**WRITES).begin() as connection:
                await connection.run_sync(_upgrade, scripts, to)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, scripts: Path, to: str) -> None:
    if connection.dialect.name == "postgresql":
        # Whoever comes second waits here, and then finds nothing left to do. SQLite waits at BEGIN IMMEDIATE.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise StoreUnavailable(
            f"The database does not fit this version of Parley ({error}): install the version that made it, or newer."
        ) from error
