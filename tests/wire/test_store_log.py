"""The way of the log from Redis into SQL while the database is killed or locked, or a writer dies: one row a turn."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from core.chat.codec import load_interaction
from core.chat.logbook import LogWriter
from core.chat.message import Conversation
from core.chat.ports import LogStream
from storage.connections import Client, ask, open_redis
from storage.engine import open_engine
from storage.ledger import SqlLedger
from storage.migrate import migrate
from storage.tables import interaction as table
from tests.support.postgres import PostgresServer
from tests.support.store_cases import Store, answered, claimed, message, redis_store

TURNS = 300


async def talk(store: Store, first: int, count: int = TURNS) -> list[str]:
    """Answers `count` messages, numbered from `first`; the ids of the turns."""
    turns = []
    for number in range(first, first + count):
        asked = message(str(number), Conversation("web", "", f"c{number % 7}"))
        await store.box.accept(asked)
        claim = await claimed(store.box)
        await store.box.commit(claim, answered(asked))
        await store.box.finish(claim)
        turns.append(asked.id)
    return turns


@asynccontextmanager
async def writing(stream: LogStream, ledger: SqlLedger, names: tuple[str, ...] = ("l1", "l2")) -> AsyncIterator[None]:
    """Log writers at work; at the end they empty the stream and stop."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name in names:
            writer = LogWriter(stream, ledger, name, stopping, max_rows=20, wait_s=0.01, retry_s=0.05, drain_s=60.0)
            group.create_task(writer.run())
        yield
        stopping.set()


async def rows_by_turn(url: str) -> Counter[str]:
    engine = open_engine(url)
    async with engine.connect() as connection:
        turns = (await connection.scalars(select(table.c.turn_id))).all()
    await engine.dispose()
    return Counter(turns)


async def until_logged(url: str, count: int) -> None:
    async with asyncio.timeout(60):
        while (await rows_by_turn(url)).total() < count:
            await asyncio.sleep(0.05)


async def test_database_that_is_killed_during_batches_has_one_row_a_turn(redis_url: str) -> None:
    with PostgresServer() as server:
        url = server.fresh_database()
        await migrate(url)
        ledger = SqlLedger(open_engine(url))
        # A batch that a dying database left behind comes back when its lease ends.
        async with redis_store(redis_url, writer_lease_s=1.0) as store:
            turns: list[str] = []
            async with writing(store.log, ledger):
                for first in range(0, 3 * TURNS, TURNS):
                    talking = asyncio.ensure_future(talk(store, first))
                    await until_logged(url, first + TURNS // 3)
                    server.kill()
                    await asyncio.to_thread(server.start)
                    turns += await talking
                await until_logged(url, len(turns))

            left = await store.log.read("l3", 10, 0.0)
        await ledger.aclose()

        assert await rows_by_turn(url) == Counter(turns)
        assert left == []


async def test_database_that_is_locked_for_long_has_one_row_a_turn(redis_url: str, sqlite_url: str) -> None:
    await migrate(sqlite_url)
    ledger = SqlLedger(open_engine(sqlite_url))
    async with redis_store(redis_url, writer_lease_s=1.0) as store:
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            turns = await talk(store, 0)
            async with writing(store.log, ledger):
                with capture_logs() as lines:
                    await until_refused(lines)  # it waits for some seconds by itself before it refuses
                turns += await talk(store, TURNS)
                other.execute("ROLLBACK")
                await until_logged(sqlite_url, len(turns))
    await ledger.aclose()

    assert await rows_by_turn(sqlite_url) == Counter(turns)


async def until_refused(lines: Sequence[MutableMapping[str, Any]]) -> None:
    async with asyncio.timeout(30):
        while not any(line["event"] == "log_waits" and "locked" in line["reason"] for line in lines):
            await asyncio.sleep(0.05)


async def test_writer_that_dies_after_it_wrote_leaves_one_row_a_turn(redis_url: str, sqlite_url: str) -> None:
    await migrate(sqlite_url)
    ledger = SqlLedger(open_engine(sqlite_url))
    async with redis_store(redis_url, writer_lease_s=0.2) as store:
        turns = await talk(store, 0, 30)
        dead = await store.log.read("dead", 20, 1.0)
        await ledger.record([load_interaction(entry.text) for entry in dead])
        async with writing(store.log, ledger, ("alive",)):
            await until_logged(sqlite_url, 30)
        again = await store.log.read("l3", 100, 0.0)
    await ledger.aclose()

    assert len(dead) == 20
    assert await rows_by_turn(sqlite_url) == Counter(turns)
    assert again == []


@pytest.mark.parametrize("max_rows", [2, 4])
async def test_waiting_writer_is_given_no_more_than_it_asked_for(redis_url: str, max_rows: int) -> None:
    client = open_redis(redis_url)
    async with redis_store(redis_url, shards=4) as store, asyncio.timeout(30):
        await store.log.read("l1", 10, 0.0)
        before = await blocked(client)
        reading = asyncio.ensure_future(store.log.read("l1", max_rows, 20.0))
        while await blocked(client) == before:
            await asyncio.sleep(0.01)
        async with client.pipeline(transaction=True) as burst:
            for shard in range(4):
                for _ in range(5):
                    burst.xadd(f"parley:{{s{shard}}}:log", {"interaction": "x"})
            await burst.execute()

        read = await reading
        left = await store.log.read("l1", 100, 0.0)
    await client.aclose()

    assert 0 < len(read) <= max_rows
    assert len(read) + len(left) == 20


async def blocked(client: Client) -> int:
    """How many wait at the server."""
    return int((await ask(client.info("clients")))["blocked_clients"])
