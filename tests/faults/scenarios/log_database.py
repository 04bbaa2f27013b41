"""Scenarios 11 to 13: what befalls the log's database, while answers go on."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.faults.scenarios.theatre import Report, Size, Theatre, again_and_again, finish, sleep_until, talk
from tests.support.fleet import Fleet
from tests.support.postgres import PostgresServer
from tests.support.running import until


async def database_killed(theatre: Theatre, size: Size) -> Report:
    """11: kill -9 of PostgreSQL again and again, while batches are written: one row a turn."""
    server = theatre.postgres()
    async with theatre.fleet(database=server.fresh_database()) as running:

        async def harm() -> None:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)

        async with again_and_again(size.span_s, harm):
            await talk(running, size)

        return await finish(running)


async def database_down(theatre: Theatre, size: Size) -> Report:
    """12: PostgreSQL is down, and everybody is answered all the same; the log catches up when it is back."""
    server = theatre.postgres()
    async with theatre.fleet(database=server.fresh_database()) as running, _down(server):
        end = time.monotonic() + size.span_s
        while time.monotonic() < end:
            await talk(running, size)
        await _everybody_answered(running)
        await asyncio.to_thread(server.start)

        return await finish(running, timeout_s=120.0)


async def database_locked(theatre: Theatre, size: Size) -> Report:
    """13: somebody holds SQLite's write lock for longer than a writer waits for it."""
    async with theatre.fleet() as running:
        with _locked(running.folder / "log.db"):
            end = time.monotonic() + size.span_s
            await talk(running, size)
            await _everybody_answered(running)
            await sleep_until(end)

        return await finish(running)


@asynccontextmanager
async def _down(server: PostgresServer) -> AsyncIterator[None]:
    await asyncio.to_thread(server.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(server.start)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def _everybody_answered(running: Fleet) -> None:
    """Until each question has an answer before people's eyes, whatever is in the log."""
    await until(lambda: len(running.platform.visible()) >= len(running.asked), 30.0)
    await until(lambda: all(seen.text.endswith("as asked") for seen in running.platform.visible()), 30.0)
