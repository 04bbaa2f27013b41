"""The proxy that harms connections: each kind of harm happens, and none unasked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.proxy import Proxy
from tests.support.valkey import ValkeyServer

heard: list[bytes] = []


@asynccontextmanager
async def upper_server(path: Path | None = None) -> AsyncIterator[tuple[str, int]]:
    """A server that answers each line in capitals, and notes it in `heard`."""
    heard.clear()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            heard.append(line)
            writer.write(line.upper())
        writer.transport.abort()

    server = (
        await asyncio.start_unix_server(serve, str(path)) if path else await asyncio.start_server(serve, "127.0.0.1", 0)
    )
    try:
        yield ("", 0) if path else server.sockets[0].getsockname()
    finally:
        server.close()


@dataclass
class Client:
    """One connection through the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, line: bytes) -> bytes:
        async with asyncio.timeout(10):
            self.writer.write(line + b"\n")
            await self.writer.drain()
            return (await self.reader.readline()).strip()


Dial = Callable[[Proxy], Awaitable[Client]]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Connects to a proxy; all connections are closed at the end."""
    made: list[Client] = []

    async def connect(proxy: Proxy) -> Client:
        made.append(Client(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return made[-1]

    yield connect
    for client in made:
        client.writer.transport.abort()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with upper_server() as target, Proxy(target) as made:
        yield made


async def test_passes_everything_on_when_nothing_was_asked_for(proxy: Proxy, dial: Dial) -> None:
    client = await dial(proxy)

    assert [await client.ask(b"one"), await client.ask(b"two")] == [b"ONE", b"TWO"]
    assert (proxy.resets, proxy.lost_replies) == (0, 0)


async def test_stall_takes_connections_and_holds_back_what_they_say(proxy: Proxy, dial: Dial) -> None:
    client = await dial(proxy)
    await client.ask(b"one")

    proxy.stall()
    newcomer = await dial(proxy)
    waiting = [asyncio.create_task(each.ask(b"two")) for each in (client, newcomer)]
    await asyncio.wait(waiting, timeout=0.1)
    assert heard == [b"one\n"]
    assert not any(task.done() for task in waiting)

    proxy.flow()
    assert await asyncio.gather(*waiting) == [b"TWO", b"TWO"]


async def test_refuse_ends_connections_and_accept_takes_new_ones(proxy: Proxy, dial: Dial) -> None:
    client = await dial(proxy)
    await client.ask(b"one")

    await proxy.refuse()
    with pytest.raises(ConnectionError):
        await client.ask(b"two")
    with pytest.raises(ConnectionRefusedError):
        await dial(proxy)
    await proxy.accept()

    assert await (await dial(proxy)).ask(b"three") == b"THREE"
    assert heard == [b"one\n", b"three\n"]


async def test_resets_the_share_of_chunks_that_was_asked_for(proxy: Proxy, dial: Dial) -> None:
    proxy.reset_share = 0.5
    answered = 0
    for _ in range(60):
        try:
            answered += await (await dial(proxy)).ask(b"one") == b"ONE"
        except ConnectionResetError:
            continue

    assert 5 <= answered <= 25  # both chunks must pass: about a quarter
    assert proxy.resets == 60 - answered


async def test_a_lost_reply_follows_a_request_that_was_passed_on(proxy: Proxy, dial: Dial) -> None:
    proxy.marker, proxy.lose_replies = b"two", 1
    client = await dial(proxy)

    assert await client.ask(b"one") == b"ONE"
    with pytest.raises(ConnectionResetError):
        await client.ask(b"two")
    assert await (await dial(proxy)).ask(b"two") == b"TWO"

    assert heard == [b"one\n", b"two\n", b"two\n"]
    assert proxy.lost_replies == 1


async def test_latency_delays_and_keeps_the_order(proxy: Proxy, dial: Dial) -> None:
    client = await dial(proxy)
    await client.ask(b"one")
    proxy.latency_s = 0.05
    loop = asyncio.get_running_loop()
    began = loop.time()

    assert [await client.ask(b"two"), await client.ask(b"three")] == [b"TWO", b"THREE"]
    assert loop.time() - began >= 0.2


async def test_goes_to_another_target_when_told(proxy: Proxy, dial: Dial, tmp_path: Path) -> None:
    async with upper_server(tmp_path / "s"):
        proxy.target = tmp_path / "s"

        assert await (await dial(proxy)).ask(b"unix") == b"UNIX"


async def test_serves_a_real_valkey(dial: Dial) -> None:
    with ValkeyServer() as server:
        async with Proxy(server.socket) as proxy:
            assert await (await dial(proxy)).ask(b"PING") == b"+PONG"
