"""The log stream in Redis: the outbox between the mailbox, which fills it with each commit, and the ledger.

Feedback has a stream of its own beside it: log writers of earlier versions, which may run beside this one for a while,
would take it for interactions that they cannot read, and bury it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

from core.chat.ports import LogEntry
from storage.connections import BLOCK_S, Client, to_its_end
from storage.keys import WRITERS, Keys
from storage.script import Script
from storage.streams import Entry, read_new, read_overdue

WRITER_LEASE_S = 30.0
Stream = Literal["log", "feedback"]
Kind = Literal["interaction", "feedback"]
_KINDS: dict[Stream, Kind] = {"log": "interaction", "feedback": "feedback"}
# Entries of dead writers are looked for this often, or each time when their lease is shorter.
_LOOK_S = 1.0


class RedisLogStream:
    """LogStream of `core.chat.ports`; an entry's id is `<shard>/<stream>:<id there>`. Raises StoreUnavailable.

    An entry that was read and is not `done` after `lease_s` is given to the next writer that reads.
    """

    def __init__(
        self,
        client: Client,
        blocking_client: Client,
        prefix: str = "parley",
        shards: int = 1,
        lease_s: float = WRITER_LEASE_S,
    ) -> None:
        self._client = client
        self._blocking = blocking_client
        self._keys = Keys(prefix, shards)
        self._lease_ms = int(lease_s * 1000)
        self._looked_at = 0.0
        self._bury = Script(client, "bury")
        self._done = Script(client, "done")

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
        by_stream: dict[str, list[str]] = {}
        for id_ in ids:
            key, entry = self._whereabouts(id_)
            by_stream.setdefault(key, []).append(entry)
        for key, entries in by_stream.items():
            await self._done([key], [WRITERS, *entries])

    async def bury(self, entry: LogEntry, reason: str) -> None:
        """See `LogStream.bury`; the dead letters are the stream `log-dead` or `feedback-dead` of the entry's shard."""
        key, id_ = self._whereabouts(entry.id)
        await self._bury([key, f"{key}-dead"], [WRITERS, id_, entry.text, reason, entry.kind])

    def _whereabouts(self, id_: str) -> tuple[str, str]:
        """The key of the stream that holds an entry, and the entry's id there."""
        place, _, entry = id_.partition(":")
        shard, _, stream = place.partition("/")
        return self._keys.of_shard(int(shard), stream), entry

    async def _look(self, writer: str, max_rows: int, wait_s: float) -> list[LogEntry]:
        """What is there, else what comes first; in a cluster no single call can wait on all shards."""
        found = await self._there(writer, max_rows)
        if found or wait_s <= 0:
            return found
        shards, block_s = range(min(self._keys.shards, max_rows)), min(wait_s, BLOCK_S)
        coming = (self._new(shard, writer, max(1, max_rows // len(shards)), block_s) for shard in shards)
        return [entry for entries in await asyncio.gather(*coming) for entry in entries]

    async def _there(self, writer: str, max_rows: int) -> list[LogEntry]:
        also_overdue = time.monotonic() - self._looked_at >= min(_LOOK_S, self._lease_ms / 2000)
        if also_overdue:
            self._looked_at = time.monotonic()
        # Feedback is rare, so it is looked for where there is nothing else to do; but answers without end must not keep
        # it waiting.
        found = await self._feedback(writer, max_rows, also_overdue=True) if also_overdue else []
        for shard in range(self._keys.shards):
            if also_overdue and len(found) < max_rows:
                found += await self._overdue(shard, writer, max_rows - len(found))
            if len(found) < max_rows:
                found += await self._new(shard, writer, max_rows - len(found), 0.0)
        if not found and not also_overdue:
            found = await self._feedback(writer, max_rows, also_overdue=False)
        return found

    async def _feedback(self, writer: str, max_rows: int, *, also_overdue: bool) -> list[LogEntry]:
        found: list[LogEntry] = []
        for shard in range(self._keys.shards):
            if also_overdue and len(found) < max_rows:
                found += await self._overdue(shard, writer, max_rows - len(found), "feedback")
            if len(found) < max_rows:
                found += await self._new(shard, writer, max_rows - len(found), 0.0, "feedback")
        return found

    async def _overdue(self, shard: int, writer: str, max_rows: int, stream: Stream = "log") -> list[LogEntry]:
        key = self._keys.of_shard(shard, stream)
        claimed = await read_overdue(self._client, key, WRITERS, writer, max_rows, self._lease_ms)
        return _entries(shard, stream, claimed)

    async def _new(
        self, shard: int, writer: str, max_rows: int, block_s: float, stream: Stream = "log"
    ) -> list[LogEntry]:
        key = self._keys.of_shard(shard, stream)
        return _entries(shard, stream, await read_new(self._blocking, key, WRITERS, writer, max_rows, block_s))


def _entries(shard: int, stream: Stream, entries: list[Entry]) -> list[LogEntry]:
    kind = _KINDS[stream]
    return [LogEntry(f"{shard}/{stream}:{id_}", fields[kind], kind) for id_, fields in entries]
