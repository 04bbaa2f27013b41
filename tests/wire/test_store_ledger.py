"""What every ledger does: in memory, on SQLite and on PostgreSQL; and what only SQL can get wrong."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.chat.errors import BadEntry, StoreUnavailable
from core.chat.interaction import PromptMessage
from core.chat.message import Conversation, Outcome, Person
from core.chat.ports import Ledger
from storage.checks import check_database
from storage.engine import LedgerRefused, open_engine
from storage.ledger import SqlLedger
from storage.migrate import migrate
from storage.tables import erasure, interaction_speaker, metadata
from tests.support.memory_store import MemoryLedger
from tests.support.store_cases import NOON, OTHER, THREAD, interaction, message

DATABASES = ["sqlite", "postgres"]
VERSIONS = Path(__file__).resolve().parents[2] / "storage" / "migrations" / "versions"
NEWEST = max(path.name[1:5] for path in VERSIONS.glob("v*.py"))


@pytest.fixture(params=DATABASES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[AsyncEngine]:
    url = request.getfixturevalue(f"{request.param}_url")
    await migrate(url)
    opened = open_engine(url)
    yield opened
    await opened.dispose()


@pytest.fixture(params=["memory", *DATABASES])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    url = request.getfixturevalue(f"{request.param}_url")
    await migrate(url)
    opened = SqlLedger(open_engine(url))
    yield opened
    await opened.aclose()


async def test_interaction_is_found_as_it_was_recorded(ledger: Ledger) -> None:
    plain = interaction(message("1"))
    silent = interaction(message("2"), first_token_ms=None, finish_reason="", error="The model is loading.")

    await ledger.record([plain, silent])

    assert await ledger.find(plain.turn_id) == plain
    assert await ledger.find(silent.turn_id) == silent
    assert await ledger.find(THREAD.message_id("3")) is None


async def test_same_turn_again_changes_nothing(ledger: Ledger) -> None:
    first = interaction(message("1"))
    await ledger.record([first])

    await ledger.record([replace(first, answer="another"), first, interaction(message("2"))])
    await ledger.record([])

    assert await ledger.find(first.turn_id) == first
    assert len(await ledger.of_conversation(THREAD, 10)) == 2


async def test_row_of_a_deleted_message_holds_no_text_and_goes_with_its_person(ledger: Ledger) -> None:
    blank = interaction(message("1"), outcome=Outcome.WITHDRAWN, question="", answer="", messages=())

    await ledger.record([blank])

    assert await ledger.find(blank.turn_id) == blank
    assert await ledger.erase_person("slack", "T1", "U1") == 1
    assert await ledger.find(blank.turn_id) is None


async def test_conversation_is_read_newest_first_and_alone(ledger: Ledger) -> None:
    rows = [interaction(message(str(n)), sent_at=NOON + n) for n in range(5)]
    await ledger.record([*rows, interaction(message("9", OTHER))])

    found = await ledger.of_conversation(THREAD, 3)

    assert found == [rows[4], rows[3], rows[2]]


async def test_erased_person_is_gone_and_blanked_in_the_prompts_of_others(ledger: Ledger) -> None:
    words = PromptMessage("user", "ada: my number is 5550100", "U1")
    own = interaction(message("1"))
    of_grace = replace(message("2"), person=Person("U2", "grace"))
    other = interaction(
        of_grace, messages=(PromptMessage("system", "Be brief."), words, PromptMessage("user", "?", "U2"))
    )
    elsewhere = interaction(message("1", Conversation("slack", "T2", "C1")))
    await ledger.record([own, other, elsewhere])

    touched = await ledger.erase_person("slack", "T1", "U1")

    kept = await ledger.find(other.turn_id)
    assert touched == 2
    assert await ledger.find(own.turn_id) is None
    blank = PromptMessage("user", "[erased]")
    assert kept == replace(other, messages=(other.messages[0], blank, other.messages[2]))
    assert await ledger.find(elsewhere.turn_id) == elsewhere
    assert await ledger.erase_person("slack", "T1", "U1") == 0


async def test_erasing_nobody_leaves_the_words_of_the_bot(ledger: Ledger) -> None:
    row = interaction(message("1"))
    await ledger.record([row])

    assert await ledger.erase_person("slack", "T1", "") == 0
    assert await ledger.find(row.turn_id) == row


async def test_texts_no_database_can_hold_are_made_fit(engine: AsyncEngine) -> None:
    ledger = SqlLedger(engine)
    odd = interaction(
        message("1"), question="a\x00b", answer="half \ud83d 🎈", messages=(PromptMessage("user", "\x00\udc00", "U1"),)
    )

    await ledger.record([odd])

    found = await ledger.find(odd.turn_id)
    assert found is not None
    assert (found.question, found.answer, found.messages[0].content) == ("ab", "half � 🎈", "�")


async def test_row_the_database_refuses_takes_none_with_it_into_the_ledger(engine: AsyncEngine) -> None:
    ledger = SqlLedger(engine)
    good = interaction(message("1"))
    bad = interaction(message("2"), sampling=replace(good.sampling, seed=2**70))

    with pytest.raises(LedgerRefused) as refused:
        await ledger.record([good, bad])

    assert isinstance(refused.value, BadEntry)
    assert await ledger.find(good.turn_id) is None


async def test_erasure_is_noted_without_the_name(engine: AsyncEngine) -> None:
    ledger = SqlLedger(engine)
    await ledger.record([interaction(message("1"))])

    await ledger.erase_person("slack", "T1", "U1")

    async with engine.connect() as connection:
        [noted] = (await connection.execute(select(erasure))).all()
        speakers = (await connection.execute(select(interaction_speaker))).all()
    assert noted.person_sha256 == hashlib.sha256(b"U1").hexdigest()
    assert (noted.platform, noted.workspace, noted.rows) == ("slack", "T1", 1)
    assert speakers == []


async def test_batch_of_many_rows_is_written_by_two_writers_at_once(engine: AsyncEngine) -> None:
    rows = [interaction(message(str(n)), sent_at=NOON + n) for n in range(200)]
    writers = [SqlLedger(engine), SqlLedger(engine)]

    await asyncio.gather(writers[0].record(rows), writers[1].record(rows[::-1]))

    assert len(await writers[0].of_conversation(THREAD, 1000)) == 200


async def test_migrations_make_the_tables_that_the_code_knows(engine: AsyncEngine) -> None:
    def ours(name: str | None, kind: str, _: Any) -> bool:
        return kind != "table" or not str(name).startswith("search")  # each database makes others: storage/search.py

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"include_name": ours})
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_time_is_indexed_by_block_ranges_on_postgres(postgres_url: str) -> None:
    await migrate(postgres_url)
    engine = open_engine(postgres_url)

    async with engine.connect() as connection:
        query = text("SELECT indexdef FROM pg_indexes WHERE indexname = 'interaction_sent_at'")
        definition = await connection.scalar(query)

    await engine.dispose()
    assert "USING brin" in str(definition)


@pytest.mark.parametrize("database", DATABASES)
async def test_processes_that_migrate_at_once_all_succeed(database: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{database}_url")
    program = "import asyncio, sys; from storage.migrate import migrate; asyncio.run(migrate(sys.argv[1]))"

    started = [
        await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", program, url) for _ in range(4)
    ]
    codes = [await process.wait() for process in started]

    assert codes == [0, 0, 0, 0]
    engine = open_engine(url)
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    await engine.dispose()
    assert {name for name in tables if not name.startswith("search")} == {*metadata.tables, "alembic_version"}


@pytest.mark.parametrize("database", DATABASES)
async def test_database_of_a_newer_version_is_refused(database: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{database}_url")
    await migrate(url)
    engine = open_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()

    with pytest.raises(StoreUnavailable, match="install the version that made it"):
        await migrate(url)


async def connection_threads_ended() -> None:
    """aiosqlite's thread outlives a connect that failed by a moment, and still wants the test's event loop then."""
    async with asyncio.timeout(5.0):
        while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", "check DATABASE_URL"),
        ("sqlite:////nowhere/at/all/parley.db", "check DATABASE_URL"),
        ("mysql://u:secret@127.0.0.1/x", "names 'mysql'"),
        ("not a url", "cannot be read"),
    ],
)
async def test_unusable_database_is_named_with_a_remedy(url: str, expected: str) -> None:
    with pytest.raises(StoreUnavailable, match=expected) as raised:
        await SqlLedger(open_engine(url)).find("slack:T1:C1:1")

    assert "secret" not in str(raised.value)
    await connection_threads_ended()


async def test_database_without_tables_says_how_to_make_them(sqlite_url: str) -> None:
    ledger = SqlLedger(open_engine(sqlite_url))

    with pytest.raises(StoreUnavailable, match="parley up"):
        await ledger.record([interaction(message("1"))])

    await ledger.aclose()


@pytest.mark.parametrize("database", DATABASES)
async def test_check_tells_the_database_and_whether_it_has_tables(
    database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{database}_url")

    before = await check_database(url)
    await migrate(url)
    after = await check_database(url)

    assert before[0].value.lower().startswith(database[:6])
    assert "parley up" in before[1].remedy
    assert (after[1].value, after[1].remedy) == (NEWEST, "")


async def test_postgres_url_of_every_spelling_is_taken(postgres_url: str) -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        await migrate(postgres_url.replace("postgresql", scheme, 1))

    assert (await check_database(postgres_url))[1].value == NEWEST
