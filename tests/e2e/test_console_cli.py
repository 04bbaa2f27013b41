"""The console from the command line and beside the web page, in real processes, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import text

from core.loop.people import Role
from storage.engine import open_engine
from tests.support.console_harness import PASSWORD, SAME_ORIGIN
from tests.support.running import Home
from tests.support.stub_host import StubHost
from tests.support.valkey import ValkeyServer


@pytest.fixture
def home(tmp_path: Path, migrated_url: str) -> Home:
    return Home(tmp_path, {"DATABASE_URL": migrated_url})


async def test_accounts_are_made_shown_changed_and_disabled(home: Home) -> None:
    steps = [
        await home.run("admin", "add", "Ada", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n"),
        await home.run("admin", "add", "Bob", "--password-stdin", stdin=f"{PASSWORD}\n"),
        await home.run("admin", "role", "bob", "reviewer"),
        await home.run("admin", "disable", "Bob"),
    ]
    code, shown, _ = await home.run("admin", "list")

    assert [(step[0], step[1]) for step in steps] == [
        (0, "Ada may sign in as admin.\n"),
        (0, "Bob may sign in as viewer.\n"),
        (0, "Bob is reviewer.\n"),
        (0, "Bob is disabled.\n"),
    ]
    assert code == 0
    assert re.search(r"Ada\W+admin\W+active\W+password", shown)
    assert re.search(r"Bob\W+reviewer\W+disabled", shown)


async def test_what_is_refused_is_one_line_with_the_remedy(home: Home) -> None:
    await home.run("admin", "add", "Ada", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")

    refused = [
        await home.run("admin", "add", "Eve", "--password-stdin", stdin="short\n"),
        await home.run("admin", "add", "ada", "--password-stdin", stdin=f"{PASSWORD}\n"),
        await home.run("admin", "add", "Eve", stdin=f"{PASSWORD}\n"),
        await home.run("admin", "disable", "Ada"),
        await home.run("admin", "role", "Nobody", "admin"),
        await home.run("audit", "verify", "--head", "nonsense"),
    ]

    expected = ["12 to 256", "already", "--password-stdin", "only admin", "parley admin list", "is no head"]
    for (code, _, err), line in zip(refused, expected, strict=True):
        assert code == 78
        assert line in err
        assert len(err.splitlines()) == 1


async def test_verify_names_the_first_broken_link(home: Home, migrated_url: str) -> None:
    for name in ("Ada", "Bob", "Cy"):
        await home.run("admin", "add", name, "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    code, whole, _ = await home.run("audit", "verify")
    head = whole.split()[-1]

    engine = open_engine(migrated_url)
    triggers = ("no_update", "no_delete") if engine.dialect.name == "sqlite" else ("kept ON audit_event",)
    async with engine.begin() as connection:
        for trigger in triggers:
            await connection.execute(text(f"DROP TRIGGER audit_event_{trigger}"))
        await connection.execute(text("DELETE FROM audit_event WHERE seq = 3"))
    cut = await home.run("audit", "verify")
    noted = await home.run("audit", "verify", "--head", head)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE audit_event SET action = 'account.seen' WHERE seq = 1"))
    changed = await home.run("audit", "verify")
    await engine.dispose()

    assert (code, "3 entries" in whole) == (0, True)
    assert cut[0] == 0  # the end alone does not show it; the head that was noted does
    assert noted[0] == 1
    assert noted[1] == "Entry 3 of the audit trail is broken: it is missing; there were 3 entries before.\n"
    assert (changed[0], "Entry 1 of the audit trail is broken: it was changed" in changed[1]) == (1, True)


async def test_the_link_that_up_prints_makes_the_first_admin_beside_the_page(home: Home) -> None:
    async with StubHost("Hello.") as host:
        home.settings["MODEL_URL"] = host.url
        async with home.up() as up:
            await up.wait_for("/console/link/")
            link = next(line.strip() for line in up.said if "/console/link/" in line)
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(cookie_jar=jar) as browser:
                form = {"name": "Ada", "password": PASSWORD, "again": PASSWORD}
                async with browser.post(link, data=form, headers=SAME_ORIGIN) as response:
                    inside = (response.status, response.url.path)
                async with browser.get(f"{home.page}/console") as response:
                    console = (response.status, response.url.path)
                async with browser.get(home.page) as response:
                    page = await response.text()
                async with browser.get(f"{home.page}/console/static/console.css") as response:
                    style = (response.status, response.headers["Content-Security-Policy"][:18])
            code, listed, _ = await home.run("admin", "list")
            ended = await up.stop()
        logged = "".join(path.read_text() for path in (home.folder / "var" / "logs").glob("*.log"))
        async with home.up() as again:
            await again.wait_for("Ctrl+C")
            await again.stop()

    assert (inside, console) == ((200, "/console/accounts"), (200, "/console/accounts"))
    assert "What would you like to know?" in page
    assert style == (200, "default-src 'self'")
    assert (code, Role.ADMIN.value in listed, ended) == (0, True, 0)
    assert link.rpartition("/")[2] not in logged
    assert not any("/console/link/" in line for line in again.said)


async def test_a_database_that_is_away_closes_the_console_and_not_the_page(tmp_path: Path) -> None:
    home = Home(tmp_path, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    with ValkeyServer() as valkey:
        home.settings["REDIS_URL"] = valkey.url()
        bot = await home.spawn("bot")
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:

            async def status(path: str, cookie: str = "") -> int:
                headers = {"Cookie": cookie} if cookie else {}
                try:
                    async with browser.get(home.page + path, headers=headers) as response:
                        return response.status
                except aiohttp.ClientError:
                    return 0

            async with asyncio.timeout(60):
                while await status("/health") != 200:
                    await asyncio.sleep(0.05)
            seen = [await status("/"), await status("/console/me", "console=x")]
        bot.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(bot.wait(), 40)

    assert (seen, code) == ([200, 503], 0)
