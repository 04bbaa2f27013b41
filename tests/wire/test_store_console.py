"""Accounts, sessions, tokens, links, throttle and audit trail on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.chat.errors import StoreUnavailable
from core.loop.audit import Note
from core.loop.errors import AlreadyAdmin, AlreadyTied, LastAdmin, NameTaken, NotFound
from core.loop.people import Account, Identity, Link, Role, Session, Token, hash_of
from core.loop.ports import Wanted
from core.loop.throttling import Slowness
from storage.accounts import SqlAccounts, SqlLinks
from storage.audit import SqlTrail, recorded
from storage.sessions import SqlSessions, SqlThrottle, SqlTokens

NOW = 1_800_000_000.0
IDLE_S = 3600.0
ADA = Identity("https://id.example", "42", "Ada")


async def admin(sql: AsyncEngine, name: str = "Ada") -> Account:
    return await SqlAccounts(sql).add(name, Role.ADMIN, "hash", "command-line")


def session(account: Account, number: int = 1, **changes: Any) -> Session:
    whole = Session(f"s{number}", account.id, NOW, NOW, NOW + 10 * IDLE_S, "127.0.0.1", "Browser")
    return replace(whole, **changes)


def a_link(account_id: str = "", *, first: bool = False, role: Role = Role.REVIEWER, by: str = "ada") -> Link:
    return Link(f"l{account_id}{role}{first}", role, account_id, by, NOW, NOW + 100, first)


async def noted(sql: AsyncEngine) -> list[str]:
    return [entry.action for entry in reversed(await SqlTrail(sql).page(Wanted(), 100))]


# ── accounts ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_account_is_found_by_any_spelling_of_its_name(sql: AsyncEngine) -> None:
    accounts = SqlAccounts(sql)
    ada = await admin(sql, "Ada Lovelace")

    found = await accounts.with_password("ADA  lovelace")

    assert found == (ada, "hash")
    assert await accounts.with_password("bob") is None
    assert await accounts.with_password("") is None
    assert await accounts.list() == [ada]
    with pytest.raises(NameTaken):
        await accounts.add("ada lovelace", Role.VIEWER, "", "command-line")
    assert await noted(sql) == ["account.added"]


async def test_the_only_admin_stays_one(sql: AsyncEngine) -> None:
    accounts = SqlAccounts(sql)
    ada = await admin(sql)

    with pytest.raises(LastAdmin):
        await accounts.change_role(ada.id, Role.VIEWER, ada.id)
    with pytest.raises(LastAdmin):
        await accounts.set_active(ada.id, ada.id, active=False)
    bob = await admin(sql, "Bob")
    await accounts.change_role(ada.id, Role.VIEWER, bob.id)

    assert (await accounts.find(ada.id)).role is Role.VIEWER
    assert await noted(sql) == ["account.added", "account.added", "account.role"]


async def test_two_admins_who_take_each_others_role_at_once_leave_one(sql: AsyncEngine) -> None:
    accounts = SqlAccounts(sql)
    ada, bob = await admin(sql), await admin(sql, "Bob")

    outcomes = await asyncio.gather(
        accounts.change_role(ada.id, Role.VIEWER, bob.id),
        accounts.change_role(bob.id, Role.VIEWER, ada.id),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes].count(LastAdmin) == 1
    assert await accounts.has_admin()


async def test_a_disabled_account_loses_sessions_tokens_and_links_and_its_password_opens_nothing(
    sql: AsyncEngine,
) -> None:
    accounts, sessions, tokens, links = SqlAccounts(sql), SqlSessions(sql), SqlTokens(sql), SqlLinks(sql)
    ada, bob = await admin(sql), await admin(sql, "Bob")
    await sessions.begin(session(bob), "h1", "password", "")
    await tokens.add(Token("t1", bob.id, "script", Role.ADMIN, NOW, None, NOW + 100), "h2", bob.id)
    await links.make(a_link(bob.id), "h3")
    await links.make(a_link(by=bob.id), "h4")

    await accounts.set_active(bob.id, ada.id, active=False)

    assert await accounts.with_password("Bob") is None
    assert await sessions.find("h1", NOW, IDLE_S) is None
    assert await tokens.find("h2", NOW) is None
    for link_hash in ("h3", "h4"):
        with pytest.raises(NotFound):
            await links.find(link_hash, NOW)
    await sessions.begin(session(bob, 2), "late", "password", "")  # the password was looked at before
    assert await sessions.find("late", NOW, IDLE_S) is None
    await accounts.set_active(bob.id, ada.id, active=True)
    for token_hash in ("h1", "late"):
        assert await sessions.find(token_hash, NOW, IDLE_S) is None


async def test_a_link_works_once_even_for_two_who_use_it_at_the_same_moment(sql: AsyncEngine) -> None:
    accounts, links = SqlAccounts(sql), SqlLinks(sql)
    await links.make(a_link(), "h")
    assert (await links.find("h", NOW)).role is Role.REVIEWER

    outcomes = await asyncio.gather(
        accounts.redeem("h", "Bob", "hash", None, NOW),
        accounts.redeem("h", "Eve", "hash", None, NOW),
        return_exceptions=True,
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Account", "NotFound"]
    assert len(await accounts.list()) == 1


async def test_a_link_that_has_expired_or_whose_name_is_taken_makes_nothing(sql: AsyncEngine) -> None:
    accounts, links = SqlAccounts(sql), SqlLinks(sql)
    await admin(sql)
    await links.make(a_link(), "h")

    with pytest.raises(NotFound):
        await accounts.redeem("h", "Bob", "hash", None, NOW + 101)
    with pytest.raises(NameTaken):
        await accounts.redeem("h", "ada", "hash", None, NOW)

    assert (await accounts.redeem("h", "Bob", "hash", None, NOW)).role is Role.REVIEWER


async def test_the_first_admins_link_replaces_the_one_before_and_is_void_once_there_is_an_admin(
    sql: AsyncEngine,
) -> None:
    accounts, links = SqlAccounts(sql), SqlLinks(sql)
    await links.make(a_link(first=True, role=Role.ADMIN), "h1")
    await links.make(replace(a_link(first=True, role=Role.ADMIN), id="l2"), "h2")

    with pytest.raises(NotFound):
        await accounts.redeem("h1", "Eve", "hash", None, NOW)
    await admin(sql)
    with pytest.raises(AlreadyAdmin):
        await accounts.redeem("h2", "Eve", "hash", None, NOW)

    assert [account.name for account in await accounts.list()] == ["Ada"]


async def test_a_link_to_a_new_password_changes_it_and_ends_the_sessions(sql: AsyncEngine) -> None:
    accounts, links, sessions = SqlAccounts(sql), SqlLinks(sql), SqlSessions(sql)
    ada = await admin(sql)
    await sessions.begin(session(ada), "h1", "password", "")
    await links.make(a_link(ada.id, role=Role.ADMIN), "h")

    await accounts.redeem("h", "ignored", "new", None, NOW)

    assert await accounts.with_password("Ada") == (ada, "new")
    assert await sessions.find("h1", NOW, IDLE_S) is None


async def test_a_login_at_the_provider_opens_the_account_that_it_is_tied_to_and_no_other(sql: AsyncEngine) -> None:
    accounts, links = SqlAccounts(sql), SqlLinks(sql)
    for number, link_hash in enumerate(("h1", "h2")):
        await links.make(replace(a_link(), id=f"l{number}"), link_hash)

    assert await accounts.of_identity(ADA, None, "oidc") is None
    made = await accounts.redeem("h1", "Ada", "", ADA, NOW)
    with pytest.raises(AlreadyTied):
        await accounts.redeem("h2", "Eve", "", ADA, NOW)

    assert await accounts.of_identity(ADA, Role.ADMIN, "oidc") == made
    assert (made.provider, made.has_password, made.role) == (ADA.issuer, False, Role.REVIEWER)
    assert await accounts.of_identity(replace(ADA, issuer="https://other.example"), None, "oidc") is None


async def test_whoever_the_provider_lets_in_gets_a_name_of_their_own(sql: AsyncEngine) -> None:
    accounts = SqlAccounts(sql)
    await admin(sql)

    second = await accounts.of_identity(ADA, Role.VIEWER, "oidc")
    nameless = await accounts.of_identity(replace(ADA, subject="43", name="\u202e"), Role.VIEWER, "oidc")

    assert second is not None
    assert nameless is not None
    assert (second.name, nameless.name) == ("Ada 2", "Guest")


# ── sessions and tokens ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_ends_when_idle_and_at_its_latest(sql: AsyncEngine) -> None:
    sessions, ada = SqlSessions(sql), await admin(sql)
    await sessions.begin(session(ada), "h", "password", "")

    for late in (IDLE_S + 1, 10 * IDLE_S + 1):
        assert await sessions.find("h", NOW + late, IDLE_S) is None
    for hours in range(10):
        assert await sessions.find("h", NOW + hours * IDLE_S * 0.99, IDLE_S) is not None
        await sessions.seen("s1", NOW + hours * IDLE_S * 0.99)
    assert await sessions.find("h", NOW + 10 * IDLE_S + 1, 100 * IDLE_S) is None


async def test_a_session_replaces_the_one_that_the_browser_had(sql: AsyncEngine) -> None:
    sessions, ada = SqlSessions(sql), await admin(sql)
    await sessions.begin(session(ada, 1), "h1", "password", "")

    await sessions.begin(session(ada, 2), "h2", "password", "h1")

    assert [each.id for each in await sessions.list(ada.id, NOW, IDLE_S)] == ["s2"]
    found = await sessions.find("h2", NOW, IDLE_S)
    assert found is not None
    assert found[1] == ada


async def test_nobody_ends_a_session_or_revokes_a_token_of_somebody_else(sql: AsyncEngine) -> None:
    sessions, tokens = SqlSessions(sql), SqlTokens(sql)
    ada, bob = await admin(sql), await admin(sql, "Bob")
    await sessions.begin(session(ada), "h1", "password", "")
    await tokens.add(Token("t1", ada.id, "script", Role.VIEWER, NOW, None, NOW + 100), "h2", ada.id)

    with pytest.raises(NotFound):
        await sessions.end("s1", bob.id, bob.id)
    with pytest.raises(NotFound):
        await tokens.revoke("t1", bob.id, bob.id)

    assert await sessions.find("h1", NOW, IDLE_S) is not None
    assert await tokens.find("h2", NOW) is not None
    assert (await noted(sql))[-1] == "token.made"


async def test_ending_the_others_leaves_the_one_in_use(sql: AsyncEngine) -> None:
    sessions, ada = SqlSessions(sql), await admin(sql)
    for number in range(3):
        await sessions.begin(session(ada, number), f"h{number}", "password", "")

    assert await sessions.end_others(ada.id, "s1", ada.id) == 2

    assert [each.id for each in await sessions.list(ada.id, NOW, IDLE_S)] == ["s1"]


async def test_a_token_shows_its_use_and_expires(sql: AsyncEngine) -> None:
    tokens, ada = SqlTokens(sql), await admin(sql)
    await tokens.add(Token("t1", ada.id, "script", Role.VIEWER, NOW, None, NOW + 100), "h", ada.id)

    await tokens.find("h", NOW + 1)

    assert [token.used_at for token in await tokens.list(ada.id, NOW)] == [NOW + 1]
    assert await tokens.find("h", NOW + 101) is None
    assert await tokens.list(ada.id, NOW + 101) == []


# ── the throttle ────────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = {"pair": Slowness(free=3, longest_s=60), "address": Slowness(free=100, longest_s=60)}


async def test_tries_side_by_side_are_counted_before_they_are_made(sql: AsyncEngine) -> None:
    throttle = SqlThrottle(sql)

    waits = await asyncio.gather(*(throttle.begin(NAMES, NOW) for _ in range(8)))

    assert sorted(waits) == [0.0] * 3 + [1.0] * 5


async def test_a_refused_try_does_not_make_the_wait_longer_and_success_forgets(sql: AsyncEngine) -> None:
    throttle = SqlThrottle(sql)
    for _ in range(3):
        await throttle.begin(NAMES, NOW)

    assert [await throttle.begin(NAMES, NOW + 0.5) for _ in range(3)] == [0.5] * 3
    await throttle.right(["pair"], ["address"])

    assert await throttle.begin(NAMES, NOW + 0.5) == 0.0
    async with sql.connect() as connection:
        rows = (await connection.execute(text("SELECT name, failures FROM login_throttle ORDER BY name"))).all()
    assert [tuple(row) for row in rows] == [("address", 3), ("pair", 1)]


async def test_counts_are_forgotten_and_known_browsers_are_not(sql: AsyncEngine) -> None:
    throttle = SqlThrottle(sql)
    await throttle.remember_browser("b1", NOW)
    for _ in range(4):
        await throttle.begin(NAMES, NOW)

    assert await throttle.begin(NAMES, NOW + 3601) == 0.0

    assert await throttle.knows_browser("b1")
    assert not await throttle.knows_browser("b2")
    async with sql.connect() as connection:
        rows = (await connection.execute(text("SELECT name, failures FROM login_throttle ORDER BY name"))).all()
    assert [tuple(row) for row in rows] == [("address", 1), ("known:b1", 0), ("pair", 1)]


# ── the audit trail ─────────────────────────────────────────────────────────────────────────────────────────────────

WRITER = """
import asyncio, sys
from core.loop.audit import Note
from storage.audit import SqlTrail
from storage.engine import open_engine

async def main(url: str, who: str) -> None:
    engine = open_engine(url)
    trail = SqlTrail(engine)
    await asyncio.gather(*(trail.append(Note(who, "test", f"{who}-{n}")) for n in range(25)))
    await engine.dispose()

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


async def test_writers_in_several_processes_make_one_chain(sql: AsyncEngine, migrated_url: str) -> None:
    arguments = ("-W", "error", "-c", WRITER, migrated_url)
    started = [await asyncio.create_subprocess_exec(sys.executable, *arguments, f"w{n}") for n in range(4)]

    codes = [await process.wait() for process in started]

    verdict = await SqlTrail(sql).verify()
    entries = await SqlTrail(sql).page(Wanted(), 1000)
    assert codes == [0] * 4
    assert (verdict.broken, verdict.head.seq) == (None, 100)
    assert len({entry.subject for entry in entries}) == 100


async def test_a_change_that_fails_is_not_noted_and_one_that_cannot_be_noted_is_not_made(sql: AsyncEngine) -> None:
    ada = await admin(sql)

    async def half() -> None:
        async with recorded(sql) as change:
            await change.connection.execute(text("UPDATE account SET role = 'viewer'"))
            await change.note(Note("eve", "account.role", f"account:{ada.id}"))
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        await half()

    assert (await SqlAccounts(sql).find(ada.id)).role is Role.ADMIN
    assert await noted(sql) == ["account.added"]


async def test_pages_go_back_by_key_and_by_filter(sql: AsyncEngine) -> None:
    trail = SqlTrail(sql)
    for number in range(10):
        await trail.append(Note(f"actor-{number % 2}", f"action-{number % 3}", "subject"))

    first = await trail.page(Wanted(), 4)
    second = await trail.page(Wanted(before=first[-1].seq), 4)
    filtered = await trail.page(Wanted(actor="actor-1", action="action-0", subject="subject"), 10)

    assert [entry.seq for entry in (*first, *second)] == [10, 9, 8, 7, 6, 5, 4, 3]
    assert [entry.seq for entry in filtered] == [10, 4]
    assert await trail.actions() == ["action-0", "action-1", "action-2"]


@pytest.mark.parametrize("statement", ["UPDATE audit_event SET actor = 'eve' WHERE seq = 2", "DELETE FROM audit_event"])
async def test_our_own_statements_cannot_change_a_row(sql: AsyncEngine, statement: str) -> None:
    for _ in range(3):
        await SqlTrail(sql).append(Note("ada", "test", "x"))

    with pytest.raises(Exception, match="append-only"):
        async with sql.begin() as connection:
            await connection.execute(text(statement))

    assert (await SqlTrail(sql).verify()).broken is None


async def without_triggers(sql: AsyncEngine, *statements: str) -> None:
    """Changes the table as somebody does who owns the database."""
    sqlite = sql.dialect.name == "sqlite"
    names = ("audit_event_no_update", "audit_event_no_delete") if sqlite else ("audit_event_kept",)
    drops = [f"DROP TRIGGER {name}" + ("" if sqlite else " ON audit_event") for name in names]
    async with sql.begin() as connection:
        for statement in (*drops, *statements):
            await connection.execute(text(statement))


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (("UPDATE audit_event SET actor = 'eve' WHERE seq = 3",), (3, "changed")),
        (("UPDATE audit_event SET details = '{}' WHERE seq = 2",), (2, "changed")),
        (("DELETE FROM audit_event WHERE seq = 4",), (4, "missing")),
        (("DELETE FROM audit_event WHERE seq = 1",), (1, "missing")),
        (("DELETE FROM audit_event WHERE seq > 3",), (4, "missing")),
        (("UPDATE audit_event SET at_ms = at_ms - 1 WHERE seq = 5",), (5, "changed")),
    ],
)
async def test_tampered_rows_are_found_where_they_are(
    sql: AsyncEngine, statements: Sequence[str], expected: tuple[int, str]
) -> None:
    trail = SqlTrail(sql)
    for _ in range(5):
        await trail.append(Note("ada", "test", "x", {"a": 1}))
    noted_head = (await trail.verify()).head

    await without_triggers(sql, *statements)
    verdict = await trail.verify(noted_head)

    assert verdict.broken is not None
    assert verdict.broken.seq == expected[0]
    assert re.search(expected[1], verdict.broken.reason)


async def test_secrets_are_nowhere_in_the_database(sql: AsyncEngine) -> None:
    ada = await admin(sql)
    await SqlSessions(sql).begin(session(ada), hash_of("session-secret"), "password", "")
    await SqlLinks(sql).make(a_link(ada.id), hash_of("link-secret"))

    async with sql.connect() as connection:
        stored = [
            str(row)
            for table in ("console_session", "one_time_link", "audit_event")
            for row in await connection.execute(text(f"SELECT * FROM {table}"))
        ]

    assert stored
    assert not [row for row in stored if "secret" in row]


async def test_a_database_without_the_tables_says_how_to_make_them(sqlite_url: str) -> None:
    from storage.engine import open_engine  # noqa: PLC0415 - on a database that was not migrated

    engine = open_engine(sqlite_url)
    with pytest.raises(StoreUnavailable, match="parley up"):
        await SqlTrail(engine).append(Note("ada", "test", "x"))
    await engine.dispose()
