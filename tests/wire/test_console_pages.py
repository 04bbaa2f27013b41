"""The console's pages and its API: what each role sees and does, and what nobody gets by trying."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.loop.audit import Entry, Note, Walk
from core.loop.people import Role
from core.loop.ports import Wanted
from tests.support.console_harness import PASSWORD, ConsoleHarness, console_harness

ATTACK = "<img src=x onerror=alert(1)>"
MANAGED = ["/accounts", "/accounts/{id}", "/audit", "/audit/verify"]
CHANGES = [
    "/accounts",
    "/accounts/{id}/role",
    "/accounts/{id}/disable",
    "/accounts/{id}/enable",
    "/accounts/{id}/link",
    "/accounts/{id}/sessions/{session}/end",
    "/accounts/{id}/tokens/{token}/revoke",
]


@pytest.fixture
async def console(sql: AsyncEngine) -> AsyncIterator[ConsoleHarness]:
    async with console_harness(sql) as harness:
        yield harness


async def _ids(console: ConsoleHarness, account_id: str) -> dict[str, str]:
    [session, *_] = await console.desk.sessions.list(account_id, console.clock.at, 1e6)
    [token, *_] = await console.desk.tokens.list(account_id, console.clock.at)
    return {"id": account_id, "session": session.id, "token": token.id}


# ── roles ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", [Role.VIEWER, Role.REVIEWER, Role.TRAINER, Role.RELEASER])
async def test_who_is_no_admin_neither_sees_nor_does_what_admins_do(console: ConsoleHarness, role: Role) -> None:
    _, ada = await console.inside("Ada")
    await console.token(ada)
    eve, account = await console.inside("Eve", role)
    ids = await _ids(console, ada.id)
    before = len(await console.desk.trail.page(Wanted(), 100))

    seen = [await eve.get(path.format(**ids)) for path in MANAGED]
    done = [await eve.post(path.format(**ids), {"role": "admin"}) for path in CHANGES]
    done += [await eve.post(f"/accounts/{account.id}/role", {"role": "admin"})]

    assert {reply.status for reply in [*seen, *done]} == {403}
    assert all(f"Your role, {role.value}, does not allow this" in reply.line for reply in done)
    assert len(await console.desk.trail.page(Wanted(), 100)) == before
    assert re.findall(r'<a href="/console/(\w+)"', (await eve.get("/me")).text) == ["me"]


async def test_a_role_that_was_taken_away_counts_from_the_next_request_on(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")
    bob, account = await console.inside("Bob")
    header = await console.token(account)
    assert (await bob.get("/accounts")).status == 200

    await ada.post(f"/accounts/{account.id}/role", {"role": "viewer"})

    assert (await bob.get("/accounts")).status == 403
    assert (await console.api("GET", "/accounts", header))[0] == 403
    assert (await console.api("GET", "/me", header))[1]["role"] == "viewer"


async def test_the_last_admin_cannot_take_itself_away(console: ConsoleHarness) -> None:
    ada, account = await console.inside("Ada")

    role = await ada.post(f"/accounts/{account.id}/role", {"role": "viewer"})
    disabled = await ada.post(f"/accounts/{account.id}/disable")

    assert [(reply.status, "the only admin" in reply.line) for reply in (role, disabled)] == [(409, True)] * 2


async def test_a_disabled_account_is_out_at_once_and_in_again_when_enabled(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")
    bob, account = await console.inside("Bob", Role.REVIEWER)
    header = await console.token(account)

    said = await ada.post(f"/accounts/{account.id}/disable")

    assert said.line == "The account was disabled. Its sessions and tokens have ended."
    assert (await bob.get("/me")).path == "/login"
    assert (await console.api("GET", "/me", header))[0] == 401
    assert (await bob.sign_in("Bob")).status == 403
    await ada.post(f"/accounts/{account.id}/enable")
    assert (await bob.sign_in("Bob")).path == "/me"


async def test_an_invitation_is_shown_once_and_makes_the_account_it_was_made_for(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")

    shown = await ada.post("/accounts", {"role": "reviewer"})
    again = await ada.get("/accounts")
    link = shown.secret.removeprefix(console.base)
    bob = await console.visitor().post(link, {"name": "Bob", "password": PASSWORD, "again": PASSWORD})

    assert 'id="secret"' not in again.text
    assert bob.path == "/me"
    assert [account.role for account in await console.desk.accounts.list()] == [Role.ADMIN, Role.REVIEWER]
    assert (await ada.post("/accounts", {"role": "god"})).status == 422


async def test_what_is_not_there_is_not_found(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")

    replies = [
        await ada.get("/accounts/none"),
        await ada.post("/accounts/none/disable"),
        await ada.post("/accounts/none/link"),
        await ada.get("/nowhere"),
    ]

    assert [reply.status for reply in replies] == [404] * 4


# ── one's own ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sessions_are_listed_and_ended_by_their_owner(console: ConsoleHarness) -> None:
    ada, account = await console.inside("Ada", Role.VIEWER)
    phone, lost = console.visitor(), console.visitor()
    for browser in (phone, lost):
        await browser.sign_in("Ada")
    sessions = await console.desk.sessions.list(account.id, console.clock.at, 1e6)

    page = await ada.get("/me")
    await phone.post("/me/sessions/end")

    assert page.text.count("End the session") == len(sessions) == 3
    assert page.text.count("this one") == 1
    assert [(await browser.get("/me")).path for browser in (ada, phone, lost)] == ["/login", "/me", "/login"]


async def test_nobody_ends_a_session_or_revokes_a_token_of_somebody_else(console: ConsoleHarness) -> None:
    ada, account = await console.inside("Ada")
    header = await console.token(account)
    eve, eves = await console.inside("Eve", Role.VIEWER)
    hers = await console.token(eves)
    ids = await _ids(console, account.id)

    tried = [
        await eve.post(f"/me/sessions/{ids['session']}/end"),
        await eve.post(f"/me/tokens/{ids['token']}/revoke"),
    ]
    called = [
        await console.api("DELETE", f"/me/sessions/{ids['session']}", hers),
        await console.api("DELETE", f"/me/tokens/{ids['token']}", hers),
        await console.api("GET", f"/accounts/{account.id}/sessions", hers),
        await console.api("DELETE", f"/accounts/{account.id}/sessions/{ids['session']}", hers),
        await console.api("DELETE", f"/accounts/{account.id}/tokens/{ids['token']}", hers),
    ]

    assert [reply.status for reply in tried] == [404, 404]
    assert [status for status, _ in called] == [404, 404, 403, 403, 403]
    assert (await ada.get("/me")).path == "/me"
    assert (await console.api("GET", "/me", header))[0] == 200


async def test_an_admin_ends_a_session_only_where_it_is(console: ConsoleHarness) -> None:
    ada, account = await console.inside("Ada")
    bob, bobs = await console.inside("Bob", Role.VIEWER)
    await console.token(bobs)
    ids = await _ids(console, bobs.id)

    wrong = await ada.post(f"/accounts/{account.id}/sessions/{ids['session']}/end")
    right = await ada.post(f"/accounts/{bobs.id}/sessions/{ids['session']}/end")

    assert (wrong.status, right.line) == (404, "The session was ended.")
    assert (await bob.get("/me")).path == "/login"


async def test_a_password_is_changed_by_who_knows_it_and_ends_the_other_sessions(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")
    other, new = console.visitor(), "three cats watch windows"
    await other.sign_in("Ada")

    wrong = await ada.post("/me/password", {"old": "not the right one", "new": new, "again": new})
    differ = await ada.post("/me/password", {"old": PASSWORD, "new": new, "again": new + "!"})
    short = await ada.post("/me/password", {"old": PASSWORD, "new": "short", "again": "short"})
    right = await ada.post("/me/password", {"old": PASSWORD, "new": new, "again": new})

    assert [reply.status for reply in (wrong, differ, short, right)] == [403, 422, 422, 200]
    assert "was changed" in right.line
    assert [(await browser.get("/me")).path for browser in (ada, other)] == ["/me", "/login"]
    assert (await console.visitor().sign_in("Ada", new)).path == "/accounts"


async def test_an_open_browser_is_no_place_to_guess_the_password(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")
    new = {"new": "three cats watch windows", "again": "three cats watch windows"}

    tries = [await ada.post("/me/password", {"old": f"not the right one {n}", **new}) for n in range(7)]

    assert [reply.status for reply in tries] == [403] * 5 + [429] * 2


# ── the audit trail ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_every_change_stands_in_the_trail_with_who_did_it(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")
    _, bob = await console.inside("Bob", Role.VIEWER)
    await console.token(bob)
    ids = await _ids(console, bob.id)

    for path in CHANGES:
        await ada.post(path.format(**ids), {"role": "reviewer"})
    page = await ada.get("/audit")

    rows = re.findall(
        r"<tr>\s*<td>(\d+)</td>.*?<bdi>(.*?)</bdi>.*?>([\w.]+)</td>\s*<td><bdi[^>]*>(.*?)</bdi>", page.text, re.DOTALL
    )
    told = [f"{who} {what} {whom.partition(':')[0]}" for _, who, what, whom in reversed(rows)]
    assert told == [
        "command line account.added Ada",
        "Ada session.begun Ada",
        "command line account.added Bob",
        "Bob session.begun Bob",
        "Bob token.made Bob",
        "Ada link.made link",
        "Ada account.role Bob",
        "Ada account.disabled Bob",
        "Ada account.enabled Bob",
        "Ada link.made Bob",
    ]


async def test_the_trail_is_read_page_by_page_and_by_filter(console: ConsoleHarness) -> None:
    ada, account = await console.inside("Ada")
    for number in range(120):
        await console.desk.trail.append(Note(account.id, f"test.{number % 2}", "thing"))

    first = await ada.get("/audit?action=test.1&actor=Ada")
    assert first.text.count("<tr>") == 51
    [older] = re.findall(r'href="([^"]+)" rel="next"', first.text)
    second = await ada.get(console.base.removesuffix("/console") + older.replace("&amp;", "&"))

    assert second.text.count("<tr>") == 11
    assert 'rel="next"' not in second.text
    nothing = await ada.get("/audit?subject=nobody&before=x")
    assert "Nothing was noted that fits" in nothing.text


async def test_a_tampered_row_is_named_on_the_page_and_by_the_api(console: ConsoleHarness, sql: AsyncEngine) -> None:
    ada, account = await console.inside("Ada")
    header = await console.token(account)
    whole = await ada.get("/audit/verify")
    trigger = "audit_event_no_update" if sql.dialect.name == "sqlite" else "audit_event_kept ON audit_event"
    async with sql.begin() as connection:
        await connection.execute(text(f"DROP TRIGGER {trigger}"))
        await connection.execute(text("UPDATE audit_event SET actor = 'nobody' WHERE seq = 2"))

    broken = await ada.get("/audit/verify")
    status, verdict = await console.api("GET", "/audit/verdict", header)

    assert "The chain is whole: 3 entries." in whole.text
    assert "Entry 2 is broken: it was changed after it was written." in broken.text
    assert (status, verdict["whole"], verdict["broken_seq"]) == (200, False, 2)


async def test_html_in_names_is_shown_as_text(console: ConsoleHarness) -> None:
    ada, account = await console.inside("Ada")
    _, eve = await console.inside(ATTACK, Role.VIEWER)
    browser = console.visitor()
    await browser.post(
        "/login", {"name": ATTACK, "password": PASSWORD}, {"Sec-Fetch-Site": "same-origin", "User-Agent": ATTACK}
    )
    await ada.post("/me/tokens", {"name": ATTACK, "role": "viewer", "days": "1"})
    await console.desk.trail.append(Note(ATTACK, ATTACK, ATTACK, {ATTACK: ATTACK}))

    pages = [
        await ada.get(path)
        for path in (
            "/accounts",
            f"/accounts/{eve.id}",
            f"/accounts/{account.id}",
            "/me",
            "/audit",
            f"/audit?actor={ATTACK}",
        )
    ]
    pages.append(await console.visitor().sign_in(ATTACK, "x"))
    pages.append(await browser.get("/me"))

    for page in pages:
        assert "<img" not in page.text
        assert "&lt;img src=x onerror=alert(1)&gt;" in page.text


# ── the API ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_is_made_on_the_page_used_and_revoked(console: ConsoleHarness) -> None:
    ada, _ = await console.inside("Ada")

    made = await ada.post("/me/tokens", {"name": "nightly", "role": "viewer", "days": "30"})
    header = {"Authorization": f"Bearer {made.secret}"}
    status, me = await console.api("GET", "/me", header)
    _, [token] = await console.api("GET", "/me/tokens", header)
    await ada.post(f"/me/tokens/{token['id']}/revoke")

    assert made.secret.startswith("parley_")
    assert (status, me["name"]) == (200, "Ada")
    assert (token["name"], token["role"]) == ("nightly", "viewer")
    assert (await console.api("GET", "/me", header))[0] == 401


async def test_a_token_allows_what_its_own_role_allows_and_no_more(console: ConsoleHarness) -> None:
    ada, account = await console.inside("Ada")
    _, viewer = await console.inside("Bob", Role.VIEWER)
    small, large = await console.token(account, Role.VIEWER), await console.token(viewer, Role.ADMIN)

    statuses = [
        (await console.api("GET", "/accounts", header))[0]
        for header in (small, large, await console.token(account), {}, {"Authorization": "Bearer wrong"})
    ]
    raised = [
        (await console.api("POST", "/me/tokens", header, json={"name": "x", "role": "admin"}))[0]
        for header in (small, large)
    ]
    by_cookie = await ada.send("GET", "/api/v1/accounts")

    assert statuses == [403, 403, 200, 401, 401]
    assert raised == [403, 403]
    assert by_cookie.status == 401
    assert (await ada.post("/me/tokens", {"name": "x", "role": "god", "days": "1"})).status == 422
    assert (await ada.post("/me/tokens", {"name": "x", "role": "viewer", "days": "0"})).status == 422


async def test_a_reviewer_cannot_make_a_token_of_an_admin(console: ConsoleHarness) -> None:
    bob, account = await console.inside("Bob", Role.REVIEWER)

    reply = await bob.post("/me/tokens", {"name": "x", "role": "admin", "days": "1"})

    assert (reply.status, "more than your own" in reply.line) == (403, True)
    assert await console.desk.tokens.list(account.id, console.clock.at) == []


async def test_what_the_pages_do_the_api_does_too(console: ConsoleHarness) -> None:
    _, ada = await console.inside("Ada")
    bob, bobs = await console.inside("Bob", Role.VIEWER)
    await console.token(bobs)
    ids, header = await _ids(console, bobs.id), await console.token(ada)

    made = [
        await console.api("POST", "/invitations", header, json={"role": "viewer"}),
        await console.api("POST", f"/accounts/{bobs.id}/password-links", header),
        await console.api("POST", "/me/tokens", header, json={"name": "second", "role": "viewer", "days": 2}),
    ]
    changed = await console.api("PUT", f"/accounts/{bobs.id}/role", header, json={"role": "reviewer"})
    shown = [await console.api("GET", f"/accounts/{bobs.id}/{what}", header) for what in ("sessions", "tokens")]
    ended = [
        await console.api("DELETE", f"/accounts/{bobs.id}/sessions/{ids['session']}", header),
        await console.api("DELETE", f"/accounts/{bobs.id}/tokens/{ids['token']}", header),
    ]
    out = await console.api("PUT", f"/accounts/{bobs.id}/active", header, json={"active": False})
    last = await console.api("PUT", f"/accounts/{ada.id}/active", header, json={"active": False})

    assert [status for status, _ in (*made, changed, *shown, *ended, out, last)] == [201] * 3 + [200] * 3 + [
        204
    ] * 2 + [200, 409]
    assert changed[1]["role"] == "reviewer"
    assert [len(body) for _, body in shown] == [1, 1]
    assert made[0][1]["path"].startswith("/console/link/")
    assert out[1]["active"] is False
    assert (await bob.get("/me")).path == "/login"


async def test_the_audit_trail_by_api_can_be_verified_by_whoever_reads_it(console: ConsoleHarness) -> None:
    _, ada = await console.inside("Ada")
    header = await console.token(ada)

    _, first = await console.api("GET", "/audit?limit=2", header)
    _, rest = await console.api("GET", f"/audit?before={first[-1]['seq']}", header)
    _, verdict = await console.api("GET", "/audit/verdict", header)

    walk = Walk()
    for entry in reversed([*first, *rest]):
        del entry["at"]
        assert walk.step(Entry(**entry)) is None
    assert str(walk.head) == verdict["head"]


async def test_the_api_is_described(console: ConsoleHarness) -> None:
    status, described = await console.api("GET", "/openapi.json", {})

    assert status == 200
    assert described["components"]["securitySchemes"]
    assert {"/me", "/accounts", "/audit", "/audit/verdict"} <= set(described["paths"])
    assert all("security" in action for path in described["paths"].values() for action in path.values())
    odd = [
        await console.api("GET", "/audit?limit=0", await console.token((await console.inside("Ada"))[1])),
        await console.api("GET", "/nowhere", {}),
    ]
    assert [found[0] for found in odd] == [422, 404]
