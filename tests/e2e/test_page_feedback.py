"""What people say of answers on the page, in a real browser, with the keyboard, with script and without."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.test_page import SCREENSHOTS, Bot
from tests.support.browser import chromium, page_of


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    bot = Bot()
    async with bot.running():
        yield bot
    assert bot.complaints == []


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


async def _answered(page: Page, bot: Bot, question: str = "How are you?") -> None:
    await page.goto(bot.url)
    await page.get_by_role("textbox", name="Your question").fill(question)
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".exchange:not([data-awaited]) .answer").last).to_contain_text("You said")


async def test_one_key_says_helpful_and_a_second_takes_it_back(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await _answered(page, bot)
        helpful = page.get_by_role("button", name="Helpful", exact=True)
        await helpful.focus()

        await page.keyboard.press("Enter")
        await expect(helpful).to_have_attribute("aria-pressed", "true")
        await expect(helpful).to_be_focused()
        await expect(page.get_by_role("status").filter(has_text="noted as helpful")).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(helpful).to_have_attribute("aria-pressed", "false")

        await page.get_by_role("button", name="Not helpful").click()
        await expect(page.get_by_role("button", name="Not helpful")).to_have_attribute("aria-pressed", "true")
        await page.reload()
        await expect(page.get_by_role("button", name="Not helpful")).to_have_attribute("aria-pressed", "true")
        await expect(helpful).to_have_attribute("aria-pressed", "false")


async def test_a_reason_and_a_better_answer_go_with_the_keyboard(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await _answered(page, bot)
        await page.locator("summary", has_text="Say more").focus()
        await page.keyboard.press("Enter")
        await page.get_by_label("What was wrong").select_option("wrong")
        await page.get_by_label("A better answer").fill("Fine, thank you.")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")

        await expect(page.get_by_role("button", name="Not helpful")).to_have_attribute("aria-pressed", "true")
        await expect(page.get_by_label("A better answer")).to_be_hidden()
        await expect(page.locator("summary", has_text="Say more")).to_be_focused()


async def test_another_answer_grows_where_the_first_one_was(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await _answered(page, bot)
        await page.get_by_role("button", name="Helpful", exact=True).click()
        await expect(page.get_by_role("button", name="Helpful", exact=True)).to_have_attribute("aria-pressed", "true")
        bot.reply = "Quite well."

        await page.get_by_role("button", name="Answer again").click()

        await expect(page.locator(".exchange:not([data-awaited]) .answer")).to_have_text("Quite well.")
        await expect(page.locator(".question")).to_have_count(1)
        await expect(page.get_by_role("button", name="Helpful", exact=True)).to_have_attribute("aria-pressed", "false")


async def test_why_is_shown_below_the_answer(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await _answered(page, bot)
        url = page.url

        await page.get_by_role("link", name="Why this answer").click()

        await expect(page.locator(".told")).to_contain_text("Model: scripted, version v1")
        assert page.url == url
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=SCREENSHOTS / "feedback-why.png")


async def test_all_of_it_works_without_script(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, script=False) as page:
        await page.goto(bot.url)
        await page.get_by_role("textbox", name="Your question").fill("How are you?")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".answer")).to_contain_text("You said")
        await page.get_by_role("button", name="Not helpful").click()
        await expect(page.get_by_role("button", name="Not helpful")).to_have_attribute("aria-pressed", "true")
        bot.reply = "Quite well."
        await page.get_by_role("button", name="Answer again").click()
        await expect(page.locator(".answer")).to_have_text("Quite well.")

        await page.get_by_role("link", name="Why this answer").click()

        await expect(page.get_by_role("listitem").first).to_have_text("Model: scripted, version v1")
        await page.get_by_role("link", name="Back to the answer").click()
        await expect(page.locator(".answer")).to_have_text("Quite well.")


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1100, True)])
async def test_the_controls_fit_and_are_seen(bot: Bot, browser: Browser, width: int, *, dark: bool) -> None:
    async with page_of(browser, width=width, height=900, dark=dark, still=True, complaints=bot.complaints) as page:
        await _answered(page, bot)
        await page.get_by_role("button", name="Helpful", exact=True).click()
        await expect(page.get_by_role("button", name="Helpful", exact=True)).to_have_attribute("aria-pressed", "true")
        await page.locator("summary", has_text="Say more").click()

        overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

        assert overflow == 0
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=SCREENSHOTS / f"feedback-{width}{'-dark' if dark else ''}.png")
