"""All commands of a client are under way on one connection; each caller has its own reply all the same."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from storage.line import LineRedis
from tests.support.running import until
from tests.support.valkey import ValkeyServer

PATIENCE_S = 0.2


@pytest.fixture
async def server() -> AsyncIterator[ValkeyServer]:
    with ValkeyServer() as own:
        yield own


@pytest.fixture
async def line(server: ValkeyServer) -> AsyncIterator[LineRedis]:
    pool = BlockingConnectionPool.from_url(server.url(), protocol=2, decode_responses=True, socket_timeout=2.0)
    client = LineRedis(connection_pool=pool, patience_s=PATIENCE_S)
    client.auto_close_connection_pool = True
    yield client
    await client.aclose()


async def counted(line: LineRedis) -> int:
    return len(await line.client_list())


async def test_each_caller_has_the_reply_to_its_own_command(line: LineRedis) -> None:
    await asyncio.gather(*(line.set(f"key {number}", number) for number in range(300)))

    values = await asyncio.gather(*(line.get(f"key {number}") for number in range(300)))

    assert values == [str(number) for number in range(300)]
    assert await counted(line) == 1


async def test_a_refusal_is_its_own_callers_alone(line: LineRedis) -> None:
    await line.rpush("list", "one")

    found = await asyncio.gather(line.get("key"), line.get("list"), line.llen("list"), return_exceptions=True)

    assert (found[0], found[2]) == (None, 1)
    assert isinstance(found[1], ResponseError)


async def test_a_reply_that_is_no_text_comes_as_it_is(server: ValkeyServer, line: LineRedis) -> None:
    await line.set("key", "value")

    dumped = await line.dump("key")

    with server.client() as plain:
        assert dumped == plain.dump("key")


async def test_replies_are_what_redis_py_makes_of_them(line: LineRedis) -> None:
    await line.hset("hash", mapping={"a": "1"})

    assert await line.hgetall("hash") == {"a": "1"}
    assert await line.exists("hash", "other") == 1
    assert isinstance(await line.info("memory"), dict)


async def test_a_cancelled_caller_takes_nobody_elses_reply(server: ValkeyServer, line: LineRedis) -> None:
    await line.set("mine", "yours")
    os.kill(server.pid, signal.SIGSTOP)
    first = asyncio.ensure_future(line.set("cancelled", "written"))
    second = asyncio.ensure_future(line.get("mine"))
    await asyncio.sleep(0)

    first.cancel()
    os.kill(server.pid, signal.SIGCONT)

    assert await second == "yours"
    assert await line.get("cancelled") == "written"


async def test_a_line_that_was_cut_is_made_anew(line: LineRedis) -> None:
    await line.set("key", "value")
    other = LineRedis(connection_pool=line.connection_pool)

    await other.client_kill_filter(_type="normal", skipme=True)

    assert list(await asyncio.gather(line.get("key"), line.get("key"))) == ["value", "value"]
    await other._line.aclose()
    assert await line.get("key") == "value"


async def test_who_was_under_way_when_the_server_died_is_served_by_its_successor(
    server: ValkeyServer, line: LineRedis
) -> None:
    await line.set("key", "value")
    os.kill(server.pid, signal.SIGSTOP)
    underway = [asyncio.ensure_future(line.get("key")) for _ in range(3)]
    await asyncio.sleep(0)

    server.kill()
    server.start()
    found = await asyncio.gather(*underway, return_exceptions=True)

    assert all(value == "value" or isinstance(value, Exception) for value in found)
    assert await line.get("key") == "value"


async def test_a_silent_server_is_given_up_and_heard_again(server: ValkeyServer, line: LineRedis) -> None:
    await line.set("key", "value")

    os.kill(server.pid, signal.SIGSTOP)
    found = await asyncio.gather(line.get("key"), line.get("key"), return_exceptions=True)
    os.kill(server.pid, signal.SIGCONT)

    assert [type(error) for error in found] == [RedisTimeoutError, RedisTimeoutError]
    assert await line.get("key") == "value"


async def test_a_closed_client_leaves_nobody_waiting(server: ValkeyServer, line: LineRedis) -> None:
    await line.set("key", "value")
    os.kill(server.pid, signal.SIGSTOP)
    waiting = asyncio.ensure_future(line._line.ask(("PING",)))
    await until(lambda: len(line._line._underway) == 1)

    await line.aclose()
    os.kill(server.pid, signal.SIGCONT)

    with pytest.raises(RedisConnectionError, match="closed"):
        await waiting
