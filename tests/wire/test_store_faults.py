"""The stores in Redis when the server is killed, full, read-only, emptied or the wrong one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from core.chat.errors import StoreUnavailable
from core.chat.message import Conversation
from core.chat.ports import Acceptance, Change
from storage.checks import check_redis
from storage.connections import Client, ask, open_redis
from storage.keys import WORKERS, Keys
from storage.log_stream import RedisLogStream
from storage.mailbox import RedisMailbox
from tests.support.store_cases import THREAD, answered, claimed, message, redis_store, turns
from tests.support.valkey import ValkeyServer

READY = Keys().of_shard(0, "ready")


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    """A server that a test may break."""
    with ValkeyServer() as server:
        yield server


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    client = open_redis(url)
    try:
        yield client
    finally:
        await client.aclose()


async def test_what_was_accepted_survives_a_kill_of_the_server(own_server: ValkeyServer) -> None:
    accepted: list[str] = []

    async def accept_until_it_dies(box: RedisMailbox, start: int) -> None:
        for number in range(start, 10_000, 4):
            asked = message(str(number), Conversation("web", "", f"c{number % 10}"))
            try:
                if await box.accept(asked) is Acceptance.ACCEPTED:
                    accepted.append(asked.id)
            except StoreUnavailable:
                return

    client, blocking = open_redis(own_server.url()), open_redis(own_server.url(), blocking=True)
    box = RedisMailbox(client, blocking, inbox_limit=10_000)
    await box.open()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for start in range(4):
            group.create_task(accept_until_it_dies(box, start))
        while len(accepted) < 100:
            await asyncio.sleep(0)
        own_server.kill()
    own_server.start()

    async with connected(own_server.url()) as reader:
        kept = [item async for key in reader.scan_iter("*:inbox:*") for item in await _items(reader, str(key))]
    assert {item.partition("\n")[0] for item in kept} >= set(accepted)
    assert len(kept) == len({item.partition("\n")[0] for item in kept})
    async with asyncio.timeout(10):
        assert {(await claimed(box)).conversation.channel for _ in range(10)} == {f"c{n}" for n in range(10)}
    await box.aclose()
    await client.aclose()
    await blocking.aclose()


async def _items(client: Client, key: str) -> list[str]:
    return [str(item) for item in await client.lrange(key, 0, -1)]


async def test_dead_server_is_told_with_a_remedy_and_found_again(own_server: ValkeyServer) -> None:
    async with redis_store(own_server.url()) as store:
        own_server.kill()
        with pytest.raises(StoreUnavailable, match="check REDIS_URL"):
            await store.box.accept(message("1"))
        with pytest.raises(StoreUnavailable, match="check REDIS_URL"):
            await store.box.take("w1", 5.0)
        with pytest.raises(StoreUnavailable, match="check REDIS_URL"):
            await store.log.read("l1", 10, 5.0)

        own_server.start()

        assert await store.box.accept(message("1")) is Acceptance.ACCEPTED
        assert (await claimed(store.box)).conversation == THREAD


async def test_full_server_takes_nothing_in_and_all_of_it_later(own_server: ValkeyServer) -> None:
    async with redis_store(own_server.url()) as store, connected(own_server.url()) as client:
        await client.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable, match="Redis is full"):
            await store.box.accept(message("1"))

        await client.config_set("maxmemory", "0")

        assert await store.box.accept(message("1")) is Acceptance.ACCEPTED


async def test_full_server_does_nothing_by_halves_and_can_be_worked_off(own_server: ValkeyServer) -> None:
    async with redis_store(own_server.url()) as store, connected(own_server.url()) as client:
        for native in ("1", "2", "3"):
            await store.box.accept(message(native))
        claim = await claimed(store.box)
        before = contents(own_server)
        await client.config_set("maxmemory", "1")

        refused: list[Callable[[], Awaitable[object]]] = [
            lambda: store.box.accept(message("4")),
            lambda: store.box.intend(claim, message("1").id),
            lambda: store.box.request_stop(THREAD),
            lambda: store.box.revise(message("2", text="edited")),
            lambda: store.box.withdraw(THREAD, message("1").id),
            lambda: store.box.withdraw(THREAD, message("9").id),
        ]
        for call in refused:
            with pytest.raises(StoreUnavailable, match="Redis is full"):
                await call()
        untouched = contents(own_server)

        # What a server takes away first it may add to afterwards, so an answer is committed as a whole.
        assert untouched == before
        assert await store.box.renew(claim) is None
        assert await store.box.commit(claim, answered(message("1"), posts=("p1",)))
        assert await store.box.withdraw(THREAD, message("3").id) is Change.WAITING
        await store.box.release(claim)
        assert await store.box.turns(THREAD) == turns(message("1"))
        assert await store.box.committed_posts(THREAD, message("1").id) == ("p1",)
        await client.config_set("maxmemory", "0")
        assert len(await store.log.read("l1", 10, 1.0)) == 1
        mail = await store.box.head(await claimed(store.box))
        assert mail is not None
        assert mail.message == message("2")


def contents(server: ValkeyServer) -> dict[str, object]:
    """All keys with what they hold."""
    with server.client() as client:
        return {key: client.dump(key) for key in client.keys("*")}


async def test_replica_is_refused_by_name(own_server: ValkeyServer) -> None:
    async with redis_store(own_server.url()) as store, connected(own_server.url()) as client:
        await client.replicaof("127.0.0.1", 1)

        with pytest.raises(StoreUnavailable, match="read-only replica"):
            await store.box.accept(message("1"))


async def test_emptied_server_gets_its_groups_anew(redis_url: str) -> None:
    async with redis_store(redis_url) as store, connected(redis_url) as client:
        await client.flushdb()

        await store.box.accept(message("1"))
        claim = await claimed(store.box)
        await store.box.commit(claim, answered(message("1")))

        assert len(await store.log.read("l1", 10, 5.0)) == 1


async def test_restarted_server_that_forgot_the_scripts_is_served(redis_url: str) -> None:
    async with redis_store(redis_url) as store, connected(redis_url) as client:
        await store.box.accept(message("1"))
        await client.script_flush()

        assert await store.box.accept(message("2")) is Acceptance.ACCEPTED


async def test_another_number_of_shards_is_refused(redis_url: str) -> None:
    async with redis_store(redis_url, shards=4):
        pass

    with pytest.raises(StoreUnavailable, match="made with 4 shards and this start asks for 2"):
        async with redis_store(redis_url, shards=2):
            pass


async def test_all_keys_of_a_conversation_lie_in_one_slot(redis_url: str) -> None:
    keys = Keys("parley", 16)

    named = [keys.of(THREAD, kind) for kind in ("inbox", "history", "owner", "known")]
    named += [keys.beside(THREAD, kind) for kind in ("ready", "log", "log-dead", "epoch")]
    named += [keys.seen(THREAD, "slack:T1:C1:1")]

    async with connected(redis_url) as client:
        slots = [await client.execute_command("CLUSTER", "KEYSLOT", key) for key in named]
    assert len(set(slots)) == 1
    assert len({keys.shard(Conversation("web", "", str(n))) for n in range(500)}) == 16


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1/0?socket_timeout=soon"])
async def test_url_that_is_none_of_ours_is_refused(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="REDIS_URL"):
        open_redis(url)


async def test_password_of_an_unreachable_server_is_not_told() -> None:
    async with connected("redis://u:secret@127.0.0.1:1/0") as client:
        box = RedisMailbox(client, client)
        with pytest.raises(StoreUnavailable) as raised:
            await box.open()

    assert "secret" not in str(raised.value)


async def test_history_expires_and_mail_does_not(redis_url: str) -> None:
    async with redis_store(redis_url, history_ttl_s=1) as store, connected(redis_url) as client:
        await store.box.accept(message("1"))
        await store.box.accept(message("2"))
        claim = await claimed(store.box)
        await store.box.commit(claim, answered(message("1"), posts=("p1",)))
        assert await store.box.turns(THREAD) == turns(message("1"))

        async with asyncio.timeout(10):
            while await store.box.knows(THREAD) or await store.box.turns(THREAD):
                await asyncio.sleep(0.05)

        mail = await store.box.head(claim)
        assert mail is not None
        assert (mail.message, mail.history) == (message("2"), ())
        assert await store.box.conversation_of("slack", "p1") is None
        left = [str(key) async for key in client.scan_iter("*")]
        lasting = [key for key in left if await client.ttl(key) == -1]
        assert {key.split(":")[2] for key in lasting if "{" in key} == {"inbox", "owner", "ready", "epoch", "log"}


async def test_entry_of_a_dead_writer_is_read_by_the_next(redis_url: str) -> None:
    async with redis_store(redis_url, writer_lease_s=0.2) as store:
        await store.box.accept(message("1"))
        await store.box.commit(await claimed(store.box), answered(message("1")))
        [read] = await store.log.read("dead", 10, 5.0)

        again = await store.log.read("alive", 10, 10.0)

    assert again == [read]


class DyingRedis(Redis):
    """A client whose process dies when its first command has run."""

    ran = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.ran:
            raise RedisConnectionError
        reply = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        self.ran += 1
        return reply


async def test_writer_that_dies_on_the_way_leaves_no_entry_that_nobody_reads(redis_url: str) -> None:
    async with redis_store(redis_url, writer_lease_s=0.2) as store, connected(redis_url) as client:
        await store.box.accept(message("1"))
        await store.box.commit(await claimed(store.box), answered(message("1")))
        [entry] = await store.log.read("dying", 10, 5.0)
        assert isinstance(client, Redis)
        dying = RedisLogStream(DyingRedis.from_pool(client.connection_pool), client)

        with suppress(StoreUnavailable):
            await dying.done([entry.id])

        assert await client.xlen("parley:{s0}:log") == len(await store.log.read("alive", 10, 1.0))


async def test_buried_entry_lies_where_an_operator_finds_it(redis_url: str) -> None:
    async with redis_store(redis_url) as store, connected(redis_url) as client:
        await store.box.accept(message("1"))
        await store.box.commit(await claimed(store.box), answered(message("1")))
        [entry] = await store.log.read("l1", 10, 5.0)

        await store.log.bury(entry, "its seed is too large")
        await store.log.bury(entry, "its seed is too large")

        [(_, dead)] = await ask(client.xrange("parley:{s0}:log-dead"))
        assert dead == {"interaction": entry.text, "reason": "its seed is too large"}
        assert await client.xlen("parley:{s0}:log") == 0


async def test_call_that_is_cancelled_runs_to_its_end(own_server: ValkeyServer) -> None:
    async with redis_store(own_server.url()) as store:
        await store.box.accept(message("1"))
        os.kill(own_server.pid, signal.SIGSTOP)
        accepting = asyncio.ensure_future(store.box.accept(message("2")))
        await asyncio.wait({accepting}, timeout=0.1)

        accepting.cancel()
        await asyncio.wait({accepting}, timeout=0.1)
        was_done = accepting.done()
        os.kill(own_server.pid, signal.SIGCONT)
        await asyncio.wait({accepting})

        assert (was_done, accepting.cancelled()) == (False, True)
        assert await store.box.accept(message("2")) is Acceptance.DUPLICATE


async def test_ticket_that_no_longer_counts_is_dropped(redis_url: str) -> None:
    async with redis_store(redis_url) as store, connected(redis_url) as client:
        await store.box.accept(message("1"))
        claim = await claimed(store.box)
        await ask(client.xadd(READY, {"conversation": str(THREAD)}))

        stolen = await store.box.take("w2", 0.3)

        assert stolen is None
        await store.box.commit(claim, answered(message("1")))
        assert await store.box.finish(claim)
        await ask(client.xadd(READY, {"conversation": str(THREAD)}))
        assert await store.box.take("w2", 0.3) is None
        assert await ask(client.xlen(READY)) == 0


async def test_worker_that_froze_before_it_began_takes_nothing_back(redis_url: str) -> None:
    async with redis_store(redis_url) as store, connected(redis_url) as client:
        desk = cast("RedisMailbox", store.box)._desk
        await store.box.accept(message("1"))
        [[_, [(ticket, _)]]] = await ask(client.xreadgroup(WORKERS, "frozen", {READY: ">"}))
        await ask(client.xclaim(READY, WORKERS, "frozen", 0, [ticket], idle=16_000, justid=True))
        successor = await claimed(store.box, "w2")

        woken = await desk._claim("frozen", ticket, str(THREAD), -1)
        late = await desk._claim("w3", ticket, str(THREAD), 15_000)  # found overdue before the successor took it

        assert (woken, late) == (None, None)
        assert await store.box.head(successor) is not None


async def test_no_epoch_comes_twice_when_the_last_was_lost_or_the_clock_went_back(redis_url: str) -> None:
    key = Keys().of_shard(0, "epoch")
    async with redis_store(redis_url) as store, connected(redis_url) as client:
        await store.box.accept(message("1"))
        first = await claimed(store.box)
        await store.box.release(first)

        await client.delete(key)  # as on a replica that did not get it in time
        second = await claimed(store.box)
        await store.box.release(second)
        await client.set(key, second.epoch + 3_600_000_000)  # as by a clock that was an hour ahead
        third = await claimed(store.box)

    assert first.epoch < second.epoch
    assert third.epoch == second.epoch + 3_600_000_001


async def test_check_is_content_with_a_server_that_is_set_right(redis_url: str) -> None:
    facts = {fact.name: fact for fact in await check_redis(redis_url)}

    assert facts["server"].value.startswith("Valkey 9")
    assert [fact.remedy for fact in facts.values()] == [""] * 5


async def test_check_names_what_would_lose_messages(own_server: ValkeyServer) -> None:
    async with connected(own_server.url()) as client:
        await client.config_set("appendonly", "no")
        await client.config_set("maxmemory", "1gb")
        await client.config_set("maxmemory-policy", "allkeys-lru")

    facts = {fact.name: fact for fact in await check_redis(own_server.url())}

    assert "appendfsync always" in facts["append-only file"].remedy
    assert "noeviction" in facts["maxmemory-policy"].remedy
