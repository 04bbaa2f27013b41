"""Feedback on its way: from a post to its answer, through the log stream, into the ledger, whatever overtakes what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import select

from core.chat.errors import StoreUnavailable
from core.chat.interaction import PromptMessage
from core.chat.logbook import LogWriter
from core.chat.message import Turn
from core.chat.ports import Commit, Ledger, LogEntry
from core.loop.feedback import Feedback, Reason, Verdict, last_words
from storage.connections import Client, ask, open_redis
from storage.engine import open_engine
from storage.keys import WRITERS, Keys
from storage.ledger import SqlLedger
from storage.migrate import migrate
from storage.streams import create_group, read_new
from storage.tables import feedback
from tests.support.memory_store import MemoryLedger
from tests.support.store_cases import (
    KINDS,
    NOON,
    OTHER,
    THREAD,
    Store,
    answered,
    claimed,
    interaction,
    judged,
    message,
    open_store,
    redis_store,
    shown_in,
    turns,
)

ASKED = message("1")


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with open_store(request) as opened:
        yield opened


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    url = request.getfixturevalue(f"{request.param}_url")
    await migrate(url)
    opened = SqlLedger(open_engine(url))
    yield opened
    await opened.aclose()


async def told(store: Store, *said: Feedback) -> list[LogEntry]:
    """Tells all of `said`, then what a log writer reads."""
    for each in said:
        await store.verdicts.tell(each)
    return [entry for entry in await store.log.read("w1", 100, 3.0) if entry.kind == "feedback"]


# ── from a post to its answer ───────────────────────────────────────────────────────────────────────────────────────


async def test_each_post_of_an_answer_leads_to_it(store: Store) -> None:
    await store.box.accept(ASKED)
    await store.box.commit(await claimed(store.box), answered(ASKED, ("p1", "p2")))

    found = [await store.verdicts.answer_of("slack", post) for post in ("p1", "p2", "p3")]

    assert found == [shown_in(ASKED, ("p1", "p2"))] * 2 + [None]
    assert await store.verdicts.answer_of("discord", "p1") is None
    assert await store.box.conversation_of("slack", "p2") == THREAD


async def test_another_answer_takes_the_place_of_the_first_in_one_step(store: Store) -> None:
    later = message("2")
    for asked in (ASKED, later):
        await store.box.accept(asked)
    claim = await claimed(store.box)
    await store.box.commit(claim, answered(ASKED, ("p1",)))
    await store.box.commit(claim, answered(later))
    again = replace(message("1+again"), kind="again", replaces=ASKED.id, over=("p1",))
    await store.box.accept(again)
    mail = await store.box.head(claim)
    new = Turn("assistant", "otherwise", 3, ASKED.id, NOON, answer_id=again.id)
    shown = replace(shown_in(ASKED, ("p1",)), turn_id=again.id)

    await store.box.commit(claim, Commit(again.id, (new,), posts=("p1",), answered=shown, place=1))

    assert mail is not None
    assert mail.message == again
    assert await store.box.turns(THREAD) == (turns(ASKED)[0], new, *turns(later))
    assert await store.verdicts.answer_of("slack", "p1") == shown


async def test_a_place_that_is_gone_changes_nothing(store: Store) -> None:
    await store.box.accept(ASKED)
    new = Turn("assistant", "otherwise", 3, ASKED.id, NOON)

    await store.box.commit(await claimed(store.box), Commit(ASKED.id, (new,), place=1))

    assert await store.box.turns(THREAD) == ()


async def test_an_answer_that_was_posted_before_the_upgrade_is_still_found_by_its_post(redis_url: str) -> None:
    async with redis_store(redis_url) as store:
        client = open_redis(redis_url)
        await ask(client.set(Keys().post("slack", "old"), str(THREAD)))

        assert await store.box.conversation_of("slack", "old") == THREAD
        assert await store.verdicts.answer_of("slack", "old") is None
        await client.aclose()


# ── on its way ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_feedback_is_read_by_the_log_writer_beside_interactions(store: Store) -> None:
    await store.box.accept(ASKED)
    await store.box.commit(await claimed(store.box), answered(ASKED))
    await store.verdicts.tell(judged(ASKED))

    async with asyncio.timeout(20.0):
        entries: list[LogEntry] = []
        while len(entries) < 2:
            entries += await store.log.read("w1", 10, 0.1)

    assert sorted(entry.kind for entry in entries) == ["feedback", "interaction"]
    await store.log.done([entry.id for entry in entries])
    assert (await store.depth.backlog()).unlogged == 0


async def test_last_words_are_known_at_once_and_per_person(store: Store) -> None:
    other = message("2", OTHER)
    said = [
        judged(ASKED, Verdict.HELPFUL, id="a", at=1.5),
        judged(ASKED, Verdict.NOT_HELPFUL, id="b", at=2.25),
        judged(message("3"), Verdict.HELPFUL, id="c", at=3.0),
        judged(message("3"), Verdict.TAKEN_BACK, id="d", at=4.0),
        judged(ASKED, Verdict.HELPFUL, id="e", person_id="U2"),
        judged(other, Verdict.HELPFUL, id="f"),
    ]

    for each in said:
        await store.verdicts.tell(each)

    assert await store.verdicts.verdicts(THREAD, "U1") == {ASKED.id: Verdict.NOT_HELPFUL}
    assert await store.verdicts.verdicts(THREAD, "U2") == {ASKED.id: Verdict.HELPFUL}
    assert await store.verdicts.verdicts(OTHER, "U1") == {other.id: Verdict.HELPFUL}


async def test_an_earlier_word_that_comes_later_does_not_count_and_is_not_lost(store: Store) -> None:
    late = judged(ASKED, Verdict.HELPFUL, id="a", at=1.0)
    last = judged(ASKED, Verdict.NOT_HELPFUL, id="b", at=2.0)

    entries = await told(store, last, late)

    assert await store.verdicts.verdicts(THREAD, "U1") == {ASKED.id: Verdict.NOT_HELPFUL}
    # A client that runs each script twice may add an entry twice; the ledger knows it by its id.
    assert {entry.text.split('"id":"')[1][0] for entry in entries} == {"a", "b"}


async def test_the_same_click_again_adds_nothing(store: Store) -> None:
    said = judged(ASKED)

    assert len(await told(store, said, said)) == 1


async def test_what_cannot_be_read_is_buried_apart_from_interactions(store: Store) -> None:
    [entry] = await told(store, judged(ASKED))

    await store.log.bury(entry, "unreadable")

    backlog = await store.depth.backlog()
    assert (backlog.unlogged, backlog.dead) == (0, 1)


async def test_a_log_writer_of_the_version_before_leaves_feedback_to_the_new_one(redis_url: str) -> None:
    """It reads the stream `log` alone; a kind of entry that it does not know there it would bury, or break at."""
    async with redis_store(redis_url) as store:
        client = open_redis(redis_url)
        await create_group(client, Keys().of_shard(0, "log"), WRITERS)
        await store.box.accept(ASKED)
        await store.box.commit(await claimed(store.box), answered(ASKED))
        await store.verdicts.tell(judged(ASKED))

        seen_by_old = await _as_before(client)
        seen_by_new = [entry.kind for entry in await store.log.read("new", 10, 3.0)]

        assert [list(fields) for _, fields in seen_by_old] == [["interaction"]]
        assert seen_by_new == ["feedback"]
        await client.aclose()


async def _as_before(client: Client) -> list[tuple[str, dict[str, str]]]:
    """What the version before reads, until nothing is left for it."""
    seen: list[tuple[str, dict[str, str]]] = []
    while found := await read_new(client, Keys().of_shard(0, "log"), WRITERS, "old", 10, 0.0):
        seen += found
    return seen


async def test_feedback_of_a_dead_writer_is_read_by_the_next(redis_url: str) -> None:
    async with redis_store(redis_url, writer_lease_s=0.2) as store:
        assert len(await told(store, judged(ASKED))) == 1

        async with asyncio.timeout(20.0):
            while not (found := await store.log.read("w2", 10, 0.1)):
                pass

        assert [entry.kind for entry in found] == ["feedback"]


async def test_feedback_comes_through_between_answers_without_end(redis_url: str) -> None:
    async with redis_store(redis_url, writer_lease_s=0.2) as store:
        await store.verdicts.tell(judged(ASKED))
        kinds: list[str] = []
        async with asyncio.timeout(20.0):
            for number in range(10_000):
                if "feedback" in kinds:
                    break
                asked = message(str(number))
                await store.box.accept(asked)
                claim = await claimed(store.box)
                await store.box.commit(claim, answered(asked))
                await store.box.finish(claim)
                kinds += [entry.kind for entry in await store.log.read("w1", 1, 0.0)]

        assert "feedback" in kinds


# ── in the ledger ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_feedback_is_found_as_it_was_recorded_and_once(ledger: Ledger) -> None:
    first = judged(ASKED, Verdict.NOT_HELPFUL, id="a", reason=Reason.WRONG, note="no", better="Yes.\n\x00", at=1.0)
    last = judged(ASKED, Verdict.HELPFUL, id="b", at=2.0)

    await ledger.record_feedback([last, first])
    await ledger.record_feedback([first, replace(last, verdict=Verdict.TAKEN_BACK)])

    found = await ledger.feedback_on(ASKED.id)
    assert [each.id for each in found] == ["a", "b"]
    assert (found[0].reason, found[0].note, found[0].better.rstrip("\x00")) == (Reason.WRONG, "no", "Yes.\n")
    assert found[1] == last
    assert last_words(found) == {"U1": last}
    assert await ledger.feedback_on("slack:T1:C1:9") == []


async def test_feedback_without_its_interaction_is_harmless_and_may_come_before_it(ledger: Ledger) -> None:
    await ledger.record_feedback([judged(ASKED), judged(message("never"))])
    await ledger.record([interaction(ASKED)])

    assert await ledger.find(ASKED.id) == interaction(ASKED)
    assert await ledger.find(message("never").id) is None
    assert len(await ledger.of_conversation(THREAD, 10)) == 1
    assert [each.turn_id for each in await ledger.feedback_on(ASKED.id)] == [ASKED.id]


async def test_erasing_a_person_erases_what_they_said_of_answers_and_what_was_said_of_theirs(ledger: Ledger) -> None:
    by_others = replace(message("2"), person=replace(ASKED.person, id="U2"))
    system = PromptMessage("system", "Be brief.")
    await ledger.record([interaction(ASKED), interaction(by_others, messages=(system,))])
    await ledger.record_feedback(
        [
            judged(ASKED, id="own"),
            judged(ASKED, id="of-theirs", person_id="U2"),
            judged(by_others, id="on-others", person_id="U1"),
            judged(by_others, id="stays"),  # U2 of their own
            judged(message("never"), id="no-row", person_id="U1"),
        ]
    )

    await ledger.erase_person("slack", "T1", "U1")

    left = [each.id for turn in ("1", "2", "never") for each in await ledger.feedback_on(message(turn).id)]
    assert left == ["stays"]


async def test_answers_name_the_one_that_they_replace(ledger: Ledger) -> None:
    again = interaction(message("1+7"), replaces=ASKED.id)

    await ledger.record([interaction(ASKED), again])

    assert await ledger.find(again.turn_id) == again


async def test_the_log_writer_records_both_kinds_and_buries_what_it_cannot_read(
    redis_url: str, sqlite_url: str
) -> None:
    await migrate(sqlite_url)
    ledger, stopping = SqlLedger(open_engine(sqlite_url)), asyncio.Event()
    async with redis_store(redis_url) as store:
        client = open_redis(redis_url)
        await store.box.accept(ASKED)
        await store.box.commit(await claimed(store.box), answered(ASKED))
        await store.verdicts.tell(judged(ASKED))
        await store.verdicts.tell(judged(ASKED))
        await ask(client.xadd(Keys().of_shard(0, "feedback"), {"feedback": "{}"}))
        stopping.set()

        await LogWriter(store.log, ledger, "w1", stopping).run()

        backlog = await store.depth.backlog()
        assert (backlog.unlogged, backlog.dead) == (0, 1)
        assert len(await ask(client.xrange(Keys().of_shard(0, "feedback-dead")))) == 1
        await client.aclose()
    assert await ledger.find(ASKED.id) == interaction(ASKED)
    assert await ledger.feedback_on(ASKED.id) == [judged(ASKED)]
    await ledger.aclose()


async def test_a_ledger_that_is_away_raises(sqlite_url: str) -> None:
    ledger = SqlLedger(open_engine(sqlite_url))  # without tables

    with pytest.raises(StoreUnavailable):
        await ledger.record_feedback([judged(ASKED)])
    with pytest.raises(StoreUnavailable):
        await ledger.feedback_on(ASKED.id)
    await ledger.aclose()


async def test_rows_are_keyed_by_the_day_of_the_question(sqlite_url: str) -> None:
    await migrate(sqlite_url)
    engine = open_engine(sqlite_url)
    await SqlLedger(engine).record_feedback([judged(ASKED, at=NOON + 5 * 86_400)])

    async with engine.connect() as connection:
        [(day, turn_id)] = (await connection.execute(select(feedback.c.day, feedback.c.turn_id))).all()
    await engine.dispose()
    assert (day, turn_id) == (interaction(ASKED).day, ASKED.id)
