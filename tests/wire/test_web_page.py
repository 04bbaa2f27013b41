"""The page's routes over real HTTP: who is who, what is taken, what is refused and how it is said."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from bots.web.app import AWAY, EMPTY, NOT_HERE, NOTHING_TO_STOP, SLOWLY, STOPPING
from core.chat import lines
from core.chat.limits import Limits
from core.chat.message import Conversation
from core.chat.ports import Bucket, Claim, Commit, FeedEvent
from tests.support.memory_store import MemoryFeed, MemoryStore
from tests.support.web_harness import WebHarness, web_harness

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(inbox_limit=2)


@pytest.fixture
def feed() -> MemoryFeed:
    return MemoryFeed()


@pytest.fixture
async def page(store: MemoryStore, feed: MemoryFeed) -> AsyncIterator[WebHarness]:
    async with web_harness(store, feed, store) as harness:
        yield harness


async def _questions(store: MemoryStore) -> list[str]:
    """All waiting questions of one conversation, taken out one by one."""
    texts = []
    claim = await store.take("test", 1.0)
    while claim and (mail := await store.head(claim)):
        texts.append(f"{mail.message.kind}: {mail.message.text}")
        await store.commit(claim, Commit(mail.message.id))
    return texts


async def _here(store: MemoryStore) -> Conversation:
    claim = await store.take("test", 1.0)
    assert isinstance(claim, Claim)
    return claim.conversation


async def _text(request: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> str:
    async with request as response:
        return await response.text()


# ── who is who ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_visit_makes_a_person_and_a_conversation(page: WebHarness) -> None:
    ada = await page.person("ada")

    async with ada.session.get(f"{page.base_url}/") as response:
        assert response.status == 200
        assert "/c/" in str(response.url)
        assert "What would you like to know?" in await response.text()


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(page: WebHarness) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{page.base_url}/", allow_redirects=False) as response,
    ):
        cookie = response.cookies["parley"]

    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert not cookie["secure"]
    assert int(cookie["max-age"]) == 365 * 24 * 3600


async def test_over_https_the_cookie_is_secure_and_bound_to_the_host(page: WebHarness) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{page.base_url}/", allow_redirects=False, headers={"X-Forwarded-Proto": "https"}) as response,
    ):
        cookie = response.cookies["__Host-parley"]

    assert cookie["secure"]
    assert cookie["path"] == "/"
    assert not cookie["domain"]


@pytest.mark.parametrize("path", ["", "/events"])
async def test_the_conversation_of_another_browser_is_not_there(page: WebHarness, path: str) -> None:
    ada, bob = await page.person("ada"), await page.person("bob")

    async with bob.session.get(ada.base + path) as response:
        status, text = response.status, await response.text()

    assert status == 404
    assert NOT_HERE in text


@pytest.mark.parametrize("path", ["/messages", "/stop", "/reset"])
async def test_nobody_speaks_in_the_conversation_of_another_browser(
    page: WebHarness, store: MemoryStore, path: str
) -> None:
    ada, bob = await page.person("ada"), await page.person("bob")

    async with bob.session.post(
        ada.base + path, data={"id": secrets.token_hex(16), "text": "hello"}, headers=SAME_ORIGIN
    ) as response:
        status = response.status

    assert status == 404
    assert await store.take("test", 0.0) is None


async def test_two_conversations_of_one_browser_are_two(page: WebHarness, store: MemoryStore) -> None:
    ada = await page.person("ada")

    async with ada.session.post(f"{page.base_url}/c", headers=SAME_ORIGIN) as response:
        second = str(response.url)

    assert response.status == 200
    assert second != ada.base


async def test_the_newest_conversation_with_a_question_is_home(page: WebHarness) -> None:
    ada = await page.person("ada")
    async with ada.session.post(f"{page.base_url}/c", headers=SAME_ORIGIN):
        pass

    await page.say_direct("ada", "hello")

    async with ada.session.get(f"{page.base_url}/") as response:
        assert str(response.url) == ada.base


# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_question_is_taken_and_told_to_all_tabs(page: WebHarness, store: MemoryStore, feed: MemoryFeed) -> None:
    native = await page.say_direct("ada", "  How\r\nare\x00 you?  ")

    here = await _here(store)
    assert [(event.kind, event.text) for event in feed.kept[here]] == [("said", "How\nare you?")]
    assert feed.kept[here][0].turn_id == here.message_id(native)


async def test_a_double_submit_is_one_question(page: WebHarness, store: MemoryStore, feed: MemoryFeed) -> None:
    native = await page.say_direct("ada", "How are you?")

    status, reply = await page.redeliver(native)

    assert (status, reply["receipt"]) == (202, "duplicate")
    assert await _questions(store) == ["say: How are you?"]
    assert [len(events) for events in feed.kept.values()] == [1]


async def test_a_form_without_the_script_leads_back_to_the_page(page: WebHarness) -> None:
    ada = await page.person("ada")

    async with ada.session.post(
        f"{ada.base}/messages", data={"id": secrets.token_hex(16), "text": "Who are you?"}, headers=SAME_ORIGIN
    ) as response:
        text = await response.text()

    assert [step.status for step in response.history] == [303]
    assert "Who are you?" in text
    assert "Show the answer" in text
    assert 'http-equiv="refresh"' in text


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("", EMPTY),
        (" \n ", EMPTY),
        ("x" * 16_001, "Your question has 16,001 characters, and I can read 16,000. Please shorten it."),
    ],
)
async def test_a_question_that_cannot_be_taken_says_why(page: WebHarness, question: str, line: str) -> None:
    ada = await page.person("ada")

    status, reply = await ada.post("/messages", id=secrets.token_hex(16), text=question)

    assert (status, reply) == (422, {"line": line})


async def test_a_question_that_is_too_long_is_kept_in_the_box(page: WebHarness) -> None:
    ada = await page.person("ada")
    question = "é" * 16_001

    async with ada.session.post(
        f"{ada.base}/messages", data={"id": secrets.token_hex(16), "text": question}, headers=SAME_ORIGIN
    ) as response:
        text = await response.text()

    assert response.status == 422
    assert f"{question}</textarea>" in text


async def test_a_body_beyond_all_measure_is_refused_unread(page: WebHarness) -> None:
    ada = await page.person("ada")

    status, reply = await ada.post("/messages", id=secrets.token_hex(16), text="x" * 900_000)

    assert status == 413
    assert "far too long" in reply["line"]


async def test_a_store_that_is_away_keeps_the_question_in_the_box(page: WebHarness, store: MemoryStore) -> None:
    ada = await page.person("ada")
    store.down = True

    status, reply = await ada.post("/messages", id=secrets.token_hex(16), text="How are you?")
    async with ada.session.post(
        f"{ada.base}/messages", data={"id": secrets.token_hex(16), "text": "How are you?"}, headers=SAME_ORIGIN
    ) as response:
        text = await response.text()

    assert (status, reply) == (503, {"line": AWAY})
    assert response.status == 503
    assert AWAY in text
    assert "How are you?</textarea>" in text


async def test_a_page_whose_store_is_away_says_so(page: WebHarness, store: MemoryStore) -> None:
    ada = await page.person("ada")
    store.down = True

    async with ada.session.get(ada.base) as response:
        text = await response.text()

    assert response.status == 503
    assert "I cannot reach my memory right now" in text


async def test_a_full_inbox_says_busy_and_keeps_the_question(page: WebHarness, store: MemoryStore) -> None:
    await page.say_direct("ada", "One?")
    await page.say_direct("ada", "Two?")
    ada = await page.person("ada")

    status, reply = await ada.post("/messages", id=secrets.token_hex(16), text="Three?")
    async with ada.session.post(
        f"{ada.base}/messages", data={"id": secrets.token_hex(16), "text": "Three?"}, headers=SAME_ORIGIN
    ) as response:
        text = await response.text()

    assert (status, reply) == (429, {"line": lines.BUSY})
    assert response.status == 429
    assert "Three?</textarea>" in text


async def test_whoever_asks_too_much_is_told_so_and_keeps_the_question(store: MemoryStore, feed: MemoryFeed) -> None:
    async with web_harness(store, feed, store, Limits(_Spent())) as page:
        ada = await page.person("ada")

        async with ada.session.post(
            f"{ada.base}/messages", data={"id": secrets.token_hex(16), "text": "One more?"}, headers=SAME_ORIGIN
        ) as response:
            text = await response.text()
        by_script = await ada.post("/messages", id=secrets.token_hex(16), text="One more?")
        reset = await ada.post("/reset", id=secrets.token_hex(16))

    assert response.status == 429
    assert SLOWLY in text
    assert "One more?</textarea>" in text
    assert by_script == reset == (429, {"line": SLOWLY})
    assert await store.take("test", 0.0) is None


async def test_an_answer_that_was_taken_back_is_not_on_the_page_that_follows(
    page: WebHarness, store: MemoryStore
) -> None:
    await page.say_direct("ada", "One?")
    claim = await store.take("test", 1.0)
    assert claim is not None
    mail = await store.head(claim)
    assert mail is not None
    draft = page.courier.draft(mail.message, resumed=False)
    await draft.show("Fi")
    ada = await page.person("ada")
    before = await _text(ada.session.get(ada.base))

    await page.courier.retract(mail.message, await draft.leave())

    after = await _text(ada.session.get(ada.base))
    assert ("One?" in before, "<p>Fi</p>" in before, "Show the answer" in before) == (True, True, True)
    assert ("One?" in after, "<p>Fi</p>" in after, "Show the answer" in after) == (False, False, False)


# ── stop and reset ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_stop_reaches_the_answer_under_way(page: WebHarness, store: MemoryStore) -> None:
    await page.say_direct("ada", "One?")
    ada = await page.person("ada")

    status, reply = await ada.post("/stop")

    claim = await store.take("test", 1.0)
    assert claim is not None
    mail = await store.head(claim)
    assert mail is not None
    assert mail.stop_requested
    assert (status, reply["receipt"], reply["line"]) == (202, "stopping", STOPPING)


@pytest.mark.parametrize("path", ["/stop", "/messages"])
async def test_stop_without_an_answer_says_so(page: WebHarness, path: str) -> None:
    ada = await page.person("ada")

    status, reply = await ada.post(path, id=secrets.token_hex(16), text="/stop")

    assert (status, reply) == (409, {"line": NOTHING_TO_STOP})


async def test_reset_waits_its_turn(page: WebHarness, store: MemoryStore, feed: MemoryFeed) -> None:
    await page.say_direct("ada", "One?")
    ada = await page.person("ada")

    status, reply = await ada.post("/reset", id=secrets.token_hex(16))

    assert (status, reply["receipt"]) == (202, "accepted")
    assert await _questions(store) == ["say: One?", "reset: /reset"]
    assert [event.kind for events in feed.kept.values() for event in events] == ["said"]


async def test_a_reset_without_the_script_is_seen_on_the_page_that_follows(
    page: WebHarness, store: MemoryStore, feed: MemoryFeed
) -> None:
    await page.say_direct("ada", "One?")
    here = await _here(store)
    ada = await page.person("ada")
    native = secrets.token_hex(16)

    async with asyncio.TaskGroup() as group:
        form = ada.session.post(f"{ada.base}/reset", data={"id": native}, headers=SAME_ORIGIN)
        posting = group.create_task(_text(form))
        while here.message_id(native) not in store._seen:
            await asyncio.sleep(0.005)
        await feed.publish(here, FeedEvent("reset", here.message_id(native)))

    assert "One?" not in posting.result()


async def test_reset_typed_into_the_box_is_no_question(page: WebHarness, feed: MemoryFeed) -> None:
    await page.say_direct("ada", "/reset")

    assert feed.kept == {}


# ── the door ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "SELF"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
)
async def test_a_form_of_another_site_is_not_carried_out(
    page: WebHarness, store: MemoryStore, headers: dict[str, str]
) -> None:
    ada = await page.person("ada")
    headers = {name: page.base_url if value == "SELF" else value for name, value in headers.items()}

    async with ada.session.post(
        f"{ada.base}/messages", data={"id": secrets.token_hex(16), "text": "hello"}, headers=headers
    ) as response:
        status = response.status

    assert status == 403
    assert await store.take("test", 0.0) is None


async def test_the_origin_stands_in_where_a_browser_sends_no_fetch_metadata(page: WebHarness) -> None:
    ada = await page.person("ada")

    async with ada.session.post(
        f"{ada.base}/messages",
        data={"id": secrets.token_hex(16), "text": "hello"},
        headers={"Origin": page.base_url},
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("parley.localhost", 200),
        ("127.0.0.1", 200),
        ("192.168.1.7:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost@evil.example:x", 400),
        ("[", 400),
        ("", 400),
    ],
)
async def test_only_our_own_names_are_answered(page: WebHarness, host: str, status: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{page.base_url}/static/page.css", headers={"Host": host}) as response,
    ):
        assert response.status == status


async def test_health_is_told_under_any_name(page: WebHarness) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{page.base_url}/health", headers={"Host": "parley-web"}) as response,
    ):
        assert (response.status, await response.text()) == (200, "ok\n")


@pytest.mark.parametrize("path", ["/", "/c/none", "/nowhere", "/static/page.js"])
async def test_every_response_carries_the_guarding_headers(page: WebHarness, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(page.base_url + path) as response:
        headers = response.headers

    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "server" not in headers


async def test_pages_hold_no_inline_script_or_style(page: WebHarness) -> None:
    await page.say_direct("ada", "<script>alert(1)</script><img src=x onerror=alert(1)>")
    ada = await page.person("ada")

    async with ada.session.get(ada.base) as response:
        text = await response.text()

    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img" in text
    assert text.count("<script") == 1
    assert "<style" not in text
    assert " style=" not in text


class _Spent:
    """Buckets that are empty."""

    async def spend(self, wants: Sequence[tuple[Bucket, float]]) -> float:
        return 7.0

    async def charge(self, wants: Sequence[tuple[Bucket, float]]) -> None:
        """Nothing is left to charge."""

    async def hold(self, bucket: Bucket, wait_s: float) -> None:
        """They are held already."""
