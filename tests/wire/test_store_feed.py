"""What every feed does, and what only a feed on a real server can get wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from core.chat.message import Conversation
from core.chat.ports import Feed, FeedEvent
from storage.connections import open_redis
from storage.feed import RedisFeed
from tests.support.memory_store import MemoryFeed
from tests.support.store_cases import OTHER, THREAD, run_twice
from tests.support.valkey import ValkeyServer

SAID = FeedEvent("said", "t1", "hello")
CLOSED = FeedEvent("closed", "t1", "hi there", "answered")


@pytest.fixture(params=["memory", "valkey", "valkey, each script twice"])
async def feed(request: pytest.FixtureRequest) -> AsyncIterator[Feed]:
    if request.param == "memory":
        yield MemoryFeed()
        return
    client = open_redis(request.getfixturevalue("redis_url"))
    twice = "twice" in request.param
    opened = RedisFeed(run_twice(client) if twice else client)
    yield opened
    await opened.aclose()
    await client.aclose()


async def read(feed: Feed, conversation: Conversation, after: str, until: str) -> list[FeedEvent]:
    """The events after `after`, up to the first of the kind `until`."""
    found: list[FeedEvent] = []
    async with aclosing(cast("Any", feed.events(conversation, after))) as events, asyncio.timeout(20):
        async for event in events:
            found.append(event)
            if event.kind == until:
                break
    return found


def words(events: list[FeedEvent]) -> list[tuple[str, str, str, str]]:
    return [(event.kind, event.turn_id, event.text, event.outcome) for event in events]


async def test_events_are_read_as_they_were_published(feed: Feed) -> None:
    await feed.publish(OTHER, FeedEvent("notice", "t9", "elsewhere"))
    await feed.publish(THREAD, SAID)
    await feed.publish(THREAD, CLOSED)

    found = await read(feed, THREAD, "0", "closed")

    assert words(found) == words([SAID, CLOSED])


async def test_reader_resumes_after_the_last_event_it_saw(feed: Feed) -> None:
    await feed.publish(THREAD, SAID)
    [said] = await read(feed, THREAD, "0", "said")
    assert await feed.latest(THREAD) == said.id
    await feed.publish(THREAD, CLOSED)

    found = await read(feed, THREAD, said.id, "closed")

    assert words(found) == words([CLOSED])


async def test_feed_without_events_begins_at_zero(feed: Feed) -> None:
    assert await feed.latest(THREAD) == "0"


async def test_many_readers_see_what_comes_at_once(feed: Feed) -> None:
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read(feed, THREAD, "0", "closed")) for _ in range(30)]
        quiet = group.create_task(read(feed, OTHER, "0", "closed"))
        for event in (SAID, FeedEvent("growing", "t1", "hi"), CLOSED):
            await asyncio.sleep(0)
            await feed.publish(THREAD, event)
        async with asyncio.timeout(10):
            seen = await asyncio.gather(*readers)
        was_quiet = not quiet.done()
        await feed.publish(OTHER, CLOSED)

    assert was_quiet
    assert all(words(events)[-1] == words([CLOSED])[0] for events in seen)


async def test_wake_up_is_faster_than_the_look_by_oneself(redis_url: str) -> None:
    client = open_redis(redis_url)
    feed = RedisFeed(client)
    async with aclosing(cast("Any", feed.events(THREAD, "0"))) as events:
        # The first rounds connect the subscription; from then on an event must come without the look every 2 s.
        for _ in range(2):
            await feed.publish(THREAD, SAID)
            await anext(events)
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.wait({waiting}, timeout=0.05)
            await feed.publish(THREAD, SAID)
            await waiting
        took_s = asyncio.get_running_loop().time() - began

    await feed.aclose()
    await client.aclose()
    assert took_s < 2.0


async def test_growing_text_takes_the_place_of_the_one_before(redis_url: str) -> None:
    client = open_redis(redis_url)
    feed = RedisFeed(client)
    await feed.publish(THREAD, SAID)
    for length in range(100):
        await feed.publish(THREAD, FeedEvent("growing", "t1", "x" * length))

    before = await client.xlen("parley:feed:slack:T1:C1:1718.01")
    await feed.publish(THREAD, CLOSED)

    assert before == 2
    assert words(await read(feed, THREAD, "0", "closed")) == words([SAID, CLOSED])
    assert 0 < await client.ttl("parley:feed:slack:T1:C1:1718.01") <= 3600
    await feed.aclose()
    await client.aclose()


@pytest.mark.parametrize("after", ["", "yesterday", "0-0-0", "9" * 40])
async def test_resume_from_what_is_no_id_reads_from_the_beginning(redis_url: str, after: str) -> None:
    client = open_redis(redis_url)
    feed = RedisFeed(client)
    await feed.publish(THREAD, SAID)

    found = await read(feed, THREAD, after, "said")

    assert words(found) == words([SAID])
    await feed.aclose()
    await client.aclose()


async def test_reader_outlives_a_restart_of_the_server() -> None:
    with ValkeyServer() as server:
        client = open_redis(server.url())
        feed = RedisFeed(client)
        await feed.publish(THREAD, SAID)
        async with aclosing(cast("Any", feed.events(THREAD, "0"))) as events, asyncio.timeout(30):
            await anext(events)
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.wait({waiting}, timeout=0.05)
            server.kill()
            server.start()

            await feed.publish(THREAD, CLOSED)

            assert (await waiting).kind == "closed"
        await feed.aclose()
        await client.aclose()
