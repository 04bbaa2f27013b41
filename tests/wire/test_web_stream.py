"""The event stream over real HTTP, and the server around it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from fastapi import FastAPI

from bots.web.app import web_app
from bots.web.courier import FeedCourier
from bots.web.errors import WebSetupError
from bots.web.server import open_port, serve_on, serve_web
from bots.web.stream import EventStream
from core.chat.errors import StoreUnavailable
from core.chat.intake import MailboxIntake
from core.chat.message import Conversation, Message, Outcome
from core.chat.ports import FeedEvent
from tests.support.memory_store import MemoryFeed, MemoryStore
from tests.support.web_harness import Person, WebHarness, web_harness


async def _eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def feed() -> MemoryFeed:
    return MemoryFeed()


@pytest.fixture
async def page(store: MemoryStore, feed: MemoryFeed) -> AsyncIterator[WebHarness]:
    async with web_harness(store, feed, store) as harness:
        yield harness


async def _waiting(store: MemoryStore) -> Message:
    claim = await store.take("test", 1.0)
    assert claim is not None
    mail = await store.head(claim)
    assert mail is not None
    return mail.message


@asynccontextmanager
async def _stream(person: Person, query: str = "", **headers: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """The raw event stream; gives a function that reads one block of it."""
    async with person.session.get(f"{person.base}/events{query}", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"

        async def block() -> str:
            return (await response.content.readuntil(b"\n\n")).decode().strip()

        yield block


async def test_an_answer_is_seen_to_grow_and_to_end(page: WebHarness, store: MemoryStore) -> None:
    await page.say_direct("ada", "One?")
    message = await _waiting(store)
    draft = page.courier.draft(message, resumed=False)

    await draft.begin()
    await draft.show("**Fi")
    await _eventually(lambda: page.visible() == ["**Fi"])
    await draft.close("**First**.", Outcome.ANSWERED)

    await _eventually(lambda: page.visible() == ["First."])
    ada = await page.person("ada")
    kind, event = ada.events[-1]
    assert (kind, event["html"], event["outcome"]) == ("closed", "<p><strong>First</strong>.</p>\n", "answered")
    assert event["turn"] == message.id


async def test_an_answer_that_is_taken_back_leaves_the_page(page: WebHarness, store: MemoryStore) -> None:
    await page.say_direct("ada", "One?")
    message = await _waiting(store)
    draft = page.courier.draft(message, resumed=False)
    await draft.show("Fi")
    await _eventually(lambda: page.visible() == ["Fi"])

    await page.courier.retract(message, await draft.leave())

    await _eventually(lambda: page.visible() == [])
    assert (await page.person("ada")).events[-1] == ("removed", {"turn": message.id, "text": ""})


async def test_two_workers_show_one_answer(page: WebHarness, store: MemoryStore) -> None:
    await page.say_direct("ada", "One?")
    message = await _waiting(store)
    dead = page.courier.draft(message, resumed=False)
    await dead.begin()
    await dead.show("Half an ans")

    await page.courier.draft(message, resumed=True).close("Half an answer, whole.", Outcome.ANSWERED)

    await _eventually(lambda: page.visible() == ["Half an answer, whole."])


async def test_people_see_their_own_conversations_only(page: WebHarness, store: MemoryStore) -> None:
    await page.person("bob")
    await page.say_direct("ada", "One?")
    message = await _waiting(store)

    await page.courier.draft(message, resumed=False).close("First.", Outcome.ANSWERED)

    await _eventually(lambda: page.visible() == ["First."])
    assert page.people["bob"].events == []


async def test_a_stream_goes_on_after_the_last_event_that_was_seen(
    page: WebHarness, store: MemoryStore, feed: MemoryFeed
) -> None:
    await page.say_direct("ada", "One?")
    message = await _waiting(store)
    ada = await page.person("ada")
    draft = page.courier.draft(message, resumed=False)
    await draft.close("First.", Outcome.ANSWERED)

    async with _stream(ada, "?after=0") as block:
        retry, said = await block(), await block()
    async with _stream(ada, "?after=0", **{"Last-Event-ID": "1-0"}) as block:
        await block()
        closed = await block()

    assert retry == "retry: 2000"
    assert said.startswith("id: 1-0\nevent: said\n")
    assert closed.startswith("id: 2-0\nevent: closed\n")


async def test_a_stream_without_a_place_begins_with_what_comes(
    page: WebHarness, store: MemoryStore, feed: MemoryFeed
) -> None:
    await page.say_direct("ada", "One?")
    message = await _waiting(store)
    ada = await page.person("ada")

    async with _stream(ada, "?after=nonsense") as block:
        await block()
        await feed.publish(message.conversation, FeedEvent("notice", message.id, "Soon."))
        event = await block()

    assert event.startswith("id: 2-0\nevent: notice\n")


async def test_text_in_an_event_cannot_forge_another_event(
    page: WebHarness, store: MemoryStore, feed: MemoryFeed
) -> None:
    await page.say_direct("ada", "One?\n\nevent: closed\ndata: {}\n\n\u2028<b>")
    ada = await page.person("ada")

    await _eventually(lambda: len(ada.events) == 1)

    assert ada.events[0][0] == "said"
    assert ada.events[0][1]["text"] == "One?\n\nevent: closed\ndata: {}\n\n\u2028<b>"


async def test_a_reader_that_goes_away_frees_its_stream(store: MemoryStore) -> None:
    feed = _CountingFeed()
    async with web_harness(store, feed, store) as page:
        ada = await page.person("ada")
        await _eventually(lambda: feed.readers == 1)

        async with _stream(ada) as block:
            await block()
            await _eventually(lambda: feed.readers == 2)

        await _eventually(lambda: feed.readers == 1)


async def test_a_feed_that_is_away_ends_the_stream_so_that_the_browser_asks_again(store: MemoryStore) -> None:
    async with web_harness(store, _FeedAway(), store) as page:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.get(f"{page.base_url}/") as response:
                base = str(response.url)
            async with session.get(f"{base}/events?after=0") as response:
                body = await response.text()

    assert (response.status, body) == (200, "retry: 2000\n\n")


async def test_a_slow_reader_gets_the_newest_state_of_an_answer() -> None:
    sent: list[str] = []
    reading = asyncio.Event()

    async def events() -> AsyncIterator[FeedEvent]:
        yield FeedEvent("said", "t1", "One?", id="1-0")
        for number in range(2, 50):
            yield FeedEvent("growing", "t1", f"text {number}", id=f"{number}-0")
        yield FeedEvent("closed", "t1", "whole", "answered", id="50-0")
        reading.set()

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        await reading.wait()
        sent.append(message.get("body", b"").decode())

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    reading_starts = asyncio.get_running_loop().call_later(0.05, reading.set)
    await EventStream(events(), asyncio.Event())({"type": "http"}, receive, send)
    reading_starts.cancel()

    kinds = [line for block in sent for line in block.split("\n") if line.startswith("id: ")]
    assert kinds[0] == "id: 1-0"
    assert kinds[-2:] == ["id: 49-0", "id: 50-0"]
    assert len(kinds) == 3


async def test_a_quiet_stream_sends_a_comment_now_and_then() -> None:
    sent: list[bytes] = []
    stopping = asyncio.Event()

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message.get("body", b""))
        if sent.count(b": still here\n\n") == 2:
            stopping.set()

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    stream = EventStream(MemoryFeed().events(Conversation("web", "local", "p", "c"), "0"), stopping, keep_alive_s=0.01)
    async with asyncio.timeout(5):
        await stream({"type": "http"}, receive, send)

    assert sent[-1] == b""


async def test_the_server_stops_while_streams_are_open(store: MemoryStore) -> None:
    feed = _CountingFeed()
    stopping = asyncio.Event()
    app = _app(store, feed)
    listener = open_port("127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    jar = aiohttp.CookieJar(unsafe=True)

    async with aiohttp.ClientSession(cookie_jar=jar) as session, asyncio.TaskGroup() as group:
        serving = group.create_task(serve_on(app, listener, stopping))
        async with session.get(f"{base_url}/") as response:
            person = Person(session, str(response.url))
        reading = group.create_task(person.read())
        await _eventually(lambda: feed.readers == 1)
        stopping.set()
        async with asyncio.timeout(3):
            await asyncio.wait({serving, reading})

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(base_url.rpartition(":")[2]))


async def test_a_port_in_use_names_the_setting(store: MemoryStore, feed: MemoryFeed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(WebSetupError, match=rf"Port {port} is already in use.*PARLEY_PORT"):
            await serve_web(_app(store, feed), "127.0.0.1", port, asyncio.Event())


async def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(WebSetupError, match=r"192\.0\.2\.1"):
        open_port("192.0.2.1", 0)


def _app(store: MemoryStore, feed: MemoryFeed) -> FastAPI:
    return web_app(MailboxIntake(store, FeedCourier("web", feed)), store, store, feed)


class _CountingFeed(MemoryFeed):
    readers = 0

    async def events(self, conversation: Conversation, after: str) -> AsyncIterator[FeedEvent]:
        self.readers += 1
        try:
            async for event in super().events(conversation, after):
                yield event
        finally:
            self.readers -= 1


class _FeedAway(MemoryFeed):
    async def events(self, conversation: Conversation, after: str) -> AsyncIterator[FeedEvent]:
        for event in self.kept.get(conversation, []):
            yield event
        raise StoreUnavailable("away")
