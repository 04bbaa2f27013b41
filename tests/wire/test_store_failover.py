"""The stores when a primary dies or freezes and its replica takes its place: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from core.chat import codec
from core.chat.errors import StoreUnavailable
from core.chat.message import Conversation, Message
from core.chat.ports import Acceptance, FeedEvent, Signal
from storage.checks import check_redis
from storage.connections import open_redis
from storage.feed import RedisFeed
from storage.mailbox import RedisMailbox
from tests.support.store_cases import THREAD, Store, answered, claimed, message, next_signal, redis_store
from tests.support.valkey import ValkeyServer
from tests.support.valkey_groups import WatchedValkey

ROOMS = [Conversation("web", "", f"c{number}") for number in range(8)]


@pytest.fixture
def watched() -> Iterator[WatchedValkey]:
    with WatchedValkey() as servers:
        yield servers


class Crowd:
    """Everybody asks on and on; `accepted` holds what was acknowledged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.accepted: list[str] = []
        self._stopping = False

    async def ask(self, room: Conversation) -> None:
        for number in range(100_000):
            asked = message(str(number), room)
            while not self._stopping and not await self._is_taken(asked):
                await asyncio.sleep(0.05)
            if self._stopping:
                return

    async def _is_taken(self, asked: Message) -> bool:
        try:
            taken = await self._store.box.accept(asked) in {Acceptance.ACCEPTED, Acceptance.DUPLICATE}
        except StoreUnavailable:
            return False
        self.accepted.append(asked.id)
        return taken

    async def more(self, count: int) -> None:
        """Until `count` more are taken."""
        wanted = len(self.accepted) + count
        while len(self.accepted) < wanted:
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for room in ROOMS:
                group.create_task(self.ask(room))
            yield
            self._stopping = True


def kept_by(server: ValkeyServer) -> list[str]:
    """The ids of all messages in the inboxes, by conversation in their order."""
    with server.client() as client:
        inboxes = [client.lrange(key, 0, -1) for key in sorted(client.keys("parley:*:inbox:*"))]
    return [item.partition("\n")[0] for inbox in inboxes for item in inbox]


async def replaced(servers: WatchedValkey, old: ValkeyServer) -> ValkeyServer:
    """The primary that came after `old`."""
    while (new := servers.primary) is old:
        await asyncio.sleep(0.05)
    return new


async def test_everything_acknowledged_survives_a_dead_primary(watched: WatchedValkey) -> None:
    async with redis_store(watched.url, replicas=1, inbox_limit=100_000) as store:
        crowd, old = Crowd(store), watched.primary
        async with asyncio.timeout(120), crowd.asking():
            await crowd.more(200)
            old.kill()
            new = await replaced(watched, old)
            old.start()  # without a replica nothing is acknowledged
            await crowd.more(200)

        kept = kept_by(new)
        assert set(crowd.accepted) <= set(kept)
        assert len(kept) == len(set(kept))


async def test_what_a_frozen_primary_takes_after_it_was_replaced_is_not_acknowledged(watched: WatchedValkey) -> None:
    async with redis_store(watched.url, replicas=1, inbox_limit=100_000) as store:
        crowd, old = Crowd(store), watched.primary
        async with asyncio.timeout(120), crowd.asking():
            await crowd.more(100)
            os.kill(old.pid, signal.SIGSTOP)
            new = await replaced(watched, old)
            os.kill(old.pid, signal.SIGCONT)  # it still takes itself for the primary, and takes what is on its way
            await crowd.more(100)

        kept = kept_by(new)
        assert set(crowd.accepted) <= set(kept)
        assert len(kept) == len(set(kept))


async def test_what_no_replica_has_is_not_acknowledged_to_who_asks_again(watched: WatchedValkey) -> None:
    async with redis_store(watched.url) as careless:
        await careless.box.accept(message("1"))
        claim = await claimed(careless.box)
        calls: list[Callable[[Store], Awaitable[object]]] = [
            lambda store: store.box.accept(message("2")),
            lambda store: store.box.intend(claim, message("1").id),
            lambda store: store.box.commit(claim, answered(message("1"))),
        ]
        [replica] = [server for server in watched.servers if server is not watched.primary]
        os.kill(replica.pid, signal.SIGSTOP)
        for call in calls:
            for _ in range(2):
                # Each time on a new connection, on which nothing was written that could be waited for.
                async with redis_store(watched.url, replicas=1) as store:
                    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                        await call(store)
        os.kill(replica.pid, signal.SIGCONT)

        async with redis_store(watched.url, replicas=1) as store:
            assert await store.box.accept(message("2")) is Acceptance.DUPLICATE
            assert await store.box.commit(claim, answered(message("1")))


async def test_work_goes_on_with_the_new_primary(watched: WatchedValkey) -> None:
    client, old = open_redis(watched.url), watched.primary
    feed = RedisFeed(client)
    async with redis_store(watched.url, lease_s=2.0) as store, asyncio.timeout(120):
        await store.box.accept(message("1"))
        claim = await claimed(store.box)
        await store.box.intend(claim, message("1").id)
        async with (
            aclosing(cast("Any", store.box.signals())) as signals,
            aclosing(cast("Any", feed.events(THREAD, "0"))) as events,
        ):
            assert await anext(signals) is None
            reading = asyncio.ensure_future(anext(events))
            watched.until_copied()
            old.kill()
            await replaced(watched, old)

            successor = await steadily_claimed(store)
            mail = await store.box.head(successor)
            assert mail is not None
            assert (mail.message, mail.intended) == (message("1"), True)
            assert await next_signal(signals, lambda: store.box.request_stop(THREAD)) == (THREAD, Signal.STOP)
            await feed.publish(THREAD, FeedEvent("notice", "t1", "here again"))
            assert (await reading).text == "here again"
        assert await store.box.commit(successor, answered(message("1"), posts=("p1",)))
        assert await store.box.finish(successor)
        [entry] = await store.log.read("l1", 10, 5.0)

        assert codec.load_interaction(entry.text).turn_id == message("1").id
        assert await store.box.conversation_of("slack", "p1") == THREAD
    await feed.aclose()
    await client.aclose()


async def steadily_claimed(store: Store) -> Any:
    while True:
        try:
            if claim := await store.box.take("w2", 1.0):
                return claim
        except StoreUnavailable:
            await asyncio.sleep(0.1)


async def test_check_asks_the_primary(watched: WatchedValkey) -> None:
    facts = {fact.name: fact for fact in await check_redis(watched.url)}

    assert facts["role"].value == "master"
    assert [fact.remedy for fact in facts.values()] == [""] * len(facts)


async def test_name_that_no_sentinel_knows_is_told(watched: WatchedValkey) -> None:
    client = open_redis(watched.url.replace("/parley/", "/another/"))

    with pytest.raises(StoreUnavailable, match="'another'"):
        await RedisMailbox(client, client).open()

    await client.aclose()


async def test_every_sentinel_stays_known_when_many_ask_at_once(watched: WatchedValkey) -> None:
    watched.sentinels[0].kill()
    client = open_redis(watched.url)

    await asyncio.gather(*(client.exists("x") for _ in range(30)))

    pool: Any = cast("Redis", client).connection_pool
    await client.aclose()
    assert len(set(pool.sentinel_manager.sentinels)) == 3
