"""The marks of the gateways, and where something was heard lately: what a backfill needs to know, in Redis."""

from __future__ import annotations

import asyncio
import heapq

from core.chat.message import Conversation
from core.chat.ports import Heard
from storage.connections import Client, ask
from storage.keys import Keys
from storage.script import Script


class RedisMarks:
    """Marks of `core.chat.ports`. What was heard is written by `accept`, in each shard; here the shards are merged."""

    def __init__(self, client: Client, prefix: str = "parley", shards: int = 1) -> None:
        self._client = client
        self._keys = Keys(prefix, shards)
        self._mark = Script(client, "mark_alive")

    async def alive(self, gateway: str) -> float | None:
        """See `Marks.alive`."""
        at = await ask(self._client.get(self._keys.alive(gateway)))
        return None if at is None else float(at)

    async def mark_alive(self, gateway: str, at: float) -> None:
        """See `Marks.mark_alive`."""
        await self._mark([self._keys.alive(gateway)], [at])

    async def heard_since(self, platform: str, since: float, limit: int) -> list[Heard]:
        """See `Marks.heard_since`; conversations are known for a week after their last message, 10,000 a shard."""
        found = await asyncio.gather(*(self._of_shard(n, platform, since, limit) for n in range(self._keys.shards)))
        return heapq.nlargest(limit, (each for of_shard in found for each in of_shard), key=lambda each: each.sent_at)

    async def _of_shard(self, shard: int, platform: str, since: float, limit: int) -> list[Heard]:
        key = self._keys.heard(shard, platform)
        read = self._client.zrevrangebyscore(key, "+inf", f"({since}", start=0, num=limit, withscores=True)
        return [Heard(Conversation.parse(id_), float(sent_at)) for id_, sent_at in await ask(read)]
