"""The log stream in Redis: the outbox between the mailbox, which fills it with each commit, and the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from redis.asyncio import Redis

from core.chat.ports import LogEntry
from storage.connections import BLOCK_S, ask, to_its_end
from storage.keys import WRITERS, Keys
from storage.script import Script
from storage.streams import Entry, read_new, read_overdue

WRITER_LEASE_S = 30.0
# With several shards a waiting writer looks through them this often: in a cluster one call cannot wait on them all.
_LOOK_S = 0.1


class RedisLogStream:
    """LogStream of `core.chat.ports`; an entry's id is `<shard>:<id in the stream>`. Raises StoreUnavailable.

    An entry that was read and is not `done` after `lease_s` is given to the next writer that reads.
    """

    def __init__(
        self,
        client: Redis,
        blocking_client: Redis,
        prefix: str = "parley",
        shards: int = 1,
        lease_s: float = WRITER_LEASE_S,
    ) -> None:
        self._client = client
        self._blocking = blocking_client
        self._keys = Keys(prefix, shards)
        self._lease_ms = int(lease_s * 1000)
        self._bury = Script(client, "bury")

    async def aclose(self) -> None:
        """Nothing is held open."""

    async def read(self, writer: str, max_rows: int, wait_s: float) -> list[LogEntry]:
        """See `LogStream.read`."""
        deadline = time.monotonic() + wait_s
        while True:
            left_s = deadline - time.monotonic()
            found = await to_its_end(self._look(writer, max_rows, left_s))
            if found or left_s <= 0:
                return found

    async def done(self, ids: Sequence[str]) -> None:
        """See `LogStream.done`. Ids that are gone already are passed over."""
        by_shard: dict[str, list[str]] = {}
        for id_ in ids:
            shard, _, entry = id_.partition(":")
            by_shard.setdefault(shard, []).append(entry)
        for shard, entries in by_shard.items():
            key = self._keys.of_shard(int(shard), "log")
            await ask(self._client.xack(key, WRITERS, *entries))
            await ask(self._client.xdel(key, *entries))

    async def bury(self, entry: LogEntry, reason: str) -> None:
        """See `LogStream.bury`; the dead letters are the stream `log-dead` of the entry's shard."""
        shard, _, id_ = entry.id.partition(":")
        keys = [self._keys.of_shard(int(shard), kind) for kind in ("log", "log-dead")]
        await self._bury(keys, [WRITERS, id_, entry.text, reason])

    async def _look(self, writer: str, max_rows: int, wait_s: float) -> list[LogEntry]:
        alone = self._keys.shards == 1
        found: list[LogEntry] = []
        for shard in range(self._keys.shards):
            found += await self._overdue(shard, writer, max_rows - len(found))
            if len(found) < max_rows:
                block_s = min(wait_s, BLOCK_S) if alone and not found else 0.0
                found += await self._new(shard, writer, max_rows - len(found), block_s)
            if len(found) == max_rows:
                break
        if not found and not alone and wait_s > 0:
            await asyncio.sleep(min(wait_s, _LOOK_S))
        return found

    async def _overdue(self, shard: int, writer: str, max_rows: int) -> list[LogEntry]:
        key = self._keys.of_shard(shard, "log")
        return _entries(shard, await read_overdue(self._client, key, WRITERS, writer, max_rows, self._lease_ms))

    async def _new(self, shard: int, writer: str, max_rows: int, block_s: float) -> list[LogEntry]:
        key = self._keys.of_shard(shard, "log")
        return _entries(shard, await read_new(self._blocking, key, WRITERS, writer, max_rows, block_s))


def _entries(shard: int, entries: list[Entry]) -> list[LogEntry]:
    return [LogEntry(f"{shard}:{id_}", fields["interaction"]) for id_, fields in entries]
