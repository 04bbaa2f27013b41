"""How much waits in Redis, for whoever watches."""

from __future__ import annotations

import asyncio

from core.chat.ports import Backlog
from storage.connections import Client
from storage.keys import Keys
from storage.script import Script

_STREAMS = ("ready", "log", "feedback", "log-dead", "feedback-dead", "inbox-dead")


class RedisDepth:
    """Depth of `core.chat.ports`; ages by the server's clock, a conversation's since it got the ticket it has now."""

    def __init__(self, client: Client, prefix: str = "parley", shards: int = 1) -> None:
        self._keys = Keys(prefix, shards)
        self._backlog = Script(client, "backlog")

    async def backlog(self) -> Backlog:
        """See `Depth.backlog`."""
        of_shards = await asyncio.gather(*(self._of_shard(shard) for shard in range(self._keys.shards)))
        tickets, waits_ms, unlogged, unlogged_ms, dead = zip(*of_shards, strict=True)
        return Backlog(sum(tickets), max(waits_ms) / 1000, sum(unlogged), max(unlogged_ms) / 1000, sum(dead))

    async def _of_shard(self, shard: int) -> tuple[int, int, int, int, int]:
        keys = [self._keys.of_shard(shard, kind) for kind in _STREAMS]
        tickets, waits_ms, unlogged, unlogged_ms, dead = await self._backlog(keys, [])
        return int(tickets), int(waits_ms), int(unlogged), int(unlogged_ms), int(dead)
