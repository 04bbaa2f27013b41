"""The console on a real socket and a real database, and people with browsers who visit it."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from admin.app import console_app
from admin.desk import Desk
from admin.passwords import Passwords
from admin.provider import Provider, ProviderSettings
from admin.shell import BASE
from admin.tokens import make_link, make_token
from core.loop.audit import COMMAND_LINE
from core.loop.people import Account, Role
from storage.accounts import SqlAccounts, SqlLinks
from storage.audit import SqlTrail
from storage.sessions import SqlSessions, SqlThrottle, SqlTokens
from tests.support.web_harness import TIMEOUT, serving

PASSWORD = "four horses pull barrels"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
NOW = 1_800_000_000.0


@dataclass
class Clock:
    at: float = NOW

    def __call__(self) -> float:
        return self.at


@dataclass(frozen=True)
class Reply:
    status: int
    path: str  # of the address that was reached in the end
    text: str
    headers: Mapping[str, str]
    cookies: Sequence[str]

    @property
    def line(self) -> str:
        """What the page says at its top."""
        found = re.search(r'<p class="line[^"]*" role="\w+" id="line">(.*?)</p>', self.text, re.DOTALL)
        return html.unescape(found[1]) if found else ""

    @property
    def secret(self) -> str:
        """What the page shows once."""
        found = re.search(r'<code id="secret"[^>]*>(.*?)</code>', self.text, re.DOTALL)
        assert found is not None, self.text
        return html.unescape(found[1])


@dataclass
class Visitor:
    """One browser."""

    session: aiohttp.ClientSession
    base: str

    async def get(self, path: str, headers: Mapping[str, str] | None = None, *, follow: bool = True) -> Reply:
        return await self.send("GET", path, follow=follow, headers=headers)

    async def post(
        self,
        path: str,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] = SAME_ORIGIN,
        *,
        follow: bool = True,
    ) -> Reply:
        """Posts a form as our own page does, unless the headers say otherwise."""
        return await self.send("POST", path, follow=follow, headers=headers, data=dict(fields or {}))

    async def send(self, method: str, path: str, *, follow: bool = False, **how: Any) -> Reply:
        address = self.base + path if path.startswith("/") else path
        async with self.session.request(method, address, allow_redirects=follow, **how) as response:
            text = await response.text()
            return Reply(
                response.status,
                response.url.path.removeprefix(BASE),
                text,
                response.headers,
                response.headers.getall("Set-Cookie", []),
            )

    async def sign_in(self, name: str, password: str = PASSWORD) -> Reply:
        return await self.post("/login", {"name": name, "password": password})

    def cookie(self, name: str = "console") -> str:
        return next((each.value for each in self.session.cookie_jar if each.key == name), "")

    def give_cookie(self, name: str, value: str) -> None:
        self.session.cookie_jar.update_cookies({name: value}, URL(self.base))


@dataclass
class ConsoleHarness:
    """The console at `base`; each visitor is a browser of its own."""

    base: str
    desk: Desk
    clock: Clock
    visitors: list[Visitor] = field(default_factory=list)

    def visitor(self) -> Visitor:
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=TIMEOUT)
        self.visitors.append(Visitor(session, self.base))
        return self.visitors[-1]

    async def account(self, name: str, role: Role = Role.ADMIN) -> Account:
        hashed = await self.desk.passwords.hash(PASSWORD)
        return await self.desk.accounts.add(name, role, hashed, COMMAND_LINE)

    async def inside(self, name: str, role: Role = Role.ADMIN) -> tuple[Visitor, Account]:
        """Somebody with a new account who has signed in."""
        account, visitor = await self.account(name, role), self.visitor()
        reply = await visitor.sign_in(name)
        assert reply.status == 200, reply.text
        return visitor, account

    async def link(self, role: Role, account_id: str = "", *, first: bool = False) -> str:
        return f"/link/{await make_link(self.desk, COMMAND_LINE, role, account_id, first=first)}"

    async def token(self, account: Account, role: Role | None = None) -> dict[str, str]:
        """The header with a new token of `account`."""
        secret, _ = await make_token(self.desk, account, Role.ADMIN, "script", (role or account.role).value, 10)
        return {"Authorization": f"Bearer {secret}"}

    async def api(self, method: str, path: str, header: Mapping[str, str], **how: Any) -> tuple[int, Any]:
        session = (self.visitors or [self.visitor()])[0].session
        async with session.request(method, f"{self.base}/api/v1{path}", headers=header, **how) as response:
            body = await response.read()
            return response.status, await response.json() if body else None


def desk_on(sql: AsyncEngine, clock: Clock, provider: ProviderSettings | None = None) -> Desk:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return Desk(
        SqlAccounts(sql, clock),
        SqlSessions(sql, clock),
        SqlTokens(sql, clock),
        SqlLinks(sql, clock),
        SqlTrail(sql, clock),
        SqlThrottle(sql),
        Passwords(cheap),
        Provider(provider) if provider else None,
        now=clock,
    )


@asynccontextmanager
async def console_harness(sql: AsyncEngine, provider: ProviderSettings | None = None) -> AsyncIterator[ConsoleHarness]:
    """The console, mounted where the composition mounts it."""
    clock = Clock()
    desk = desk_on(sql, clock, provider)
    outer = FastAPI(openapi_url=None)
    outer.state.stopping = asyncio.Event()
    outer.mount(BASE, console_app(desk, hosts=["console.example"]))
    async with serving(outer) as root:
        harness = ConsoleHarness(root + BASE, desk, clock)
        try:
            yield harness
        finally:
            for visitor in harness.visitors:
                await visitor.session.close()
