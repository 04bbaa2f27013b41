"""One platform with everything behind it: the real SDK or HTTP over real sockets, a real Valkey, core's own worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from core.chat.interaction import Interaction, Sampling
from core.chat.kit import Answerer
from core.chat.logbook import LogWriter
from core.chat.persona import Persona
from core.chat.worker import Pace, Worker
from storage.connections import Client, ask, open_redis
from storage.feed import RedisFeed
from storage.log_stream import RedisLogStream
from storage.mailbox import RedisMailbox
from storage.marks import RedisMarks
from tests.support.discord_harness import discord_harness
from tests.support.harness import Harness, RoomHarness
from tests.support.memory_store import MemoryLedger
from tests.support.scripted_host import ScriptedHost
from tests.support.slack_harness import slack_harness
from tests.support.web_harness import web_harness

_GATEWAYS = {"slack": "slack:T1", "discord": "discord"}


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class House:
    """One platform with everything behind it."""

    harness: RoomHarness
    host: ScriptedHost
    client: Client
    marks: RedisMarks
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def rows(self) -> list[Interaction]:
        return list(self.ledger.rows.values())

    async def logged(self, count: int) -> list[Interaction]:
        await until(lambda: len(self.ledger.rows) >= count)
        return self.rows()

    async def waiting(self, count: int) -> None:
        """Until exactly `count` messages wait in all inboxes, those under way included."""
        async with asyncio.timeout(10.0):
            while len(await self._inboxes()) != count:
                await asyncio.sleep(0.01)

    async def edited(self, text: str) -> None:
        """Until a message that waits says `text`."""
        async with asyncio.timeout(10.0):
            while not any(f'"text":"{text}"' in item for item in await self._inboxes()):
                await asyncio.sleep(0.01)

    async def marked(self) -> None:
        """Until it is kept that the gateway has heard what is logged."""
        newest = max(row.sent_at for row in self.rows())
        async with asyncio.timeout(10.0):
            while (await self.marks.alive(_GATEWAYS[self.harness.platform]) or 0.0) < newest:
                await asyncio.sleep(0.01)

    async def _inboxes(self) -> list[str]:
        inboxes = [key async for key in self.client.scan_iter("parley:*:inbox:*")]
        return [item for key in inboxes for item in await ask(self.client.lrange(key, 0, -1))]


@asynccontextmanager
async def living(platform: str, redis_url: str) -> AsyncIterator[House]:
    client, blocking = open_redis(redis_url), open_redis(redis_url, blocking=True)
    mailbox = RedisMailbox(client, blocking, inbox_limit=3)
    feed, log_stream = RedisFeed(client), RedisLogStream(client, blocking)
    marks = RedisMarks(client)
    await mailbox.open()
    try:
        async with _harness(platform, mailbox, feed, marks) as harness:
            house = House(cast("RoomHarness", harness), ScriptedHost(), client, marks)
            sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=100, seed=0)
            kit = Answerer(house.host, {platform: harness.courier}, Persona(), sampling, "worker-1")
            stopping = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(Worker(mailbox, kit, stopping, Pace(take_wait_s=0.1)).run())
                group.create_task(LogWriter(log_stream, house.ledger, "writer", stopping, wait_s=0.05).run())
                try:
                    yield house
                finally:
                    stopping.set()
                    if house.host.gate is not None:
                        for _ in range(1000):
                            house.host.gate.release()
    finally:
        await mailbox.aclose()
        await feed.aclose()
        await client.aclose()
        await blocking.aclose()


@asynccontextmanager
async def _harness(platform: str, mailbox: RedisMailbox, feed: RedisFeed, marks: RedisMarks) -> AsyncIterator[Harness]:
    if platform == "slack":
        async with slack_harness(mailbox, marks=marks) as slack:
            yield slack
    elif platform == "discord":
        async with discord_harness(mailbox, marks=marks) as discord:
            yield discord
    else:
        async with web_harness(mailbox, feed, mailbox) as web:
            yield web
