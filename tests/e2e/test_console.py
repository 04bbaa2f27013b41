"""The console in a real browser: login, accounts, sessions and audit trail, narrow and wide, light and dark."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy.ext.asyncio import AsyncEngine

from core.loop.people import Role
from tests.support.browser import chromium, page_of
from tests.support.console_harness import PASSWORD, ConsoleHarness, console_harness
from tests.support.fake_provider import FakeProvider

SCREENSHOTS = Path(__file__).parents[2] / "var" / "screenshots"
ATTACK = "<img src=x onerror=\"document.title='owned'\">"
LOOKS = [("narrow", 360, False), ("narrow-dark", 360, True), ("wide", 1280, False), ("wide-dark", 1280, True)]
CONTRAST = """
() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faint.push(`${element.tagName} ${element.textContent.trim().slice(0, 40)} ${ratio.toFixed(2)}`);
  }
  return faint;
}
"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def console(sql: AsyncEngine) -> AsyncIterator[ConsoleHarness]:
    async with FakeProvider() as provider, console_harness(sql, provider.settings()) as harness:
        yield harness


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's script, fetched from the npm registry for this run; "" where that cannot be reached."""
    npm = shutil.which("npm")
    if npm is None:
        return ""
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--no-save", "--ignore-scripts", "--prefix", str(folder), "axe-core@4"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return ""
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    return script.read_text() if done.returncode == 0 and script.exists() else ""


async def sign_in(page: Page, console: ConsoleHarness, name: str, password: str = PASSWORD) -> None:
    await page.goto(f"{console.base}/login")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


async def violations(page: Page, axe: str) -> list[str]:
    """What axe finds on the page; run through the debugger, for the page itself would not load a foreign script."""
    await page.evaluate(axe)
    found: dict[str, Any] = await page.evaluate("axe.run()")
    return [f"{rule['id']}: {node['html'][:120]}" for rule in found["violations"] for node in rule["nodes"]]


# ── what people do ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_signing_in_with_the_keyboard_alone_and_out_again(console: ConsoleHarness, browser: Browser) -> None:
    await console.account("Ada")
    complaints: list[str] = []
    async with page_of(browser, complaints=complaints) as page:
        await page.goto(f"{console.base}/audit")
        await expect(page.get_by_label("Name")).to_be_focused()
        await page.keyboard.type("Ada")
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")

        await expect(page.get_by_role("heading", level=1)).to_have_text("Audit trail")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        await page.get_by_role("button", name="Sign out").click()

        await expect(page.get_by_role("status")).to_have_text("You are signed out.")
    assert complaints == []


async def test_a_wrong_password_is_said_and_the_name_stays(console: ConsoleHarness, browser: Browser) -> None:
    await console.account("Ada")
    async with page_of(browser) as page:
        await sign_in(page, console, "Ada", "not the right one")

        await expect(page.get_by_role("alert")).to_have_text("Name or password is not right.")
        await expect(page.get_by_label("Name")).to_have_value("Ada")
        await expect(page.get_by_label("Password")).to_be_focused()


async def test_an_invited_person_comes_in_and_is_seen_by_the_admin(console: ConsoleHarness, browser: Browser) -> None:
    await console.account("Ada")
    async with page_of(browser) as ada, page_of(browser, script=False) as bob:
        await sign_in(ada, console, "Ada")
        await ada.get_by_label("Role").select_option("reviewer")
        await ada.get_by_role("button", name="Make a link").click()
        link = await ada.locator("#secret").inner_text()

        await bob.goto(link)
        await bob.get_by_label("Name").fill("Bob")
        await bob.get_by_label("New password").fill(PASSWORD)
        await bob.get_by_label("The same once more").fill(PASSWORD)
        await bob.get_by_role("button", name="Make the account").click()
        await expect(bob.get_by_role("heading", level=1)).to_have_text("My sessions")
        assert await bob.get_by_role("navigation", name="Console").get_by_role("link").all_inner_texts() == [
            "My sessions"
        ]

        await ada.get_by_role("link", name="Accounts").click()
        await ada.get_by_role("link", name="Bob").click()
        await ada.get_by_role("button", name="Disable the account").click()
        await expect(ada.get_by_role("status")).to_contain_text("was disabled")
        await bob.reload()
        await expect(bob.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_the_provider_opens_the_console_in_the_browser(console: ConsoleHarness, browser: Browser) -> None:
    async with page_of(browser) as page:
        await page.goto(console.base + await console.link(Role.REVIEWER))
        await page.get_by_role("link", name="Single sign-on").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("My sessions")

        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("link", name="Single sign-on").click()

        await expect(page.get_by_role("heading", level=1)).to_have_text("My sessions")
        await expect(page.locator(".who bdi")).to_have_text("Ada")


async def test_a_token_is_shown_once_and_times_are_the_readers_own(console: ConsoleHarness, browser: Browser) -> None:
    await console.account("Ada")
    complaints: list[str] = []
    async with page_of(browser, complaints=complaints) as page:
        await sign_in(page, console, "Ada")
        await page.get_by_role("link", name="My sessions").click()
        await expect(page.locator("time").first).not_to_contain_text("UTC")
        await page.get_by_label("Name of the token").fill("nightly")
        await page.get_by_role("button", name="Make a token").click()

        await expect(page.locator("#secret")).to_contain_text("parley_")
        await page.get_by_role("button", name="Revoke the token nightly").click()
        await expect(page.get_by_role("status")).to_have_text("The token was revoked.")
    assert complaints == []


async def test_a_form_on_another_site_cannot_act_with_our_cookie(console: ConsoleHarness, browser: Browser) -> None:
    await console.account("Ada")
    root = console.base.removesuffix("/console")
    async with page_of(browser) as page:
        await sign_in(page, console, "Ada")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Accounts")
        # "localhost" is another site than 127.0.0.1, and its page posts here.
        evil = root.replace("127.0.0.1", "localhost")
        form = f"<form method=post action={root}/console/accounts><input name=role value=admin><button>Win</button>"
        await page.route(f"{evil}/evil", lambda route: route.fulfill(content_type="text/html", body=form))
        await page.goto(f"{evil}/evil")
        await page.get_by_role("button", name="Win").click()

        await expect(page.get_by_text("did not come from the console's own page")).to_be_visible()


async def test_html_in_a_name_stays_text(console: ConsoleHarness, browser: Browser) -> None:
    _, eve = await console.inside(ATTACK, Role.VIEWER)
    await console.account("Ada")
    async with page_of(browser) as page:
        await sign_in(page, console, "Ada")
        for path in ("/accounts", f"/accounts/{eve.id}", "/audit"):
            await page.goto(console.base + path)
            await expect(page.get_by_text(ATTACK).first).to_be_visible()
            assert await page.title() != "owned"
            assert await page.locator("img").count() == 0


# ── how it looks ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "width", "dark"), LOOKS)
async def test_every_page_fits_is_readable_and_named(
    console: ConsoleHarness,
    browser: Browser,
    axe: str,
    name: str,
    width: int,
    dark: bool,  # noqa: FBT001
) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    _, bob = await console.inside("Bartholomew of the Long Name", Role.REVIEWER)
    await console.token(bob)
    ada = await console.account("Ada")
    await console.desk.accounts.set_active((await console.account("Cy", Role.TRAINER)).id, ada.id, active=False)
    invitation = await console.link(Role.ADMIN, first=False)
    async with page_of(browser, width=width, height=860, dark=dark, still=True) as page:

        async def look(what: str, path: str) -> None:
            if path:
                await page.goto(console.base + path)
            await page.screenshot(path=SCREENSHOTS / f"console-{what}-{name}.png", full_page=True)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what
            assert await page.evaluate(CONTRAST) == [], what
            if axe:
                assert await violations(page, axe) == [], what

        await look("login", "/login")
        await sign_in(page, console, "Ada", "wrong password")
        await look("login-wrong", "")
        await look("link", invitation)
        await sign_in(page, console, "Ada")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Accounts")
        await look("accounts", "")
        await page.get_by_role("button", name="Make a link").click()
        await expect(page.locator("#secret")).to_be_visible()
        await look("invitation", "")
        await look("account", f"/accounts/{bob.id}")
        await look("me", "/me")
        await look("audit", "/audit")
        await look("verified", "/audit/verify")
        await look("missing", "/nowhere")
