"""Who waits for work and who gets it: one blocking read a shard, shared by all workers of this process."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from core.chat.errors import BadEntry
from core.chat.message import Conversation
from core.chat.ports import Claim, Mail
from storage.connections import BLOCK_S, Client, to_its_end
from storage.items import mail_of
from storage.keys import WORKERS, Keys
from storage.script import Script
from storage.streams import create_group, read_new

# Leases that have run out are looked for this often, or four times in a shorter lease.
_LOOK_S = 1.0
# So many tickets at most are read at once for those who wait here: others may wait elsewhere.
_MOST_AT_ONCE = 4

_Place = asyncio.Future[Claim]


class TicketDesk:
    """Reads the tickets of all shards and hands claims to those who wait.

    A ticket that was read when nobody waits any more is given back through `release`, so a cancelled `take` neither
    cuts a Redis call nor keeps a ticket. The reads run only while somebody waits.
    """

    def __init__(
        self,
        client: Client,
        blocking_client: Client,
        keys: Keys,
        lease_s: float,
        release: Callable[[Claim], Awaitable[None]],
    ) -> None:
        self._blocking = blocking_client
        self._client = client
        self._keys = keys
        self._lease_ms = int(lease_s * 1000)
        self._look_s = min(_LOOK_S, max(0.05, lease_s / 4))
        self._block_s = min(BLOCK_S, self._look_s)
        self._release = release
        self._find_overdue = Script(client, "overdue")
        self._begin = Script(client, "begin")
        self._looked_at: dict[int, float] = {}
        self._waiting: dict[str, deque[_Place]] = {}
        self._readers: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def create_groups(self) -> None:
        """Creates the group of workers on each shard's tickets. Raises StoreUnavailable."""
        streams = [self._keys.of_shard(shard, "ready") for shard in range(self._keys.shards)]
        await asyncio.gather(*(create_group(self._client, stream, WORKERS) for stream in streams))

    async def take(self, worker: str, wait_s: float) -> Claim | None:
        """The next claim for `worker`, or None after `wait_s`. Raises StoreUnavailable."""
        place: _Place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(worker, deque()).append(place)
        self._start_readers(worker)
        try:
            await asyncio.wait({place}, timeout=wait_s)
        except asyncio.CancelledError:
            if not place.cancel() and place.exception() is None:
                await to_its_end(self._release(place.result()))
            raise
        if place.done():
            return place.result()
        place.cancel()
        return None

    async def aclose(self) -> None:
        """Waits for the reads under way, at most `BLOCK_S`, and gives back what they bring."""
        for places in self._waiting.values():
            for place in places:
                place.cancel()
        await asyncio.gather(*self._readers.values())

    def _start_readers(self, worker: str) -> None:
        for shard in range(self._keys.shards):
            reader = self._readers.get((worker, shard))
            if reader is None or reader.done():
                self._readers[worker, shard] = asyncio.create_task(self._read(worker, shard))

    async def _read(self, worker: str, shard: int) -> None:
        places = self._waiting[worker]
        try:
            while self._somebody_waits(places):
                claim = await self._overdue(worker, shard)
                if claim is not None:
                    await self._hand(claim, places)
                else:
                    await self._hand_new(worker, shard, places)
        except Exception as error:  # each of those who wait raises it in its own task
            while self._somebody_waits(places):
                places.popleft().set_exception(error)

    def _somebody_waits(self, places: deque[_Place]) -> bool:
        while places and places[0].done():
            places.popleft()
        return bool(places)

    async def _hand(self, claim: Claim, places: deque[_Place]) -> None:
        if self._somebody_waits(places):
            places.popleft().set_result(claim)
        else:
            await self._release(claim)

    async def _overdue(self, worker: str, shard: int) -> Claim | None:
        """A claim on what nobody renews any more; looks for it from time to time only, whoever asks."""
        if time.monotonic() - self._looked_at.get(shard, -_LOOK_S) < self._look_s:
            return None
        self._looked_at[shard] = time.monotonic()
        found = await self._find_overdue([self._keys.of_shard(shard, "ready")], [WORKERS, self._lease_ms])
        return await self._claim(worker, found[0], found[1], self._lease_ms) if found else None

    async def _hand_new(self, worker: str, shard: int, places: deque[_Place]) -> None:
        """Reads a ticket for each of those who wait; where all shards are asked, one of each is enough."""
        count = min(_MOST_AT_ONCE, len(places)) if self._keys.shards == 1 else 1
        ready = self._keys.of_shard(shard, "ready")
        tickets = await read_new(self._blocking, ready, WORKERS, worker, count, self._block_s)
        begun = await asyncio.gather(
            *(self._claim(worker, ticket, fields["conversation"], -1) for ticket, fields in tickets),
            return_exceptions=True,
        )
        for claim in begun:
            if isinstance(claim, Claim):
                await self._hand(claim, places)
        for error in begun:
            if isinstance(error, BaseException):
                raise error

    async def _claim(self, worker: str, ticket: str, conversation_id: str, lease_ms: int) -> Claim | None:
        conversation = Conversation.parse(conversation_id)
        shared = [self._keys.beside(conversation, kind) for kind in ("ready", "epoch")]
        own = [self._keys.of(conversation, kind) for kind in ("inbox", "history")]
        args: list[str | int] = [uuid.uuid4().hex, WORKERS, ticket, worker, lease_ms]
        begun = await self._begin([self._keys.of(conversation, "owner"), *shared, *own], args)
        if not begun:
            return None
        epoch, again, *found = begun
        return Claim(conversation, ticket, int(epoch), taken_over=bool(again), first=_first(conversation, found))


def _first(conversation: Conversation, found: list[Any]) -> Mail | None:
    try:
        return mail_of(conversation, found)
    except BadEntry:
        return None  # `head` sets it aside
