"""The stores on a cluster of real Valkeys: sixteen shards on three masters, a slot that moves, a master that dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import pytest

from core.chat.errors import StoreUnavailable
from core.chat.message import Conversation, Message
from core.chat.ports import Acceptance, Bucket, FeedEvent, Signal
from storage.buckets import RedisBuckets
from storage.checks import check_redis
from storage.connections import Client, open_redis
from storage.feed import RedisFeed
from storage.keys import Keys
from storage.mailbox import RedisMailbox
from tests.support.store_cases import CLUSTER_SHARDS, Store, answered, claimed, message, next_signal, redis_store
from tests.support.valkey import ValkeyServer, free_port
from tests.support.valkey_groups import ValkeyCluster

KEYS = Keys("parley", CLUSTER_SHARDS)
STOPS = KEYS.stops
ROOMS = [Conversation("web", "", f"c{number}") for number in range(40)]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    client = open_redis(url)
    try:
        yield client
    finally:
        await client.aclose()


async def accept_in(store: Store, rooms: list[Conversation], native: str) -> None:
    for room in rooms:
        assert await store.box.accept(message(native, room)) is Acceptance.ACCEPTED


async def answer_all(store: Store, count: int) -> list[str]:
    """Answers `count` conversations; the ids of the turns."""
    turns = []
    async with asyncio.timeout(60):
        for _ in range(count):
            claim = await claimed(store.box)
            while mail := await store.box.head(claim):
                assert await store.box.commit(claim, answered(mail.message, posts=("a", "b", mail.message.id)))
                turns.append(mail.message.id)
            assert await store.box.finish(claim)
    return turns


async def test_conversations_spread_over_all_masters(valkey_cluster: ValkeyCluster, cluster_url: str) -> None:
    async with redis_store(cluster_url, shards=CLUSTER_SHARDS) as store:
        await accept_in(store, ROOMS, "1")
        busy = await store.depth.backlog()
        inboxes = [node.client().keys("parley:*:inbox:*") for node in valkey_cluster.masters]
        turns = await answer_all(store, len(ROOMS))

        assert (busy.conversations, len(turns)) == (len(ROOMS), len(ROOMS))
        assert all(inboxes)
        assert await store.box.conversation_of("web", ROOMS[7].message_id("1")) == ROOMS[7]
        assert len(await store.log.read("l1", 100, 5.0)) == len(ROOMS)


async def test_log_that_comes_while_a_writer_waits_reaches_it(cluster_url: str) -> None:
    async with redis_store(cluster_url, shards=CLUSTER_SHARDS) as store, asyncio.timeout(30):
        reading = asyncio.ensure_future(store.log.read("l1", 100, 20.0))
        await accept_in(store, ROOMS[:1], "1")
        await answer_all(store, 1)

        assert len(await reading) == 1


async def test_waiting_writer_takes_no_more_than_it_asked_for(cluster_url: str) -> None:
    async with redis_store(cluster_url, shards=CLUSTER_SHARDS) as store, asyncio.timeout(30):
        await accept_in(store, ROOMS, "1")
        await answer_all(store, len(ROOMS))
        read = []
        while entries := await store.log.read("l1", 7, 0.0):
            assert len(entries) <= 7
            read += entries

        assert len(read) == len(ROOMS)


async def test_feed_and_buckets_work_on_a_cluster(cluster_url: str) -> None:
    async with connected(cluster_url) as client:
        feed, buckets = RedisFeed(client), RedisBuckets(client)
        slow = [(Bucket(name, 0.001, 2.0), 2.0) for name in ("person", "channel", "workspace")]
        async with aclosing(cast("Any", feed.events(ROOMS[0], "0"))) as events, asyncio.timeout(20):
            for text in ("one", "two", "three"):
                waiting = asyncio.ensure_future(anext(events))
                await feed.publish(ROOMS[0], FeedEvent("notice", "t1", text))
                assert (await waiting).text == text
        spent = [await buckets.spend(slow), await buckets.spend(slow)]
        await feed.aclose()

    assert spent[0] == 0.0
    assert spent[1] > 1000.0


async def test_many_at_once_wait_for_a_connection(cluster_url: str) -> None:
    client = open_redis(cluster_url, max_connections=3)

    stored = await asyncio.gather(*(client.set(f"parley:{{s0}}:{number}", "x") for number in range(100)))

    await client.aclose()
    assert all(stored)


async def test_shard_that_moves_to_another_master_goes_on(valkey_cluster: ValkeyCluster, cluster_url: str) -> None:
    rooms = [room for room in ROOMS if KEYS.shard(room) == KEYS.shard(ROOMS[0])]
    async with redis_store(cluster_url, shards=CLUSTER_SHARDS) as store, asyncio.timeout(60):
        await accept_in(store, rooms, "1")
        claim = await claimed(store.box)
        here = valkey_cluster.move_slot(KEYS.of(ROOMS[0], "inbox"))

        await store.box.renew(claim)
        await store.box.release(claim)
        await accept_in(store, rooms, "2")
        turns = await answer_all(store, len(rooms))
        logged = await store.log.read("l1", 100, 5.0)

        valkey_cluster.move_slot(KEYS.of(ROOMS[0], "inbox"), to=here)
        await accept_in(store, rooms, "3")
        assert len(await answer_all(store, len(rooms))) == len(rooms)
    assert sorted(turns) == sorted(room.message_id(native) for room in rooms for native in ("1", "2"))
    assert len(logged) == len(turns)


async def test_replica_takes_the_place_of_a_dead_master() -> None:
    with ValkeyCluster(copied=STOPS) as cluster:
        dying = cluster.master_of(STOPS)
        there = [room for room in ROOMS if cluster.master_of(KEYS.of(room, "inbox")) is dying]
        # A ticket that was read when the master died waits for the end of its lease.
        async with redis_store(cluster.url, shards=CLUSTER_SHARDS, lease_s=2.0) as store, asyncio.timeout(120):
            async with redis_store(cluster.url, shards=CLUSTER_SHARDS, replicas=1) as careful:
                await accept_in(careful, there, "1")
                elsewhere = next(room for room in ROOMS if room not in there)
                with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                    await careful.box.accept(message("1", elsewhere))
            held = await claimed(store.box)
            async with aclosing(cast("Any", store.box.signals())) as signals:
                assert await anext(signals) is None
                dying.kill()
                for room in there:
                    await accept_steadily(store, message("2", room))
                stopping = await next_signal(signals, lambda: store.box.request_stop(there[0]))
                assert stopping == (there[0], Signal.STOP)
            await store.box.release(held)
            turns = await answer_all(store, len(there) + 1)

        assert sorted(turns) == sorted(
            [*(room.message_id(native) for room in there for native in ("1", "2")), elsewhere.message_id("1")]
        )


async def accept_steadily(store: Store, asked: Message) -> None:
    while True:
        try:
            # When the reply to an attempt that was given up was lost, the next one is a duplicate.
            await store.box.accept(asked)
            return
        except StoreUnavailable:
            await asyncio.sleep(0.1)


async def test_cluster_that_was_named_as_a_single_server_is_told(cluster_url: str) -> None:
    async with connected(cluster_url.replace("redis+cluster", "redis").split(",")[0]) as client:
        box = RedisMailbox(client, client, shards=CLUSTER_SHARDS)
        accepting = await asyncio.gather(*(box.accept(message("1", room)) for room in ROOMS), return_exceptions=True)

    assert any("write redis+cluster://" in str(refused) for refused in accepting)


async def test_single_server_that_was_named_as_a_cluster_is_told() -> None:
    with ValkeyServer(free_port()) as server:
        async with connected(f"redis+cluster://127.0.0.1:{server.port}") as client:
            with pytest.raises(StoreUnavailable, match="write redis://"):
                await RedisMailbox(client, client).open()


async def test_cluster_that_cannot_be_reached_is_told() -> None:
    async with connected("redis+cluster://u:secret@127.0.0.1:1") as client:
        with pytest.raises(StoreUnavailable, match="check REDIS_URL") as raised:
            await RedisMailbox(client, client).open()

    assert "secret" not in str(raised.value)


async def test_check_tells_the_worst_of_all_masters(valkey_cluster: ValkeyCluster, cluster_url: str) -> None:
    with valkey_cluster.masters[1].client() as admin:
        admin.config_set("appendonly", "no")
        facts = {fact.name: fact for fact in await check_redis(cluster_url)}
        admin.config_set("appendonly", "yes")

    assert "appendfsync always" in facts["append-only file"].remedy
    assert "no replica" in facts["replicas"].remedy
    assert (facts["server"].remedy, facts["role"].value) == ("", "master")
