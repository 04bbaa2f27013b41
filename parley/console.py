"""Puts the console together, and serves it beside the web page on one port: each knows nothing of the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.responses import RedirectResponse

from admin.app import console_app
from admin.desk import Desk
from admin.passwords import Passwords
from admin.provider import Kind, Provider, ProviderSettings
from admin.shell import BASE
from admin.tokens import make_link
from core.loop.audit import COMMAND_LINE
from core.loop.people import Role
from parley.compose import secret
from parley.settings import WEB_HOST, Settings
from storage.accounts import SqlAccounts, SqlLinks
from storage.audit import SqlTrail
from storage.engine import open_engine
from storage.sessions import SqlSessions, SqlThrottle, SqlTokens

_LABELS: dict[Kind, str] = {"slack": "Sign in with Slack", "discord": "Sign in with Discord", "oidc": "Single sign-on"}


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """What the console works with. The database is connected to at the first request, so it may come later."""
    engine = open_engine(settings.ledger_url)
    try:
        yield Desk(
            SqlAccounts(engine),
            SqlSessions(engine),
            SqlTokens(engine),
            SqlLinks(engine),
            SqlTrail(engine),
            SqlThrottle(engine),
            Passwords(),
            provider_of(settings),
        )
    finally:
        await engine.dispose()


def provider_of(settings: Settings) -> Provider | None:
    """The provider that CONSOLE_OIDC_ISSUER names."""
    if settings.console_oidc_issuer is None:
        return None
    kind = kind_of(settings.console_oidc_issuer)
    return Provider(
        ProviderSettings(
            kind,
            settings.console_oidc_issuer,
            settings.console_oidc_client_id,
            secret(settings.console_oidc_client_secret),
            settings.console_oidc_name or _LABELS[kind],
            settings.console_oidc_team,
            Role(settings.console_oidc_role) if settings.console_oidc_role else None,
        )
    )


def kind_of(issuer: str) -> Kind:
    """Slack and Discord are known by their address; everybody else follows the standard."""
    kinds: dict[str | None, Kind] = {"slack.com": "slack", "discord.com": "discord"}
    return kinds.get(urlsplit(issuer).hostname, "oidc")


def beside(page: FastAPI, desk: Desk, settings: Settings) -> FastAPI:
    """The web page with the console below BASE; `state.stopping` stays the page's."""
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    outer.state.stopping = page.state.stopping

    async def to_console() -> RedirectResponse:
        return RedirectResponse(f"{BASE}/", 303)

    outer.add_api_route(BASE, to_console, methods=["GET"], response_model=None)
    outer.mount(BASE, console_app(desk, hosts=settings.hosts))
    outer.mount("/", page)
    return outer


async def first_link(settings: Settings) -> str:
    """The address of the one-time link to the first admin's account; "" once there is one.

    Raises:
        StoreUnavailable: the database cannot be used.
    """
    async with open_desk(settings) as desk:
        if await desk.accounts.has_admin():
            return ""
        made = await make_link(desk, COMMAND_LINE, Role.ADMIN, first=True)
    return f"http://{WEB_HOST}:{settings.parley_port}{BASE}/link/{made}"
