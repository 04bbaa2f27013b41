"""A real headless Chromium for tests, driven by Playwright."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.chromium import REMEDY, find_chromium

# Quiet: nothing but the page under test may go over the network.
_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
TIMEOUT_MS = 15_000


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser for the block. Raises RuntimeError when none is installed."""
    path = find_chromium()
    if path is None:
        raise RuntimeError(REMEDY)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_ARGS)
        expect.set_options(timeout=TIMEOUT_MS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_of(
    browser: Browser,
    *,
    width: int = 1100,
    height: int = 800,
    dark: bool = False,
    script: bool = True,
    still: bool = False,
    complaints: list[str] | None = None,
) -> AsyncIterator[Page]:
    """A page of a person of its own (a fresh cookie jar). Console errors and page errors join `complaints`."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce" if still else "no-preference",
        java_script_enabled=script,
    )
    context.set_default_timeout(TIMEOUT_MS)
    page = await context.new_page()
    if complaints is not None:
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
