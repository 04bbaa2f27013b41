"""Signing in through a provider: a real one in the small, on loopback; as Slack; as Discord; and forged answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import RSAKey
from sqlalchemy.ext.asyncio import AsyncEngine

from admin.pages.entry import NOBODY, OUT_OF_DATE
from admin.provider import Kind
from core.loop.people import Identity, Role
from tests.support.console_harness import PASSWORD, ConsoleHarness, Reply, Visitor, console_harness
from tests.support.fake_provider import FakeProvider

OUT = "/login/provider"


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


def console_with(
    sql: AsyncEngine, provider: FakeProvider, kind: Kind = "oidc", team: str = "", role: Role | None = None
) -> AbstractAsyncContextManager[ConsoleHarness]:
    return console_harness(sql, provider.settings(kind, team, role))


async def come_in(visitor: Visitor, path: str = OUT) -> Reply:
    """Goes to the provider and comes back, as the browser does."""
    return await visitor.get(path)


async def test_a_link_ties_the_login_and_from_then_on_it_opens_the_account(
    sql: AsyncEngine, provider: FakeProvider
) -> None:
    async with console_with(sql, provider) as console:
        stranger = await come_in(console.visitor())
        link = (await console.link(Role.REVIEWER)).removeprefix("/link/")
        ada = await come_in(console.visitor(), f"{OUT}?link={link}")
        again = await come_in(console.visitor())
        used = await come_in(console.visitor(), f"{OUT}?link={link}")

        assert (stranger.status, stranger.line) == (403, NOBODY)
        assert (ada.path, again.path, used.status) == ("/me", "/me", 404)
        [account] = await console.desk.accounts.list()
        assert (account.name, account.role, account.provider) == ("Ada", Role.REVIEWER, provider.url)
        assert (await console.visitor().sign_in("Ada", "")).status == 403  # without a password there is none to guess


async def test_whoever_the_provider_lets_in_gets_the_role_that_is_set(sql: AsyncEngine, provider: FakeProvider) -> None:
    async with console_with(sql, provider, role=Role.VIEWER) as console:
        await console.account("Ada")

        replies = [await come_in(console.visitor()), await come_in(console.visitor())]

        assert [reply.path for reply in replies] == ["/me", "/me"]
        names = [(account.name, account.role) for account in await console.desk.accounts.list()]
        assert names == [("Ada", Role.ADMIN), ("Ada 2", Role.VIEWER)]


async def test_a_disabled_account_is_not_opened_by_its_login(sql: AsyncEngine, provider: FakeProvider) -> None:
    async with console_with(sql, provider, role=Role.VIEWER) as console:
        ada = await console.account("Boss")
        await come_in(console.visitor())
        [_, account] = sorted(await console.desk.accounts.list(), key=lambda each: each.provider)
        await console.desk.accounts.set_active(account.id, ada.id, active=False)

        assert (await come_in(console.visitor())).status == 403


@pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"]])
async def test_the_secret_is_sent_as_the_provider_likes_it(
    sql: AsyncEngine, provider: FakeProvider, methods: list[str]
) -> None:
    provider.methods = methods
    async with console_with(sql, provider, role=Role.VIEWER) as console:
        assert (await come_in(console.visitor())).path == "/me"


async def test_the_session_is_new_after_a_login_through_the_provider(sql: AsyncEngine, provider: FakeProvider) -> None:
    async with console_with(sql, provider, role=Role.VIEWER) as console:
        ada = console.visitor()
        ada.give_cookie("console", "a" * 43)

        await come_in(ada)

        assert ada.cookie() != "a" * 43
        assert ada.cookie("console-signin") == ""


# ── forged ──────────────────────────────────────────────────────────────────────────────────────────────────────────

FORGED: list[dict[str, Any]] = [
    {"aud": "another-client"},
    {"aud": "another-client", "azp": "parley-console"},
    {"aud": ["parley-console", "another-client"], "azp": "another-client"},
    {"iss": "https://evil.example"},
    {"exp": 1_000_000_000},
    {"nonce": "another"},
    {"nonce": None},
    {"sub": None},
    {"exp": None},
]


@pytest.mark.parametrize("claims", FORGED, ids=str)
async def test_an_id_token_that_is_not_for_us_and_now_opens_nothing(
    sql: AsyncEngine, provider: FakeProvider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    async with console_with(sql, provider, role=Role.ADMIN) as console:
        reply = await come_in(console.visitor())

        assert reply.status == 502
        assert await console.desk.accounts.list() == []


async def test_an_id_token_that_somebody_else_signed_opens_nothing(sql: AsyncEngine, provider: FakeProvider) -> None:
    async with console_with(sql, provider, role=Role.ADMIN) as console:
        provider.signing_key = RSAKey.generate_key(2048, parameters={"kid": "k1"})
        foreign = await come_in(console.visitor())
        provider.algorithm = "HS256"
        shared = await come_in(console.visitor())
        provider.algorithm = "none"
        unsigned = await come_in(console.visitor())

        assert [reply.status for reply in (foreign, shared, unsigned)] == [502] * 3
        assert await console.desk.accounts.list() == []


async def test_a_discovery_document_of_another_issuer_is_not_followed(sql: AsyncEngine, provider: FakeProvider) -> None:
    provider.issuer_said = "https://evil.example"
    async with console_with(sql, provider, role=Role.ADMIN) as console:
        assert (await come_in(console.visitor())).status == 502


async def test_an_answer_to_another_browser_is_refused(sql: AsyncEngine, provider: FakeProvider) -> None:
    async with console_with(sql, provider, role=Role.ADMIN) as console:
        eve, ada = console.visitor(), console.visitor()
        away = await eve.get(OUT, follow=False)
        back = await eve.get(away.headers["Location"], follow=False)
        lured = urlsplit(back.headers["Location"])

        without = await ada.get(f"/login/callback?{lured.query}")
        await ada.get(OUT, follow=False)
        other_state = await ada.get(f"/login/callback?{lured.query}")

        assert [(reply.status, reply.line) for reply in (without, other_state)] == [(400, OUT_OF_DATE)] * 2
        assert await console.desk.accounts.list() == []


async def test_a_code_works_once_and_a_refusal_is_said(sql: AsyncEngine, provider: FakeProvider) -> None:
    async with console_with(sql, provider, role=Role.VIEWER) as console:
        ada = console.visitor()
        away = await ada.get(OUT, follow=False)
        kept = ada.cookie("console-signin")
        back = await ada.get(away.headers["Location"], follow=False)
        query = urlsplit(back.headers["Location"]).query

        first = await ada.get(f"/login/callback?{query}")
        ada.give_cookie("console-signin", kept.strip('"').encode().decode("unicode_escape"))
        again = await ada.get(f"/login/callback?{query}")
        state = query.partition("state=")[2]
        refused = await ada.get(f"/login/callback?error=access_denied&state={state}")

        assert first.path == "/me"
        assert (again.status, refused.status) == (502, 502)


async def test_without_a_provider_there_is_no_way_to_one(sql: AsyncEngine) -> None:
    async with console_harness(sql) as console:
        assert [(await console.visitor().get(path)).status for path in (OUT, "/login/callback?state=")] == [404, 404]
        assert "Single sign-on" not in (await console.visitor().get("/login")).text


# ── Slack and Discord ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_slack_is_keyed_on_team_and_user(sql: AsyncEngine, provider: FakeProvider) -> None:
    async with console_with(sql, provider, "slack", "T1", Role.VIEWER) as console:
        away = await console.visitor().get(OUT, follow=False)
        ours = await come_in(console.visitor())
        provider.team = "T2"
        theirs = await come_in(console.visitor())
        provider.claims = {"https://slack.com/team_id": None}
        teamless = await come_in(console.visitor())

        assert "team=T1" in away.headers["Location"]
        assert (ours.path, theirs.status, teamless.status) == ("/me", 502, 502)
        assert "another team" in theirs.line
        found = await console.desk.accounts.of_identity(Identity(provider.url, "T1:42", ""), None, "")
        assert found is not None


async def test_discord_is_asked_who_it_is_and_in_which_server(sql: AsyncEngine, provider: FakeProvider) -> None:
    async with console_with(sql, provider, "discord", "G1", Role.VIEWER) as console:
        away = await console.visitor().get(OUT, follow=False)
        ours = await come_in(console.visitor())
        provider.guilds, provider.user = ["G2"], "43"
        theirs = await come_in(console.visitor())

        assert "scope=identify+guilds" in away.headers["Location"]
        assert (ours.path, theirs.status) == ("/me", 502)
        assert "another team" in theirs.line
        assert [account.name for account in await console.desk.accounts.list()] == ["Ada"]


async def test_a_provider_that_is_away_leaves_the_password(sql: AsyncEngine) -> None:
    async with FakeProvider() as gone:
        settings = gone.settings()
    async with console_harness(sql, settings) as console:
        await console.account("Ada")

        reply = await come_in(console.visitor())

        assert (reply.status, "try again" in reply.line) == (502, True)
        assert (await console.visitor().sign_in("Ada", PASSWORD)).path == "/accounts"
