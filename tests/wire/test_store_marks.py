"""What every store knows of missed time and of what waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from core.chat.message import Conversation
from core.chat.ports import Backlog, Heard
from storage.connections import open_redis
from storage.mailbox import HEARD_MAX
from tests.support.store_cases import KINDS, NOON, THREAD, Store, answered, claimed, message, open_store, redis_store


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with open_store(request) as opened:
        yield opened


async def say(store: Store, conversation: Conversation, sent_at: float) -> None:
    said = replace(message(str(sent_at), conversation), sent_at=sent_at)
    await store.box.accept(said)


def threads(platform: str, count: int) -> list[Conversation]:
    return [Conversation(platform, "T1", "C1", str(number)) for number in range(count)]


async def test_gateway_has_no_mark_at_its_first_start(store: Store) -> None:
    await store.marks.mark_alive("slack:T1", NOON)

    assert await store.marks.alive("slack:T2") is None


async def test_mark_moves_forward_and_never_back(store: Store) -> None:
    for at in (NOON, NOON + 2.25, NOON + 1):
        await store.marks.mark_alive("slack:T1", at)

    assert await store.marks.alive("slack:T1") == NOON + 2.25


async def test_conversations_are_known_by_their_newest_message(store: Store) -> None:
    one, two, three, four, five = threads("slack", 5)
    [other] = threads("discord", 1)
    for conversation, ago in ((one, 10), (two, 20), (three, 30), (four, 40), (five, 50), (other, 5), (three, 1.5)):
        await say(store, conversation, NOON - ago)
    await say(store, one, NOON - 60)  # late, and no newer than what is known

    heard = await store.marks.heard_since("slack", NOON - 40, 10)

    assert heard == [Heard(three, NOON - 1.5), Heard(one, NOON - 10), Heard(two, NOON - 20)]
    assert await store.marks.heard_since("slack", NOON - 40, 2) == heard[:2]
    assert await store.marks.heard_since("web", 0.0, 10) == []


async def test_conversation_is_forgotten_a_week_after_the_others_went_on(redis_url: str) -> None:
    old, new = threads("slack", 2)
    async with redis_store(redis_url) as store:
        await say(store, old, NOON)
        await say(store, new, NOON + 6 * 24 * 3600)
        kept = await store.marks.heard_since("slack", 0.0, 10)
        await say(store, new, NOON + 8 * 24 * 3600)

        left = await store.marks.heard_since("slack", 0.0, 10)

    assert [heard.conversation for heard in kept] == [new, old]
    assert [heard.conversation for heard in left] == [new]


async def test_conversations_that_are_known_are_bounded_in_number(redis_url: str) -> None:
    client = open_redis(redis_url)
    many = {f"slack:T1:C1:x{number}": NOON + number / 1000 for number in range(HEARD_MAX)}
    await client.zadd("parley:{s0}:heard:slack", many)
    async with redis_store(redis_url) as store:
        await say(store, THREAD, NOON + 3600)

    kept = await client.zrange("parley:{s0}:heard:slack", 0, -1)
    await client.aclose()
    assert (len(kept), kept[0], kept[-1]) == (HEARD_MAX, "slack:T1:C1:x1", str(THREAD))


async def test_backlog_counts_what_waits(store: Store) -> None:
    assert await store.depth.backlog() == Backlog(0, 0.0, 0, 0.0, 0)
    for conversation in threads("slack", 5):
        await store.box.accept(message(conversation.thread, conversation))
    claim = await claimed(store.box)
    await store.box.commit(claim, answered(message(claim.conversation.thread, claim.conversation)))
    busy = await store.depth.backlog()
    await store.box.finish(claim)
    [entry] = await store.log.read("l1", 10, 5.0)
    await store.log.bury(entry, "it does not fit")

    later = await store.depth.backlog()

    assert (busy.conversations, busy.unlogged, busy.dead) == (5, 1, 0)
    assert 0.0 <= busy.oldest_s < 60.0
    assert 0.0 <= busy.unlogged_s < 60.0
    assert (later.conversations, later.unlogged, later.unlogged_s, later.dead) == (4, 0, 0.0, 1)


async def test_age_is_that_of_the_oldest(redis_url: str) -> None:
    client = open_redis(redis_url)
    seconds, _ = await client.time()
    async with redis_store(redis_url, shards=2) as store:
        for shard, ago_s in ((0, 10), (1, 100)):
            await client.xadd(f"parley:{{s{shard}}}:ready", {"conversation": "x"}, id=f"{(seconds - ago_s) * 1000}-1")
            await client.xadd(f"parley:{{s{shard}}}:log", {"interaction": "x"}, id=f"{(seconds - 2 * ago_s) * 1000}-1")
        backlog = await store.depth.backlog()
    await client.aclose()

    assert 99.0 <= backlog.oldest_s < 130.0
    assert 199.0 <= backlog.unlogged_s < 230.0
