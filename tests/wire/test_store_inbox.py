"""The inbox and its reviews on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.chat.interaction import Interaction
from core.chat.message import Conversation, Outcome
from core.loop.errors import BadReview, ChangedMeanwhile, NoSuchItem, NotAllowed, NotYours
from core.loop.feedback import Feedback, Source
from core.loop.feedback import Verdict as Said
from core.loop.inbox import LONG_CHARS, SLOW_MS, Cursor, Filter, View, number_of
from core.loop.ports import Wanted
from core.loop.review import Draft, Opinion, State, Verdict, Weight, looks_twice, weight_of
from storage.audit import SqlTrail
from storage.engine import open_engine
from storage.finding import find_numbers
from storage.inbox import SqlInbox
from storage.ledger import SqlLedger, row_of, text_row_of
from storage.migrate import migrate
from storage.reviews import SqlReviews
from storage.tables import interaction as logged_table
from storage.tables import interaction_text, review_item, salt
from tests.support.store_cases import NOON, THREAD, interaction, message

EVERYTHING = Filter()
EDIT = Draft(Verdict.EDITED, answer="Thirty days.", note="the rule has changed", ms_spent=900)


def plain_ids(count: int, *, start: int = 0) -> list[str]:
    """Native ids whose answers are in no sample."""
    found: list[str] = []
    number = start
    while len(found) < count:
        if weight_of(message(str(number)).id, Outcome.ANSWERED) is Weight.REST:
            found.append(str(number))
        number += 1
    return found


async def logged(sql: AsyncEngine, count: int, **changes: Any) -> list[Interaction]:
    """So many plain interactions, a second apart, the newest last."""
    rows = [interaction(message(native), sent_at=NOON + n, **changes) for n, native in enumerate(plain_ids(count))]
    await SqlLedger(sql).record(rows)
    return rows


async def say(sql: AsyncEngine, about: Interaction, verdict: Said = Said.NOT_HELPFUL, at: float = NOON) -> None:
    """Somebody's feedback."""
    said = Feedback(
        f"f{at}", about.turn_id, about.conversation, about.sent_at, "U7", verdict, Source.BUTTON, at, better="thirty"
    )
    await SqlLedger(sql).record_feedback([said])


async def ids(sql: AsyncEngine, wanted: Filter = EVERYTHING, *, by_weight: bool = False) -> list[str]:
    """Everything that a filter finds, in pages of two."""
    inbox, found, after = SqlInbox(sql), list[str](), None
    while True:
        page = await inbox.page(wanted, 2, after, by_weight=by_weight)
        found += [item.turn_id for item in page.items]
        if page.following is None:
            return found
        after = Cursor.parse(str(page.following))


# ── pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_interaction_is_an_item_the_newest_first_each_once(sql: AsyncEngine) -> None:
    rows = await logged(sql, 7)
    await SqlLedger(sql).record(rows)

    found = await ids(sql)

    assert found == [row.turn_id for row in reversed(rows)]
    item = await SqlInbox(sql).item(rows[3].turn_id)
    assert (item.question, item.answer, item.person_name) == (rows[3].question, rows[3].answer, rows[3].person_name)
    assert (item.state, item.weight, item.number) == (State.NEW, Weight.REST, number_of(item.turn_id, item.sent_at))


async def test_the_most_instructive_come_first_and_the_newest_of_equals(sql: AsyncEngine) -> None:
    rows = await logged(sql, 5)
    failed = [interaction(message(f"f{n}"), sent_at=NOON - n, outcome=Outcome.FAILED) for n in range(3)]
    withdrawn = interaction(message("w"), outcome=Outcome.WITHDRAWN)
    await SqlLedger(sql).record([*failed, withdrawn])
    inbox = SqlInbox(sql)
    again = interaction(message(plain_ids(1, start=500)[0]), sent_at=NOON + 9, replaces=rows[0].turn_id)
    await SqlLedger(sql).record([again])
    await say(sql, rows[2])
    await say(sql, interaction(message("nowhere")))

    found = await ids(sql, by_weight=True)

    order = [rows[2], rows[0], *failed, again, rows[4], rows[3], rows[1]]
    assert found == [row.turn_id for row in order]
    assert (await inbox.item(rows[2].turn_id)).state is State.QUEUED
    assert withdrawn.turn_id in await ids(sql)


async def test_what_people_say_moves_an_item_while_it_waits(sql: AsyncEngine) -> None:
    rows = await logged(sql, 2)
    inbox = SqlInbox(sql)

    async def stands() -> tuple[Opinion, State, int]:
        item = await inbox.item(rows[0].turn_id)
        return item.opinion, item.state, item.weight

    await say(sql, rows[0], Said.HELPFUL, NOON)
    assert await stands() == (Opinion.HELPFUL, State.NEW, Weight.REST)
    await say(sql, rows[0], Said.NOT_HELPFUL, NOON + 2)
    assert await stands() == (Opinion.NOT_HELPFUL, State.QUEUED, Weight.NOT_HELPFUL)
    await say(sql, rows[0], Said.TAKEN_BACK, NOON + 1)  # an older word that comes late
    assert await ids(sql, Filter(opinion=Opinion.NOT_HELPFUL)) == [rows[0].turn_id]
    await inbox.claim(rows[0].turn_id, "ada")
    await SqlReviews(sql).judge(rows[0].turn_id, "ada", Draft(Verdict.APPROVED))
    await say(sql, rows[0], Said.NOT_HELPFUL, NOON + 3)
    assert await stands() == (Opinion.NOT_HELPFUL, State.APPROVED, 0)


async def test_feedback_that_overtook_its_answer_counts(sql: AsyncEngine) -> None:
    row = interaction(message(plain_ids(1)[0]))
    await say(sql, row)

    await SqlLedger(sql).record([row])

    assert (await SqlInbox(sql).item(row.turn_id)).weight == Weight.NOT_HELPFUL


async def test_two_turns_that_would_have_one_number_are_both_there(sql: AsyncEngine) -> None:
    first = interaction(message("1"))
    other = interaction(message("2"))
    await SqlLedger(sql).record([first])
    async with sql.begin() as connection:
        await connection.execute(review_item.update().values(number=number_of(other.turn_id, other.sent_at)))

    await SqlLedger(sql).record([other])

    assert sorted(await ids(sql)) == sorted([first.turn_id, other.turn_id])


def variants() -> list[Interaction]:
    base = interaction(message("0"))
    elsewhere = Conversation("discord", "G1", "D1")
    return [
        base,
        interaction(message("1", elsewhere), sent_at=NOON + 1),
        interaction(message("2"), sent_at=NOON + 2, model_version="v2"),
        interaction(message("3"), sent_at=NOON + 3, outcome=Outcome.STOPPED),
        interaction(message("4"), sent_at=NOON + 4, total_ms=SLOW_MS),
        interaction(message("5"), sent_at=NOON + 5, answer="x" * LONG_CHARS),
        interaction(message("6"), sent_at=NOON + 6, person_id="U9"),
        interaction(message("7"), sent_at=NOON + 7, question='Where is the KÜCHE? It\'s "open" OR not*'),
    ]


CASES: list[tuple[Filter, set[int]]] = [
    (Filter(platform="discord"), {1}),
    (Filter(workspace="G1"), {1}),
    (Filter(channel="D1"), {1}),
    (Filter(model_version="v2"), {2}),
    (Filter(outcome=Outcome.STOPPED), {3}),
    (Filter(outcome=Outcome.ANSWERED), {0, 1, 2, 4, 5, 6, 7}),
    (Filter(slow=True), {4}),
    (Filter(long=True), {5}),
    (Filter(slow=True, long=True), set()),
    (Filter(person_id="U9"), {6}),
    (Filter(since=NOON + 3, until=NOON + 5), {3, 4}),
    (Filter(platform="slack", model_version="v2", outcome=Outcome.ANSWERED), {2}),
    (Filter(platform="discord", model_version="v2"), set()),
    (Filter(text="küche"), {7}),
    (Filter(text='it\'s "open" OR not*', platform="slack"), {7}),
    (Filter(text="küche garden"), set()),
    (Filter(text="?!"), set()),
    (Filter(text="küche", person_id="U9"), set()),
    (Filter(tag="odd"), {2, 5}),
    (Filter(tag="odd", long=True), {5}),
    (Filter(tag="odd", text="küche"), set()),
    (Filter(state=State.ESCALATED), {3}),
    (Filter(state=State.ESCALATED, platform="slack"), {3}),
    (Filter(state=State.ESCALATED, platform="discord"), set()),
]


@pytest.mark.parametrize(("wanted", "expected"), CASES)
async def test_a_filter_finds_what_fits_and_nothing_else(sql: AsyncEngine, wanted: Filter, expected: set[int]) -> None:
    rows = variants()
    await SqlLedger(sql).record(rows)
    inbox, reviews = SqlInbox(sql), SqlReviews(sql)
    for number in (2, 5):
        await reviews.tag(rows[number].turn_id, "ada", ["Odd"])
    await inbox.claim(rows[3].turn_id, "ada")
    await reviews.judge(rows[3].turn_id, "ada", Draft(Verdict.ESCALATED))

    found = await ids(sql, wanted)

    assert found == [rows[number].turn_id for number in sorted(expected, reverse=True)]
    waiting = await ids(sql, wanted, by_weight=True)
    if not (wanted.tag or wanted.text or wanted.state):
        assert {*waiting} == {rows[number].turn_id for number in expected - {3}}


async def test_new_and_queued_are_found_under_other_filters_too(sql: AsyncEngine) -> None:
    rows = await logged(sql, 4)
    inbox = SqlInbox(sql)
    await say(sql, rows[1])
    await inbox.claim(rows[2].turn_id, "ada")
    await inbox.release(rows[2].turn_id, "ada")

    for wanted in (Filter(), Filter(platform="slack"), Filter(person_id=rows[0].person_id)):
        queued = await ids(sql, replace(wanted, state=State.QUEUED), by_weight=True)
        new = await ids(sql, replace(wanted, state=State.NEW))

        assert queued == [rows[1].turn_id, rows[2].turn_id]
        assert new == [rows[3].turn_id, rows[0].turn_id]


async def test_a_filter_survives_being_kept_as_a_view_of_its_owner(sql: AsyncEngine) -> None:
    reviews = SqlReviews(sql)
    wanted = Filter(platform="slack", outcome=Outcome.FAILED, state=State.QUEUED, since=NOON, slow=True)
    await reviews.save_view(View("ada", "mine", Filter(text="old"), by_weight=False))
    await reviews.save_view(View("ada", "mine", wanted, by_weight=True))
    await reviews.save_view(View("bob", "mine", Filter(), by_weight=True))

    assert await reviews.views("ada") == [View("ada", "mine", wanted, by_weight=True)]
    assert await reviews.drop_view("ada", "mine")
    assert not await reviews.drop_view("ada", "mine")
    assert len(await reviews.views("bob")) == 1


def statements_of(engine: AsyncEngine) -> list[tuple[str, Any]]:
    """What the engine runs from now on."""
    kept: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        kept.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", keep)
    return kept


LED = [
    EVERYTHING,
    Filter(platform="slack"),
    Filter(person_id="U1", platform="slack", slow=True),
    Filter(slow=True),
    Filter(long=True, outcome=Outcome.ANSWERED),
    Filter(state=State.QUEUED, channel="C1"),
    Filter(state=State.CLAIMED, channel="C1"),
    Filter(tag="odd", channel="C1"),
    Filter(since=NOON, until=NOON + 9),
]


@pytest.mark.parametrize("by_weight", [True, False])
@pytest.mark.parametrize("wanted", LED)
async def test_a_page_is_a_walk_along_one_index_on_sqlite(sqlite_url: str, wanted: Filter, by_weight: bool) -> None:  # noqa: FBT001
    await migrate(sqlite_url)
    engine = open_engine(sqlite_url)
    ran = statements_of(engine)
    async with engine.connect() as connection:
        await find_numbers(connection, wanted, 10, Cursor(2**62, 4), by_weight=by_weight)
        asked = [(statement, parameters) for statement, parameters in ran if statement.startswith("SELECT")]
        plans = [
            str([*row][3])
            for statement, parameters in asked
            for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    await engine.dispose()

    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN") or "TEMP B-TREE" in plan], plans


# ── claims ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_item_is_one_reviewers_until_the_lease_ends(sql: AsyncEngine) -> None:
    [row] = await logged(sql, 1)
    clock = [NOON]
    inbox = SqlInbox(sql, lambda: clock[0])

    claimed = await inbox.claim(row.turn_id, "ada", 60.0)

    assert (claimed.state, claimed.claimed_by, claimed.lease_until) == (State.CLAIMED, "ada", NOON + 60)
    with pytest.raises(NotYours):
        await inbox.claim(row.turn_id, "bob")
    with pytest.raises(NotYours):
        await inbox.release(row.turn_id, "bob")
    assert await inbox.claim_next(Filter(), "bob") is None
    assert (await inbox.claim(row.turn_id, "ada", 90.0)).lease_until == NOON + 90
    clock[0] = NOON + 91
    taken = await inbox.claim_next(Filter(), "bob")
    assert taken is not None
    assert taken.claimed_by == "bob"
    with pytest.raises(NotYours):
        await SqlReviews(sql).judge(row.turn_id, "ada", EDIT)
    await inbox.release(row.turn_id, "bob")
    assert (await inbox.item(row.turn_id)).state is State.QUEUED


async def test_the_next_one_is_the_most_instructive_that_fits_and_is_free(sql: AsyncEngine) -> None:
    rows = await logged(sql, 3)
    inbox = SqlInbox(sql)
    await say(sql, rows[0])

    given = [await inbox.claim_next(Filter(platform="slack"), name) for name in ("ada", "bob", "eve", "kim")]

    assert [item and item.turn_id for item in given] == [rows[0].turn_id, rows[2].turn_id, rows[1].turn_id, None]
    assert await inbox.claim_next(Filter(platform="discord"), "ada") is None
    with pytest.raises(NoSuchItem):
        await inbox.claim("slack:T1:C1:none", "ada")


CLAIM_ALL = """
import asyncio, sys
from core.loop.inbox import Filter
from storage.engine import open_engine
from storage.inbox import SqlInbox

async def main(url, name):
    engine = open_engine(url)
    while item := await SqlInbox(engine).claim_next(Filter(), name):
        print(item.turn_id, flush=True)
    await engine.dispose()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_that_claim_at_once_never_share_an_item(sql: AsyncEngine, migrated_url: str) -> None:
    rows = await logged(sql, 60)

    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", CLAIM_ALL, migrated_url, name, stdout=asyncio.subprocess.PIPE
        )
        for name in ("ada", "bob", "eve", "kim")
    ]
    outputs = [(await process.communicate())[0].decode().split() for process in started]

    claimed = [turn_id for output in outputs for turn_id in output]
    assert [process.returncode for process in started] == [0, 0, 0, 0]
    assert sorted(claimed) == sorted(row.turn_id for row in rows)


# ── verdicts ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_verdict_needs_a_claim_and_is_kept_with_its_note_in_the_trail(sql: AsyncEngine) -> None:
    [row] = await logged(sql, 1)
    inbox, reviews = SqlInbox(sql), SqlReviews(sql, lambda: NOON)
    with pytest.raises(NotYours):
        await reviews.judge(row.turn_id, "ada", EDIT)
    item = await inbox.claim(row.turn_id, "ada")
    with pytest.raises(BadReview):
        await reviews.judge(row.turn_id, "ada", Draft(Verdict.EDITED))

    made = await reviews.judge(row.turn_id, "ada", EDIT, item.row_version)

    decided = await inbox.item(row.turn_id)
    assert (decided.state, decided.weight, decided.claimed_by) == (State.EDITED, 0, "")
    assert await reviews.of_item(row.turn_id, "ada") == [made]
    assert (made.draft, made.reviewer, made.at) == (EDIT, "ada", NOON)
    with pytest.raises(NotAllowed):
        await inbox.claim(row.turn_id, "bob")
    [entry] = await SqlTrail(sql).page(Wanted(), 10)
    assert (entry.actor, entry.action) == ("ada", "review.judged")
    assert "Thirty" not in entry.details


async def test_a_verdict_on_what_has_changed_since_is_refused(sql: AsyncEngine) -> None:
    [row] = await logged(sql, 1)
    inbox, reviews = SqlInbox(sql), SqlReviews(sql)
    opened = await inbox.claim(row.turn_id, "ada")
    await inbox.claim(row.turn_id, "ada")

    with pytest.raises(ChangedMeanwhile):
        await reviews.judge(row.turn_id, "ada", EDIT, opened.row_version)

    assert await reviews.of_item(row.turn_id, "ada") == []
    assert await SqlTrail(sql).page(Wanted(), 10) == []


async def test_the_same_verdict_given_twice_at_once_is_one(sql: AsyncEngine) -> None:
    [row] = await logged(sql, 1)
    item = await SqlInbox(sql).claim(row.turn_id, "ada")
    reviews = SqlReviews(sql)

    outcomes = await asyncio.gather(
        *(reviews.judge(row.turn_id, "ada", EDIT, item.row_version) for _ in range(3)), return_exceptions=True
    )

    assert [isinstance(outcome, NotYours | ChangedMeanwhile) for outcome in outcomes].count(False) == 1
    assert sum(count for count, _ in (await reviews.stats()).by_reviewer.values()) == 1


async def test_ones_own_last_verdict_is_taken_back(sql: AsyncEngine) -> None:
    rows = await logged(sql, 2)
    clock = [NOON]
    inbox, reviews = SqlInbox(sql), SqlReviews(sql, lambda: clock[0])
    for row, name in zip(rows, ("ada", "bob"), strict=True):
        await inbox.claim(row.turn_id, name)
        await reviews.judge(row.turn_id, name, Draft(Verdict.REJECTED))
        clock[0] += 1

    undone = await reviews.undo("ada")

    item = await inbox.item(rows[0].turn_id)
    assert (undone.turn_id, undone.undone) == (rows[0].turn_id, True)
    assert (item.state, item.claimed_by, item.weight) == (State.CLAIMED, "ada", Weight.REST)
    assert [each.undone for each in await reviews.of_item(rows[0].turn_id, "ada")] == [True]
    with pytest.raises(NoSuchItem):
        await reviews.undo("ada")
    await reviews.judge(rows[0].turn_id, "ada", Draft(Verdict.APPROVED))
    stats = await reviews.stats()
    assert stats.states == {State.APPROVED: 1, State.REJECTED: 1}
    assert stats.by_reviewer == {"ada": (1, 0), "bob": (1, 0)}


async def test_a_verdict_stands_once_somebody_else_has_the_item(sql: AsyncEngine) -> None:
    [row] = await logged(sql, 1)
    inbox, reviews = SqlInbox(sql), SqlReviews(sql)
    await inbox.claim(row.turn_id, "ada")
    await reviews.judge(row.turn_id, "ada", Draft(Verdict.SKIPPED))
    await inbox.claim(row.turn_id, "bob")

    with pytest.raises(NotAllowed):
        await reviews.undo("ada")

    assert [each.undone for each in await reviews.of_item(row.turn_id, "ada")] == [False]
    assert (await inbox.item(row.turn_id)).claimed_by == "bob"


async def twice_reviewed(sql: AsyncEngine) -> Interaction:
    """An interaction that is looked at twice, logged."""
    async with sql.connect() as connection:
        salted = bytes.fromhex(str(await connection.scalar(select(salt.c.value))))
    native = next(native for native in plain_ids(200) if looks_twice(salted, message(native).id))
    row = interaction(message(native))
    await SqlLedger(sql).record([row])
    return row


async def test_a_second_review_is_blind_and_by_somebody_else(sql: AsyncEngine) -> None:
    row = await twice_reviewed(sql)
    inbox, reviews = SqlInbox(sql), SqlReviews(sql)
    await inbox.claim(row.turn_id, "ada")
    await reviews.judge(row.turn_id, "ada", EDIT)
    assert await inbox.claim_second("ada") is None

    item = await inbox.claim_second("bob")

    assert item is not None
    assert (item.turn_id, item.state, item.claimed_by) == (row.turn_id, State.CLAIMED, "bob")
    assert await inbox.claim_second("eve") is None
    assert await reviews.of_item(row.turn_id, "bob") == []
    assert len(await reviews.of_item(row.turn_id, "ada")) == 1
    await inbox.release(row.turn_id, "bob")
    assert await inbox.claim_second("bob") is not None
    second = await reviews.judge(row.turn_id, "bob", Draft(Verdict.APPROVED))
    assert second.blind
    assert len(await reviews.of_item(row.turn_id, "bob")) == 2
    assert (await inbox.item(row.turn_id)).state is State.EDITED
    stats = await reviews.stats()
    assert (stats.second_waiting, stats.agreement.pairs, stats.agreement.share) == (0, 1, 0.0)
    await reviews.undo("bob")
    await reviews.judge(row.turn_id, "bob", EDIT)
    assert (await reviews.stats()).agreement.share == 1.0


async def test_an_undone_first_verdict_asks_for_no_second(sql: AsyncEngine) -> None:
    row = await twice_reviewed(sql)
    inbox, reviews = SqlInbox(sql), SqlReviews(sql)
    await inbox.claim(row.turn_id, "ada")
    await reviews.judge(row.turn_id, "ada", EDIT)
    await reviews.undo("ada")

    assert await inbox.claim_second("bob") is None
    await reviews.judge(row.turn_id, "ada", Draft(Verdict.SKIPPED))
    assert await inbox.claim_second("bob") is None


async def test_tags_are_added_and_removed_in_one_spelling(sql: AsyncEngine) -> None:
    [row] = await logged(sql, 1)
    reviews = SqlReviews(sql)

    first = await reviews.tag(row.turn_id, "ada", ["Wrong  fact", "tone"])
    again = await reviews.tag(row.turn_id, "ada", ["tone"])
    then = await reviews.tag(row.turn_id, "ada", ["new"], ["TONE"])

    assert (first, again, then) == (("tone", "wrong fact"),) * 2 + (("new", "wrong fact"),)
    assert (await SqlInbox(sql).item(row.turn_id)).tags == then
    assert len(await SqlTrail(sql).page(Wanted(action="review.tagged"), 10)) == 2


# ── erasure ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def words_in_index(sql: AsyncEngine, word: str) -> int:
    query = {
        "sqlite": "SELECT count(*) FROM search WHERE search MATCH :word",
        "postgresql": "SELECT count(*) FROM search WHERE words @@ plainto_tsquery('simple', :word)",
    }
    async with sql.connect() as connection:
        return int(await connection.scalar(text(query[sql.dialect.name]), {"word": word}) or 0)


async def test_an_erased_person_leaves_no_item_review_tag_or_word(sql: AsyncEngine) -> None:
    gone = interaction(message("1"), question="my xylophone")
    stays = interaction(message("2"), person_id="U2", question="your xylophone")
    ledger, inbox, reviews = SqlLedger(sql), SqlInbox(sql), SqlReviews(sql)
    await ledger.record([gone, stays])
    await inbox.claim(gone.turn_id, "ada")
    await reviews.judge(gone.turn_id, "ada", EDIT)
    await reviews.tag(gone.turn_id, "ada", ["odd"])

    await ledger.erase_person("slack", "T1", gone.person_id)

    assert await ids(sql) == await ids(sql, Filter(text="xylophone")) == [stays.turn_id]
    assert await ids(sql, Filter(tag="odd")) == []
    assert await words_in_index(sql, "xylophone") == 1
    assert await reviews.of_item(gone.turn_id, "ada") == []
    with pytest.raises(NoSuchItem):
        await inbox.claim(gone.turn_id, "ada")
    await say(sql, gone)
    async with sql.connect() as connection:
        query = select(review_item).where(review_item.c.turn_id == gone.turn_id)
        kept = (await connection.execute(query)).one()
    assert (kept.state, kept.person_id, kept.weight) == ("erased", "", 0)
    if sql.dialect.name == "sqlite":
        async with sql.begin() as connection:  # raises where index and texts differ
            await connection.execute(text("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)"))


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_what_was_logged_before_there_was_an_inbox_is_in_it(
    database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{database}_url")
    await migrate(url, "0002")
    engine = open_engine(url)
    rows = variants()

    def columns(connection: Connection) -> set[str]:
        return {column["name"] for column in inspect(connection).get_columns("interaction")}

    async with engine.begin() as connection:
        there = await connection.run_sync(columns)
        kept = [{name: value for name, value in row_of(row).items() if name in there} for row in rows]
        await connection.execute(insert(logged_table), kept)
        await connection.execute(insert(interaction_text), [text_row_of(row) for row in rows])
    await migrate(url)

    assert await ids(engine) == [row.turn_id for row in reversed(rows)]
    for wanted, expected in ((Filter(text="küche"), 7), (Filter(slow=True), 4), (Filter(long=True), 5)):
        assert await ids(engine, wanted) == [rows[expected].turn_id]
    await engine.dispose()


def test_cursors_are_read_back_and_nothing_else_is() -> None:
    for cursor in (Cursor(2**63 - 1), Cursor(5, 3), Cursor(0, 0)):
        assert Cursor.parse(str(cursor)) == cursor
    bad: Sequence[str] = ["", "x", "1.x", "-1", "1.2.3", "9" * 40]
    for text_of in bad:
        with pytest.raises(BadReview):
            Cursor.parse(text_of)


def test_numbers_follow_time_and_fit_into_63_bits() -> None:
    moments = [-5.0, 0.0, NOON, NOON + 0.001, NOON + 1, 4e9, 1e300]

    numbers = [number_of(THREAD.message_id("1"), at) for at in moments]

    assert numbers == sorted(numbers)
    assert numbers[0] >= 0
    assert numbers[-1] < 2**63
    assert number_of("a", NOON) != number_of("b", NOON)
