"""A TCP proxy that a test puts before a server, and through which it harms the connections to it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

# Where the server listens: host and port, or the path of its unix socket.
Target = tuple[str, int] | Path

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close sends RST, and what was not sent is lost


@dataclass(eq=False, slots=True)
class _Link:
    """One connection of a client, and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    reply_is_lost: bool = False

    def reset(self) -> None:
        for writer in (self.client, self.server):
            with suppress(OSError):
                raw = writer.get_extra_info("socket")
                if raw is not None and raw.family != socket.AF_UNIX:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@dataclass(slots=True)
class Proxy:
    """`async with Proxy(target) as proxy:` serves on 127.0.0.1 at `proxy.port` until the block ends.

    `target` may be changed: new connections go to the new one. `latency_s` delays each chunk in each direction. Of all
    chunks the share `reset_share` resets its connection instead of being passed on. A request that holds `marker` and
    is passed on while `lose_replies` is above 0, or with the chance `lose_share`, has its reply swallowed and its
    connection reset. `passed`, `resets` and `lost_replies` count what happened.
    """

    target: Target
    seed: int = 1
    port: int = 0
    latency_s: float = 0.0
    reset_share: float = 0.0
    marker: bytes = b""
    lose_replies: int = 0
    lose_share: float = 0.0
    passed: int = 0
    resets: int = 0
    lost_replies: int = 0
    _chance: random.Random = field(init=False)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set[_Link] = field(default_factory=set)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._flowing.set()

    @property
    def connections(self) -> int:
        return len(self._links)

    # ── what a test does ────────────────────────────────────────────────────────────────────────────────────────────

    def stall(self) -> None:
        """Connections are still taken, but nothing flows either way, as with a server that was stopped."""
        self._flowing.clear()

    def flow(self) -> None:
        """What was held back by `stall` goes on."""
        self._flowing.set()

    def cut(self) -> None:
        """Resets every connection."""
        for link in list(self._links):
            self.resets += 1
            link.reset()

    async def refuse(self) -> None:
        """Resets every connection, and refuses new ones, as with a server that is down."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    async def accept(self) -> None:
        """Takes connections again, on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._greet, "127.0.0.1", self.port, backlog=512)
            self.port = self._server.sockets[0].getsockname()[1]

    def well(self) -> None:
        """Ends everything that was asked for except `refuse`."""
        self.latency_s = self.reset_share = self.lose_share = 0.0
        self.lose_replies = 0
        self.flow()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    # ── what flows ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._connect(reader, writer)
        finally:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            from_server, to_server = await self._dial()
        except OSError:
            return
        link = _Link(writer, to_server)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(link, reader, to_server, request=True),
                self._pump(link, from_server, writer, request=False),
            )
        finally:
            self._links.discard(link)
            to_server.transport.abort()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, Path):
            return await asyncio.open_unix_connection(str(self.target))
        return await asyncio.open_connection(*self.target)

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, request: bool
    ) -> None:
        """Passes on what `source` gives; its end, or a reset, is the end of both directions."""
        with suppress(ConnectionError):
            while chunk := await source.read(_CHUNK):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                await self._flowing.wait()
                if self._harmed(link, chunk, request=request):
                    link.reset()
                    return
                sink.write(chunk)
                self.passed += 1
                await sink.drain()
        for writer in (link.client, link.server):
            writer.close()

    def _harmed(self, link: _Link, chunk: bytes, *, request: bool) -> bool:
        if self.reset_share and self._chance.random() < self.reset_share:
            self.resets += 1
            return True
        if not request:
            self.lost_replies += link.reply_is_lost
            return link.reply_is_lost
        if (self.lose_replies > 0 or self.lose_share) and self.marker in chunk:
            link.reply_is_lost = self.lose_replies > 0 or self._chance.random() < self.lose_share
            self.lose_replies -= self.lose_replies > 0
        return False
