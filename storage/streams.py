"""Streams in Redis and the groups that read them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from storage.connections import Client, in_our_words

# An entry's id, and its fields.
Entry = tuple[str, dict[str, str]]


async def create_group(client: Client, stream: str, group: str) -> None:
    """Creates `group` on `stream`, from its beginning, unless it exists. Raises StoreUnavailable."""
    with in_our_words():
        try:
            await client.xgroup_create(stream, group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


async def read_new(client: Client, stream: str, group: str, reader: str, count: int, block_s: float) -> list[Entry]:
    """Up to `count` entries that no reader of `group` had yet; waits up to `block_s`. Raises StoreUnavailable."""
    block_ms = max(0, int(block_s * 1000))
    block = ("BLOCK", block_ms) if block_ms else ()  # BLOCK 0 would wait for ever
    command = ("XREADGROUP", "GROUP", group, reader, "COUNT", count, *block, "STREAMS", stream, ">")
    found = await _of_group(client, stream, group, lambda: _on_its_node(client, stream, command))
    return [entry for _, entries in found or [] for entry in entries]


async def read_overdue(client: Client, stream: str, group: str, reader: str, count: int, idle_ms: int) -> list[Entry]:
    """Up to `count` entries that a reader had for longer than `idle_ms`, now `reader`'s. Raises StoreUnavailable."""
    claimed = await _of_group(
        client, stream, group, lambda: client.xautoclaim(stream, group, reader, idle_ms, count=count)
    )
    # Redis 6.2 names entries that were deleted while they were pending, without fields.
    return [(id_, fields) for id_, fields in claimed[1] if fields]


async def _on_its_node(client: Client, stream: str, command: tuple[str | int, ...]) -> Any:
    """Names the node: redis-py would ask a node of its choice where the stream's name stands in the command.

    It would do so before each read, and in vain for ever once that node is gone.
    """
    if not isinstance(client, RedisCluster):
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]
    await client.initialize()
    return await client.execute_command(*command, target_nodes=client.get_node_from_key(stream))


async def _of_group(client: Client, stream: str, group: str, read: Callable[[], Awaitable[Any]]) -> Any:
    with in_our_words():
        try:
            return await read()
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await create_group(client, stream, group)  # the first read of all, or the server lost its data
            return await read()
