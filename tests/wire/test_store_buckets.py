"""What every set of token buckets does: those in memory, and those in a real Valkey, with each script run twice too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.chat.errors import StoreUnavailable
from core.chat.ports import Bucket, Buckets
from storage.buckets import RedisBuckets
from storage.connections import Client, open_redis
from tests.support.memory_buckets import MemoryBuckets
from tests.support.store_cases import run_twice
from tests.support.valkey import ValkeyServer

# So slow that nothing comes back within a test.
PERSON, CHANNEL = Bucket("person", 0.001, 3.0), Bucket("channel", 0.002, 10.0)


@asynccontextmanager
async def redis_buckets(url: str, *, twice: bool = False) -> AsyncIterator[RedisBuckets]:
    client = open_redis(url)
    try:
        yield RedisBuckets(run_twice(client) if twice else client)
    finally:
        await client.aclose()


@pytest.fixture(params=["memory", "valkey", "valkey, each script twice"])
async def buckets(request: pytest.FixtureRequest) -> AsyncIterator[Buckets]:
    if request.param == "memory":
        yield MemoryBuckets()
        return
    async with redis_buckets(request.getfixturevalue("redis_url"), twice="twice" in request.param) as opened:
        yield opened


async def until_given(buckets: Buckets, bucket: Bucket, amount: float) -> float:
    """Tries again as the bucket says; the sum of what it said."""
    said_s = 0.0
    async with asyncio.timeout(20):
        while wait_s := await buckets.spend([(bucket, amount)]):
            said_s += wait_s
            await asyncio.sleep(wait_s)
    return said_s


async def test_full_bucket_gives_its_burst_and_says_when_to_ask_again(buckets: Buckets) -> None:
    given = [await buckets.spend([(PERSON, 1.0)]) for _ in range(3)]
    wait_s = await buckets.spend([(PERSON, 1.0)])

    assert given == [0.0, 0.0, 0.0]
    assert 900.0 < wait_s <= 1000.0
    assert 1900.0 < await buckets.spend([(PERSON, 2.0)]) <= 2000.0


async def test_bucket_refills(buckets: Buckets) -> None:
    quick = Bucket("quick", 10.0, 2.0)
    assert await buckets.spend([(quick, 2.0)]) == 0.0

    assert 0.0 < await until_given(buckets, quick, 2.0) <= 0.25


async def test_all_is_spent_or_nothing(buckets: Buckets) -> None:
    await buckets.spend([(CHANNEL, 9.0)])

    refused = await buckets.spend([(PERSON, 3.0), (CHANNEL, 2.0)])

    assert 400.0 < refused <= 500.0
    assert await buckets.spend([(PERSON, 3.0), (CHANNEL, 1.0)]) == 0.0
    assert await buckets.spend([(PERSON, 0.0), (CHANNEL, 1.0)]) > 0.0


async def test_charge_overdraws_and_nothing_can_be_spent_until_it_is_made_up(buckets: Buckets) -> None:
    await buckets.charge([(PERSON, 3.0)])
    asked_when_empty = await buckets.spend([(PERSON, 0.0)])
    await buckets.charge([(PERSON, 2.0), (CHANNEL, 1.0)])

    assert asked_when_empty == 0.0
    assert 1900.0 < await buckets.spend([(PERSON, 0.0), (CHANNEL, 1.0)]) <= 2000.0
    assert 2900.0 < await buckets.spend([(PERSON, 1.0)]) <= 3000.0
    assert await buckets.spend([(CHANNEL, 9.0)]) == 0.0


async def test_what_is_given_back_can_be_spent_and_fills_no_higher_than_the_burst(buckets: Buckets) -> None:
    await buckets.spend([(PERSON, 3.0)])
    await buckets.charge([(PERSON, -1.0)])
    again = await buckets.spend([(PERSON, 1.0)])
    await buckets.charge([(PERSON, -50.0)])

    assert again == 0.0
    assert await buckets.spend([(PERSON, 3.0)]) == 0.0
    assert await buckets.spend([(PERSON, 1.0)]) > 0.0


async def test_held_bucket_gives_nothing_until_the_hold_ends(buckets: Buckets) -> None:
    quick = Bucket("quick", 1000.0, 5.0)
    await buckets.hold(quick, 0.3)
    await buckets.hold(quick, 0.1)

    waits = [await buckets.spend([(quick, 0.0)]), await buckets.spend([(CHANNEL, 1.0), (quick, 1.0)])]

    assert all(0.1 < wait_s <= 0.3 for wait_s in waits)
    assert 0.0 < await until_given(buckets, quick, 5.0) <= 0.3
    assert await buckets.spend([(CHANNEL, 10.0)]) == 0.0


async def test_more_than_the_burst_is_given_by_a_full_bucket_only(buckets: Buckets) -> None:
    assert await buckets.spend([(PERSON, 4.0)]) == 0.0
    assert 3900.0 < await buckets.spend([(PERSON, 4.0)]) <= 4000.0


async def test_nothing_asked_is_given(buckets: Buckets) -> None:
    await buckets.charge([])

    assert await buckets.spend([]) == 0.0


async def test_processes_share_a_bucket_to_the_last_token(redis_url: str) -> None:
    async with redis_buckets(redis_url) as one, redis_buckets(redis_url) as other:
        asked = [each.spend([(PERSON, 1.0), (CHANNEL, 1.0)]) for _ in range(10) for each in (one, other)]
        waits = await asyncio.gather(*asked)

    assert waits.count(0.0) == 3


async def test_bucket_that_is_full_again_is_not_kept(redis_url: str) -> None:
    client = open_redis(redis_url)
    async with redis_buckets(redis_url) as buckets:
        await buckets.spend([(Bucket("slow", 0.1, 5.0), 2.0), (Bucket("asked", 0.1, 5.0), 0.0)])
        written = await client.get("parley:{buckets}:slow")
        await buckets.spend([(Bucket("slow", 0.1, 5.0), 0.0)])  # who only asks writes nothing
        assert await client.get("parley:{buckets}:slow") == written
        await buckets.hold(Bucket("held", 0.1, 5.0), 50.0)
        await buckets.spend([(Bucket("given back", 0.1, 5.0), 1.0)])
        await buckets.charge([(Bucket("given back", 0.1, 5.0), -1.0)])

    left_ms = {str(key): await client.pttl(key) async for key in client.scan_iter("*")}
    await client.aclose()
    assert set(left_ms) == {"parley:{buckets}:slow", "parley:{buckets}:held"}
    assert 0 < left_ms["parley:{buckets}:slow"] <= 20_001
    assert 0 < left_ms["parley:{buckets}:held"] <= 50_001


async def test_no_turn_waits_for_a_disk() -> None:
    with ValkeyServer() as server:
        client = open_redis(server.url())
        await client.set("written", "1")
        on_disk = await _on_disk(client)
        async with redis_buckets(server.url()) as buckets:
            waits = [await buckets.spend([(PERSON, 1.0)]) for _ in range(4)]
        grown = await _on_disk(client) - on_disk
        await client.aclose()

    assert [wait_s > 0.0 for wait_s in waits] == [False, False, False, True]
    assert grown == 0


async def _on_disk(client: Client) -> int:
    info = await client.info("persistence")
    return int(info["aof_current_size"])


async def test_buckets_that_cannot_be_reached_say_so() -> None:
    async with redis_buckets("redis://127.0.0.1:1/0") as buckets:
        with pytest.raises(StoreUnavailable):
            await buckets.spend([(PERSON, 1.0)])
