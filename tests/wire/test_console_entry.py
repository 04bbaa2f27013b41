"""Getting into the console and out again, over real HTTP on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import AsyncIterator

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from admin.app import SIGN_IN
from admin.door import NOT_OURS, NOT_SAFE
from admin.entry import WRONG
from admin.passwords import Passwords
from core.loop.people import Role
from core.loop.ports import Wanted
from storage.engine import open_engine
from storage.tables import metadata
from tests.support.console_harness import PASSWORD, ConsoleHarness, Visitor, console_harness


@pytest.fixture
async def console(sql: AsyncEngine) -> AsyncIterator[ConsoleHarness]:
    async with console_harness(sql) as harness:
        yield harness


# ── with a password ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_name_and_password_open_the_console_and_signing_out_closes_it(console: ConsoleHarness) -> None:
    await console.account("Ada")
    ada = console.visitor()

    inside = await ada.sign_in("ada")
    token = ada.cookie()
    out = await ada.post("/logout")
    ada.give_cookie("console", token)
    after = await ada.get("/me")

    assert (inside.status, inside.path) == (200, "/accounts")
    assert (out.path, out.line) == ("/login", "You are signed out.")
    assert after.path == "/login"


async def test_a_page_that_was_asked_for_is_shown_after_the_login_and_no_other_place(console: ConsoleHarness) -> None:
    await console.account("Ada")
    ada = console.visitor()
    asked = await ada.get("/audit?actor=Ada")

    fine = await ada.post("/login", {"name": "Ada", "password": PASSWORD, "next": "/console/audit?actor=Ada"})
    places = []
    for goal in (
        "https://evil.example/",
        "//evil.example",
        "/console//evil.example",
        "/console/\\evil",
        "javascript:1",
    ):
        again = await console.visitor().post(
            "/login", {"name": "Ada", "password": PASSWORD, "next": goal}, follow=False
        )
        places.append(again.headers["Location"])

    assert asked.path == "/login"
    assert 'name="next" value="/console/audit?actor=Ada"' in asked.text
    assert fine.path == "/audit"
    assert places == ["/console/accounts"] * 5


async def test_wrong_name_and_wrong_password_look_the_same(console: ConsoleHarness) -> None:
    ada, bob = await console.account("Ada"), await console.account("Bob")
    await console.desk.accounts.set_active(bob.id, ada.id, active=False)

    replies = [
        await console.visitor().sign_in("Ada", "not the right one"),
        await console.visitor().sign_in("Eve", "not the right one"),
        await console.visitor().sign_in("Bob", PASSWORD),
        await console.visitor().sign_in("Ada", "x" * 300),
    ]

    shown = {
        reply.text.replace('value="Eve"', "").replace('value="Bob"', "").replace('value="Ada"', "") for reply in replies
    }
    assert {(reply.status, reply.line) for reply in replies} == {(403, WRONG)}
    assert len(shown) == 1
    assert not any("Set-Cookie" in reply.headers for reply in replies)


async def test_a_name_that_is_unknown_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=8192, parallelism=1))
    known = await passwords.hash(PASSWORD)

    async def duration_s(password_hash: str | None) -> float:
        began = time.perf_counter()
        assert not await passwords.verify(password_hash, "not the right one")
        return time.perf_counter() - began

    pairs = [(await duration_s(known), await duration_s(None)) for _ in range(9)]

    right, nobody = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert nobody > right / 3  # without the hash it would be a thousandth


async def test_guessing_is_slowed_down_but_who_was_here_before_gets_in_at_once(console: ConsoleHarness) -> None:
    await console.account("Ada")
    ada = console.visitor()
    await ada.sign_in("Ada")
    await ada.post("/logout")

    guesses = [await console.visitor().sign_in("Ada", f"not the right one {number}") for number in range(8)]
    stranger = await console.visitor().sign_in("Ada")
    owner = await ada.sign_in("Ada")
    console.clock.at += 301
    patient = await console.visitor().sign_in("Ada")

    assert [guess.status for guess in guesses] == [403] * 5 + [429] * 3
    assert stranger.status == 429
    assert stranger.headers["Retry-After"] == "1"
    assert owner.path == "/accounts"
    assert patient.path == "/accounts"


async def test_names_that_are_nobodys_are_slowed_down_alike(console: ConsoleHarness) -> None:
    guesses = [await console.visitor().sign_in("Nobody", "not the right one") for _ in range(7)]

    assert [guess.status for guess in guesses] == [403] * 5 + [429] * 2


async def test_guesses_side_by_side_are_slowed_down_as_well(console: ConsoleHarness) -> None:
    await console.account("Ada")

    guesses = await asyncio.gather(*(console.visitor().sign_in("Ada", "not the right one") for _ in range(12)))

    assert sorted(guess.status for guess in guesses) == [403] * 5 + [429] * 7


async def test_guesses_from_many_addresses_are_slowed_down_for_the_account(console: ConsoleHarness) -> None:
    # A proxy on this machine, which is what the tests look like, is believed about the address.
    tries = [
        await console.visitor().post(
            "/login",
            {"name": "Ada", "password": "not the right one"},
            {"Sec-Fetch-Site": "same-origin", "X-Forwarded-For": f"203.0.113.{number}"},
        )
        for number in range(22)
    ]

    assert [each.status for each in tries] == [403] * 20 + [429] * 2


# ── sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_session_that_was_laid_into_the_browser_is_worth_nothing_after_the_login(
    console: ConsoleHarness,
) -> None:
    eve, _ = await console.inside("Eve", Role.VIEWER)
    await console.account("Ada")
    ada = console.visitor()
    planted = eve.cookie()
    ada.give_cookie("console", planted)

    await ada.sign_in("Ada")

    assert ada.cookie() != planted
    assert (await eve.get("/me")).path == "/login"  # ended, for the browser that had it began anew
    for made_up in ("fixed-by-eve", "a" * 43):
        fresh = console.visitor()
        fresh.give_cookie("console", made_up)
        await fresh.sign_in("Ada")
        assert fresh.cookie() != made_up
        stranger = console.visitor()
        stranger.give_cookie("console", made_up)
        assert (await stranger.get("/me")).path == "/login"


async def test_a_session_ends_when_nobody_used_it_and_at_its_latest(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")
    began = console.clock.at

    console.clock.at = began + 3.9 * 3600
    used = await ada.get("/me")
    console.clock.at += 4.1 * 3600
    idle = await ada.get("/me")
    await ada.sign_in("Ada")
    for _ in range(5):
        console.clock.at += 3.5 * 3600
        last = await ada.get("/me")

    assert (used.path, idle.path, last.path) == ("/me", "/login", "/login")


async def test_the_cookie_is_for_this_host_alone_and_no_script_reads_it(console: ConsoleHarness) -> None:
    await console.account("Ada")
    form = {"name": "Ada", "password": PASSWORD}
    https = {"X-Forwarded-Proto": "https", "Host": "console.example", "Sec-Fetch-Site": "same-origin"}

    secure = await console.visitor().post("/login", form, https, follow=False)
    plain = await console.visitor().post("/login", form, follow=False)

    rest = r"=\S{43}; HttpOnly; Max-Age=\d+; Path=/; SameSite=lax"
    for name, cookie in zip(("__Host-console", "__Host-console-known"), secure.cookies, strict=True):
        assert re.fullmatch(f"{name}{rest}; Secure", cookie)
    for name, cookie in zip(("console", "console-known"), plain.cookies, strict=True):
        assert re.fullmatch(f"{name}{rest}", cookie)
    assert "max-age" in secure.headers["Strict-Transport-Security"]


async def test_plain_http_under_a_name_is_refused_with_the_remedy(console: ConsoleHarness) -> None:
    for host in ("console.example", "10.0.0.7"):
        reply = await console.visitor().get("/login", {"Host": host})

        assert (reply.status, reply.text) == (400, NOT_SAFE)
    stranger = await console.visitor().get("/login", {"Host": "evil.example", "X-Forwarded-Proto": "https"})
    assert (stranger.status, "does not answer to the name" in stranger.text) == (400, True)


async def test_every_response_carries_the_headers(console: ConsoleHarness) -> None:
    visitor = console.visitor()
    for path in ("/login", "/nowhere", "/api/v1/openapi.json", "/static/console.css"):
        headers = (await visitor.get(path)).headers

        assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")


# ── forms of others ─────────────────────────────────────────────────────────────────────────────────────────────────

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://127.0.0.1"},
    {"X-Nothing": "at all"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_form_of_another_site_does_nothing(console: ConsoleHarness, headers: dict[str, str]) -> None:
    ada, account = await console.inside("Ada")
    before = len(await console.desk.trail.page(Wanted(), 100))

    for path in ("/login", "/logout", "/accounts", f"/accounts/{account.id}/role", "/me/tokens", "/me/sessions/end"):
        reply = await ada.post(path, {"role": "admin", "name": "x", "days": "1"}, headers)
        assert (reply.status, reply.text) == (403, NOT_OURS)

    assert len(await console.desk.trail.page(Wanted(), 100)) == before
    assert (await ada.get("/me")).path == "/me"


async def test_a_browser_without_sec_fetch_site_is_known_by_its_origin(console: ConsoleHarness) -> None:
    await console.account("Ada")
    origin = console.base.removesuffix("/console")

    reply = await console.visitor().post("/login", {"name": "Ada", "password": PASSWORD}, {"Origin": origin})

    assert reply.path == "/accounts"


async def test_a_form_after_the_session_has_ended_says_so(console: ConsoleHarness) -> None:
    reply = await console.visitor().post("/me/sessions/end")

    assert (reply.status, reply.line) == (401, SIGN_IN)


async def test_a_form_that_is_far_too_large_is_refused(console: ConsoleHarness) -> None:
    reply = await console.visitor().post("/login", {"name": "x" * 300_000, "password": "y"})
    fields = await console.visitor().post("/login", {f"f{number}": "x" for number in range(100)})

    assert (reply.status, fields.status) == (413, 400)


# ── one-time links ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_admins_link_makes_the_account_once(console: ConsoleHarness) -> None:
    link = await console.link(Role.ADMIN, first=True)
    form = {"name": "Ada", "password": PASSWORD, "again": PASSWORD}
    ada, eve = console.visitor(), console.visitor()

    looked = [await ada.get(link), await ada.get(link)]
    made = await ada.post(link, form)
    again = await eve.post(link, {**form, "name": "Eve"})

    assert [look.status for look in looked] == [200, 200]
    assert (made.status, made.path) == (200, "/accounts")
    assert (again.status, "was used already" in again.line) == (404, True)
    assert [account.name for account in await console.desk.accounts.list()] == ["Ada"]


async def test_the_first_admins_link_is_void_once_there_is_an_admin(console: ConsoleHarness) -> None:
    link = await console.link(Role.ADMIN, first=True)
    await console.account("Ada")

    reply = await console.visitor().post(link, {"name": "Eve", "password": PASSWORD, "again": PASSWORD})

    assert reply.status == 409
    assert len(await console.desk.accounts.list()) == 1


@pytest.mark.parametrize(
    ("form", "status", "expected"),
    [
        ({"name": "Bob", "password": "short", "again": "short"}, 422, "12 to 256"),
        ({"name": "Bob", "password": PASSWORD, "again": PASSWORD + "!"}, 422, "differ"),
        ({"name": "", "password": PASSWORD, "again": PASSWORD}, 422, "1 to 60"),
        ({"name": "ADA", "password": PASSWORD, "again": PASSWORD}, 409, "already"),
        ({"name": "Bob\u202e", "password": PASSWORD, "again": PASSWORD}, 422, "invisible"),
    ],
)
async def test_what_is_refused_leaves_the_link_to_another_try(
    console: ConsoleHarness, form: dict[str, str], status: int, expected: str
) -> None:
    await console.account("Ada")
    link, bob = await console.link(Role.REVIEWER), console.visitor()

    refused = await bob.post(link, form)
    fine = await bob.post(link, {"name": "Bob", "password": PASSWORD, "again": PASSWORD})

    assert (refused.status, expected in refused.line) == (status, True)
    assert fine.path == "/me"


async def test_a_link_does_not_choose_its_role(console: ConsoleHarness) -> None:
    link = await console.link(Role.VIEWER)

    await console.visitor().post(link, {"name": "Eve", "password": PASSWORD, "again": PASSWORD, "role": "admin"})

    assert [account.role for account in await console.desk.accounts.list()] == [Role.VIEWER]


async def test_a_link_to_a_new_password_ends_the_old_one_and_its_sessions(console: ConsoleHarness) -> None:
    ada, account = await console.inside("Ada")
    link, elsewhere = await console.link(Role.ADMIN, account.id), console.visitor()
    new = "three cats watch windows"

    changed = await elsewhere.post(link, {"password": new, "again": new})

    assert changed.path == "/accounts"
    assert (await ada.get("/me")).path == "/login"
    assert (await console.visitor().sign_in("Ada")).status == 403
    assert (await console.visitor().sign_in("Ada", new)).path == "/accounts"


async def test_a_link_expires(console: ConsoleHarness) -> None:
    link = await console.link(Role.VIEWER)
    console.clock.at += 24 * 3600 + 1

    replies = [await console.visitor().get(link), await console.visitor().get("/link/none")]

    assert [reply.status for reply in replies] == [404, 404]


# ── the database ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_secret_lies_in_the_database(console: ConsoleHarness, sql: AsyncEngine) -> None:
    ada, account = await console.inside("Ada")
    token = (await console.token(account))["Authorization"].removeprefix("Bearer ")
    link = (await console.link(Role.VIEWER)).removeprefix("/link/")

    stored = ""
    async with sql.connect() as connection:
        for table in metadata.tables.values():
            stored += str((await connection.execute(select(table))).all())

    for secret in (ada.cookie(), ada.cookie("console-known"), token, link, PASSWORD):
        assert secret
        assert secret not in stored
    assert "$argon2id$" in stored


async def test_a_database_that_is_away_is_said(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)  # without tables
    async with console_harness(engine) as console:
        visitor: Visitor = console.visitor()
        visitor.give_cookie("console", "x" * 43)

        page = await visitor.get("/me")
        status, body = await console.api("GET", "/me", {"Authorization": "Bearer x"})

    await engine.dispose()
    assert (page.status, status) == (503, 503)
    assert "cannot be reached" in body["detail"]
