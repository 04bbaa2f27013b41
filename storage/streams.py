"""Streams in Redis and the groups that read them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from storage.connections import in_our_words

# An entry's id, and its fields.
Entry = tuple[str, dict[str, str]]


async def create_group(client: Redis, stream: str, group: str) -> None:
    """Creates `group` on `stream`, from its beginning, unless it exists. Raises StoreUnavailable."""
    with in_our_words():
        try:
            await client.xgroup_create(stream, group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


async def read_new(client: Redis, stream: str, group: str, reader: str, count: int, block_s: float) -> list[Entry]:
    """Up to `count` entries that no reader of `group` had yet; waits up to `block_s`. Raises StoreUnavailable."""
    block_ms = max(0, int(block_s * 1000)) or None  # BLOCK 0 would wait for ever
    read = client.xreadgroup(group, reader, {stream: ">"}, count=count, block=block_ms)
    return [entry for _, entries in await _of_group(client, stream, group, read) for entry in entries]


async def read_overdue(client: Redis, stream: str, group: str, reader: str, count: int, idle_ms: int) -> list[Entry]:
    """Up to `count` entries that a reader had for longer than `idle_ms`, now `reader`'s. Raises StoreUnavailable."""
    read = client.xautoclaim(stream, group, reader, idle_ms, count=count)
    claimed = await _of_group(client, stream, group, read)
    # Redis 6.2 names entries that were deleted while they were pending, without fields.
    return [(id_, fields) for id_, fields in claimed[1] if fields] if claimed else []


async def _of_group(client: Redis, stream: str, group: str, read: Awaitable[Any]) -> Any:
    with in_our_words():
        try:
            return await read
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await create_group(client, stream, group)  # the server lost its data while we ran
            return []
