"""What people say of answers on the page, over real HTTP and without script: own answers only, and it survives."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from bots.web.app import NOT_HERE
from bots.web.judging import BAD_FORM
from core.chat.interaction import Sampling
from core.chat.kit import Answerer
from core.chat.logbook import LogWriter
from core.chat.persona import Persona
from core.chat.worker import Pace, Worker
from core.loop import listening
from core.loop.feedback import Reason, Source, Verdict, last_words
from tests.support.memory_store import MemoryFeed, MemoryLedger, MemoryStore
from tests.support.scripted_host import ScriptedHost
from tests.support.web_harness import Person, WebHarness, web_harness

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10.0):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class House:
    """The page with core's worker and log writer behind it."""

    page: WebHarness
    store: MemoryStore
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    host: ScriptedHost = field(default_factory=ScriptedHost)

    async def asked(self, name: str, text: str) -> str:
        """`name` asks, and is answered; the native id of the question."""
        before = len(self.ledger.rows)
        native = await self.page.say_direct(name, text)
        await until(lambda: len(self.ledger.rows) > before)
        return native

    async def shown(self, name: str) -> str:
        """The page as `name` sees it when it is loaded anew."""
        person = await self.page.person(name)
        async with person.session.get(person.base) as response:
            assert response.status == 200
            return await response.text()

    async def send(self, name: str, path: str, **fields: str) -> tuple[int, str]:
        """A plain form; the status and the text of the page that comes back, redirects followed."""
        person = await self.page.person(name)
        async with person.session.post(person.base + path, data=fields, headers=SAME_ORIGIN) as response:
            return response.status, await response.text()

    async def judge(self, name: str, native: str, **fields: str) -> tuple[int, str]:
        return await self.send(name, f"/answers/{native}/feedback", id=secrets.token_hex(16), **fields)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    store, feed, ledger = MemoryStore(), MemoryFeed(), MemoryLedger()
    async with web_harness(store, feed, store, verdicts=store, log=ledger) as page:
        here = House(page, store, ledger)
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=100, seed=0)
        kit = Answerer(here.host, {"web": page.courier}, Persona(), sampling, "worker-1")
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(Worker(store, kit, stopping, Pace(take_wait_s=0.05)).run())
            group.create_task(LogWriter(store, ledger, "writer", stopping, wait_s=0.02).run())
            try:
                yield here
            finally:
                stopping.set()


def pressed(html: str) -> list[str]:
    """The verdicts whose buttons are pressed, in the order of the page."""
    return re.findall(r'data-verdict="(\w+)" aria-pressed="true"', html)


async def last_word(house: House, native: str) -> Verdict | None:
    rows = [row for row in house.ledger.rows.values() if row.turn_id.endswith(native)]
    said = last_words(await house.ledger.feedback_on(rows[0].turn_id))
    assert len(said) <= 1
    return next((each.verdict for each in said.values()), None)


async def test_a_verdict_without_script_leads_back_and_is_there_after_a_reload(house: House) -> None:
    native = await house.asked("ada", "hello")

    status, text = await house.judge("ada", native, verdict="helpful")

    assert (status, pressed(text)) == (200, ["helpful"])
    assert pressed(await house.shown("ada")) == ["helpful"]
    await until(lambda: len(house.ledger.feedback) == 1)
    [said] = house.ledger.feedback.values()
    assert (said.verdict, said.source, said.better) == (Verdict.HELPFUL, Source.PAGE, "")


async def test_people_change_their_minds_and_the_last_word_counts(house: House) -> None:
    native = await house.asked("ada", "hello")

    for number, verdict in enumerate(("helpful", "not_helpful", "taken_back", "helpful"), 1):
        await house.judge("ada", native, verdict=verdict)
        await until(lambda number=number: len(house.ledger.feedback) == number)  # type: ignore[misc]

    assert pressed(await house.shown("ada")) == ["helpful"]
    assert await last_word(house, native) is Verdict.HELPFUL


async def test_a_reason_and_a_better_answer_are_kept(house: House) -> None:
    native = await house.asked("ada", "hello")

    await house.judge(
        "ada", native, verdict="not_helpful", reason="wrong", note=" It is\r\nnot so. ", better="Say <b>hi</b>."
    )

    await until(lambda: len(house.ledger.feedback) == 1)
    [said] = house.ledger.feedback.values()
    assert (said.reason, said.note, said.better) == (Reason.WRONG, "It is\nnot so.", "Say <b>hi</b>.")


async def test_the_same_form_again_is_one_word(house: House) -> None:
    native = await house.asked("ada", "hello")
    person = await house.page.person("ada")

    for _ in range(3):
        await person.post(f"/answers/{native}/feedback", id="a" * 32, verdict="helpful")
    await person.post(f"/answers/{native}/feedback", id="b" * 32, verdict="not_helpful")

    await until(lambda: len(house.ledger.feedback) == 2)
    assert await last_word(house, native) is Verdict.NOT_HELPFUL


@pytest.mark.parametrize("fields", [{"verdict": "superb"}, {"verdict": "helpful", "reason": "mood"}, {}])
async def test_a_form_that_is_not_ours_is_refused(house: House, fields: dict[str, str]) -> None:
    native = await house.asked("ada", "hello")

    status, text = await house.judge("ada", native, **fields)

    assert (status, BAD_FORM in text) == (422, True)
    assert house.ledger.feedback == {}


@pytest.mark.parametrize("path", ["feedback", "again", "why"])
async def test_the_answer_of_another_browser_is_not_there(house: House, path: str) -> None:
    native = await house.asked("ada", "secret")
    ada, bob = await house.page.person("ada"), await house.page.person("bob")

    for base in (ada.base, bob.base):  # their conversation, and their answer under one's own
        address, form = f"{base}/answers/{native}/{path}", {"id": "c" * 32, "verdict": "helpful"}
        way = bob.session.get(address) if path == "why" else bob.session.post(address, data=form, headers=SAME_ORIGIN)
        async with way as response:
            text = await response.text()
            if base == ada.base:
                assert (response.status, NOT_HERE in text) == (404, True)
            else:
                assert listening.TOO_OLD in text

    assert house.ledger.feedback == {}
    assert len(house.host.prompts) == 1


async def test_a_verdict_from_another_site_is_refused(house: House) -> None:
    native = await house.asked("ada", "hello")
    ada = await house.page.person("ada")

    form = {"id": "d" * 32, "verdict": "helpful"}
    headers = {"Sec-Fetch-Site": "cross-site"}
    async with ada.session.post(f"{ada.base}/answers/{native}/feedback", data=form, headers=headers) as response:
        assert response.status == 403


# ── another answer ──────────────────────────────────────────────────────────────────────────────────────────────────


def rephrase(house: House) -> None:
    house.host.reply = lambda messages: [f"{messages[-1].content} ", f"({len(house.host.prompts)})"]


async def test_another_answer_grows_in_the_place_of_the_first_and_is_judged_by_itself(house: House) -> None:
    rephrase(house)
    native = await house.asked("ada", "one")
    await house.judge("ada", native, verdict="not_helpful")

    status, _ = await house.send("ada", f"/answers/{native}/again")
    await until(lambda: len(house.ledger.rows) == 2)
    text = await house.shown("ada")

    assert status == 200
    assert house.page.visible() == ["one (2)"]
    assert (text.count('class="exchange"'), pressed(text)) == (2, [])  # one is the script's template
    assert "one (2)" in text
    await house.judge("ada", native, verdict="helpful")
    await until(lambda: len(house.ledger.feedback) == 2)
    assert pressed(await house.shown("ada")) == ["helpful"]
    first, second = house.ledger.rows.values()
    assert second.replaces == first.turn_id
    assert [each.turn_id for each in house.ledger.feedback.values()] == [first.turn_id, second.turn_id]


async def test_without_script_the_page_waits_for_the_other_answer(house: House) -> None:
    rephrase(house)
    native = await house.asked("ada", "one")
    house.host.gate = asyncio.Semaphore(0)

    _, text = await house.send("ada", f"/answers/{native}/again")
    waiting = text.count("data-awaited")
    house.host.gate.release()
    house.host.gate.release()
    await until(lambda: len(house.ledger.rows) == 2)

    assert waiting == 2  # that answer, and the script's template
    assert 'http-equiv="refresh"' in text
    assert (await house.shown("ada")).count("data-awaited") == 1


async def test_after_the_conversation_was_forgotten_the_person_is_told(house: House) -> None:
    native = await house.asked("ada", "one")
    ada = await house.page.person("ada")
    await house.send("ada", "/reset", id="e" * 32)
    await until(lambda: any(kind == "reset" for kind, _ in ada.events))

    await house.send("ada", f"/answers/{native}/again")

    await until(lambda: any(kind == "kept" for kind, _ in ada.events))
    assert house.host.prompts[1:] == []


# ── why ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_why_is_a_page_and_lines_for_the_script(house: House) -> None:
    native = await house.asked("ada", "hello")
    ada = await house.page.person("ada")

    async with ada.session.get(f"{ada.base}/answers/{native}/why") as response:
        text = await response.text()
        assert response.headers["cache-control"] == "no-store"
    lines = await _lines(ada, native)

    assert "Model: scripted, version v1" in text
    assert lines[0] == "Model: scripted, version v1"
    assert lines[1].startswith("Persona: default, version ")


async def _lines(person: Person, native: str) -> list[str]:
    headers = {"Accept": "application/json"}
    async with person.session.get(f"{person.base}/answers/{native}/why", headers=headers) as response:
        found: list[str] = (await response.json())["lines"]
        return found


async def test_stores_that_are_away_are_a_line_and_the_page_goes_on(house: House) -> None:
    native = await house.asked("ada", "hello")
    ada = await house.page.person("ada")
    house.ledger.down = True
    assert await _lines(ada, native) == [listening.LOG_AWAY]
    house.ledger.down = False

    house.store.down = True
    status, reply = await ada.post(f"/answers/{native}/feedback", id="f" * 32, verdict="helpful")
    house.store.down = False

    assert (status, reply["line"]) == (503, listening.AWAY)
    assert pressed(await house.shown("ada")) == []
