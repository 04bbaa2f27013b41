"""The page in a real browser, against the real app and core's real worker, with a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from bots.web.app import web_app
from bots.web.courier import FeedCourier
from core.chat import lines
from core.chat.intake import MailboxIntake
from core.chat.interaction import PromptMessage, Sampling
from core.chat.kit import Answerer
from core.chat.logbook import LogWriter
from core.chat.persona import Persona
from core.chat.ports import FeedEvent
from core.chat.worker import Pace, Worker
from core.loop.listening import Listener
from tests.support.browser import chromium, page_of
from tests.support.memory_store import MemoryFeed, MemoryLedger, MemoryStore
from tests.support.scripted_host import ScriptedHost
from tests.support.web_harness import serving

SCREENSHOTS = Path(__file__).parents[2] / "var" / "screenshots"
ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\n\u202etxet desrever"
RICH = """The **mailbox** keeps each message until it is answered:

1. a gateway hands the message over,
2. a worker takes it with a *fencing token*,
3. the answer and the history are written in one step.

```python
async def accept(message: Message) -> Acceptance:
    return await mailbox.accept(message)
```

| fault | lost | doubled |
|---|--:|--:|
| worker killed | 0 | 0 |
| Redis away for 20 s | 0 | 0 |

> Nothing is acknowledged before it is on disk.

See [the log](https://example.org/log) for `turn_id`."""


class Bot:
    """A worker with a scripted model. While the gate is closed each piece of an answer waits for `let_pass`."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.feed = MemoryFeed()
        self.host = ScriptedHost(reply=self._reply)
        self.reply = ""
        self.complaints: list[str] = []
        self.url = ""

    def close_gate(self) -> None:
        self.host.gate = asyncio.Semaphore(0)

    def let_pass(self, pieces: int) -> None:
        assert self.host.gate is not None
        for _ in range(pieces):
            self.host.gate.release()

    def _reply(self, messages: Sequence[PromptMessage]) -> list[str]:
        text = self.reply or f"You said: {messages[-1].content}"
        return [piece + (" " if number < text.count(" ") else "") for number, piece in enumerate(text.split(" "))]

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[None]:
        courier = FeedCourier("web", self.feed)
        ledger = MemoryLedger()
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=100, seed=0)
        kit = Answerer(self.host, {"web": courier}, Persona(), sampling, "worker-1")
        stopping = asyncio.Event()
        worker = Worker(self.store, kit, stopping, Pace(take_wait_s=0.05, retry_s=0.01, drain_s=1.0))
        intake = MailboxIntake(self.store, courier)
        listener = Listener("web", self.store, ledger, intake)
        app = web_app(intake, self.store, self.store, self.feed, listener=listener)
        writer = LogWriter(self.store, ledger, "writer-1", stopping, wait_s=0.05)
        async with asyncio.TaskGroup() as group, serving(app, port) as self.url:
            group.create_task(worker.run())
            group.create_task(writer.run())
            try:
                yield
            finally:
                stopping.set()


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


async def _ask(page: Page, question: str) -> None:
    """Types the question and sends it, with the keyboard alone."""
    await page.keyboard.type(question)
    await page.keyboard.press("Enter")


async def _see(page: Page, answer: str) -> None:
    await expect(page.locator(".exchange:not([data-awaited]) .answer").last).to_contain_text(answer)


async def test_a_question_asked_with_the_keyboard_is_seen_to_be_answered(bot: Bot, browser: Browser) -> None:
    bot.close_gate()
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        await expect(page.get_by_role("textbox")).to_be_focused()

        await _ask(page, "How are you?")
        await expect(page.locator(".question")).to_have_text("How are you?")
        await expect(page.locator(".thinking")).to_be_visible()
        bot.let_pass(2)
        await expect(page.locator(".answer")).to_have_text("You said:")
        await expect(page.locator(".thinking")).to_be_hidden()
        await expect(page.locator("#announce")).to_be_empty()
        bot.let_pass(10)

        await _see(page, "You said: How are you?")
        await expect(page.locator("#announce")).to_have_text("Parley: You said: How are you?")
        await expect(page.get_by_role("textbox")).to_have_value("")


async def test_a_new_line_does_not_send(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)

        await page.keyboard.type("one")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("two")
        await expect(page.locator(".exchange")).to_have_count(0)
        await page.keyboard.press("Enter")

        await _see(page, "You said: one\ntwo".replace("\n", " "))


async def test_a_reload_in_the_middle_of_an_answer_goes_on_with_it(bot: Bot, browser: Browser) -> None:
    bot.close_gate()
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        await _ask(page, "How are you?")
        bot.let_pass(2)
        await expect(page.locator(".answer")).to_have_text("You said:")

        await page.reload()

        await expect(page.locator(".question")).to_have_text("How are you?")
        await expect(page.locator(".answer")).to_have_text("You said:")
        bot.let_pass(10)
        await _see(page, "You said: How are you?")


async def test_an_answer_that_is_taken_back_disappears_and_stays_away(bot: Bot, browser: Browser) -> None:
    bot.close_gate()
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        await _ask(page, "How are you?")
        bot.let_pass(2)
        await expect(page.locator(".answer")).to_have_text("You said:")
        [(here, events)] = bot.feed.kept.items()

        await bot.feed.publish(here, FeedEvent("removed", events[0].turn_id))

        await expect(page.locator(".exchange")).to_have_count(0)
        await expect(page.get_by_role("button", name="Stop")).to_be_hidden()
        await page.reload()
        await expect(page.locator(".exchange")).to_have_count(0)


async def test_a_reload_keeps_the_history_in_its_order(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        await _ask(page, "One?")
        await _see(page, "You said: One?")
        await _ask(page, "Two?")
        await _see(page, "You said: Two?")

        await page.reload()

        await expect(page.locator(".question")).to_have_text(["One?", "Two?"])
        await expect(page.locator(".answer")).to_have_text(["You said: One?", "You said: Two?"])


@pytest.mark.parametrize("how", ["key", "button"])
async def test_an_answer_can_be_stopped(bot: Bot, browser: Browser, how: str) -> None:
    bot.close_gate()
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        await expect(page.get_by_role("button", name="Stop")).to_be_hidden()
        await _ask(page, "How are you?")
        bot.let_pass(2)
        await expect(page.locator(".answer")).to_have_text("You said:")

        if how == "key":
            await page.keyboard.press("Escape")
        else:
            await page.get_by_role("button", name="Stop").click()

        await _see(page, lines.STOPPED)
        await expect(page.get_by_role("button", name="Stop")).to_be_hidden()
        await expect(page.locator(".line")).to_be_empty()


async def test_a_reset_forgets_here_and_after_a_reload(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        await _ask(page, "One?")
        await _see(page, "You said: One?")

        await page.get_by_text("Forget", exact=True).click()
        await page.get_by_role("button", name="Forget it all").click()
        await expect(page.locator(".divider")).to_be_visible()
        await expect(page.locator(".exchange")).to_have_count(0)
        await expect(page.locator(".line")).to_have_text(lines.RESET)
        await page.reload()

        await expect(page.locator(".exchange")).to_have_count(0)
        await expect(page.locator(".greeting")).to_be_visible()


async def test_two_tabs_of_one_browser_show_the_same(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        other = await page.context.new_page()
        await other.goto(page.url)

        await page.bring_to_front()
        await page.get_by_role("textbox").fill("One?")
        await page.keyboard.press("Enter")

        await _see(page, "You said: One?")
        await _see(other, "You said: One?")
        await expect(other.locator(".question")).to_have_text(["One?"])


async def test_another_browser_is_another_person(bot: Bot, browser: Browser) -> None:
    complaints: list[str] = []
    async with page_of(browser, complaints=bot.complaints) as ada, page_of(browser, complaints=complaints) as bob:
        await ada.goto(bot.url)
        await _ask(ada, "One?")
        await _see(ada, "You said: One?")

        await bob.goto(bot.url)
        home = bob.url
        response = await bob.goto(ada.url)

        assert response is not None
        assert response.status == 404
        await expect(bob.get_by_text("There is no such conversation")).to_be_visible()
        assert home != ada.url
        await bob.get_by_role("link", name="To my conversations").click()
        await expect(bob.locator(".exchange")).to_have_count(0)


async def test_earlier_conversations_are_found_again(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        await _ask(page, "What is a fencing token?")
        await _see(page, "fencing token")
        first = page.url

        await page.get_by_role("button", name="New").click()
        await expect(page.locator(".greeting")).to_be_visible()
        assert page.url != first
        await page.get_by_text("Conversations", exact=True).click()
        await page.get_by_role("link", name="What is a fencing token?").click()

        await expect(page.locator(".question")).to_have_text("What is a fencing token?")
        assert page.url == first


async def test_what_looks_like_html_is_text(bot: Bot, browser: Browser) -> None:
    async with page_of(browser, complaints=bot.complaints) as page:
        await page.goto(bot.url)

        await page.get_by_role("textbox").fill(ATTACK)
        await page.keyboard.press("Enter")
        await _see(page, "<script>document.title='owned'</script>")
        await page.reload()
        await _see(page, "<script>document.title='owned'</script>")

        assert await page.locator("main img, main article script").count() == 0
        assert "owned" not in (await page.title()).split(" · ")[-1]
        await expect(page.locator(".question")).to_have_text(ATTACK)


async def test_the_page_works_without_javascript(bot: Bot, browser: Browser) -> None:
    bot.close_gate()
    async with page_of(browser, script=False) as page:
        await page.goto(bot.url)

        await page.get_by_role("textbox").fill("How are you?")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".question")).to_have_text("How are you?")
        bot.let_pass(10)
        await expect(page.locator(".answer")).to_have_text("You said: How are you?")
        await page.get_by_text("Forget", exact=True).click()
        await page.get_by_role("button", name="Forget it all").click()

        await expect(page.locator(".exchange")).to_have_count(0)


async def test_a_store_that_is_away_keeps_the_question_in_the_box(bot: Bot, browser: Browser) -> None:
    async with page_of(browser) as page:
        await page.goto(bot.url)
        bot.store.down = True
        await _ask(page, "How are you?")
        await expect(page.locator(".line")).to_contain_text("I cannot reach my memory right now")
        await expect(page.get_by_role("textbox")).to_have_value("How are you?")

        bot.store.down = False
        await page.keyboard.press("Enter")

        await _see(page, "You said: How are you?")
        await expect(page.locator(".line")).to_be_empty()


@pytest.mark.parametrize(
    ("name", "width", "dark"), [("wide", 1280, False), ("narrow", 360, False), ("dark", 1100, True)]
)
async def test_the_page_looks_well(bot: Bot, browser: Browser, name: str, width: int, dark: bool) -> None:  # noqa: FBT001
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    bot.reply = RICH
    async with page_of(browser, width=width, height=860, dark=dark, still=True, complaints=bot.complaints) as page:
        await page.goto(bot.url)
        await page.screenshot(path=SCREENSHOTS / f"page-{name}-empty.png")
        await _ask(page, "How does the mailbox make sure that nothing is lost?")
        await _see(page, "for turn_id")
        bot.close_gate()
        await _ask(page, "And in one sentence?")
        await expect(page.locator(".thinking").last).to_be_visible()

        await page.screenshot(path=SCREENSHOTS / f"page-{name}.png")
        await page.screenshot(path=SCREENSHOTS / f"page-{name}-full.png", full_page=True)
        await page.get_by_text("Conversations", exact=True).click()
        await page.screenshot(path=SCREENSHOTS / f"page-{name}-menu.png")

        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        bot.let_pass(1000)
