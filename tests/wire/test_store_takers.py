"""Many who wait for conversations at the same time are served together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.chat.message import Conversation
from storage.connections import open_redis
from storage.mailbox import RedisMailbox
from tests.support.store_cases import message
from tests.support.valkey import ValkeyServer


@pytest.fixture
async def mailbox() -> AsyncIterator[RedisMailbox]:
    with ValkeyServer() as server:
        client, blocking = open_redis(server.url()), open_redis(server.url(), blocking=True)
        mailbox = RedisMailbox(client, blocking)
        await mailbox.open()
        yield mailbox
        await mailbox.aclose()
        await client.aclose()
        await blocking.aclose()


async def reads(mailbox: RedisMailbox) -> int:
    return await calls(mailbox, "xreadgroup")


async def calls(mailbox: RedisMailbox, command: str) -> int:
    stats: dict[str, dict[str, int]] = await mailbox._client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_tickets_for_all_who_wait_are_read_at_once(mailbox: RedisMailbox) -> None:
    rooms = [Conversation("slack", "T1", f"C{number}") for number in range(4)]
    for room in rooms:
        await mailbox.accept(message("1", room))
    before = await reads(mailbox)

    claims = await asyncio.gather(*(mailbox.take("w1", 5.0) for _ in rooms))

    assert {claim.conversation for claim in claims if claim} == set(rooms)
    assert [claim.first.message.conversation for claim in claims if claim and claim.first] == [
        claim.conversation for claim in claims if claim
    ]
    assert await reads(mailbox) == before + 1


async def test_no_more_tickets_are_read_than_there_are_who_wait(mailbox: RedisMailbox) -> None:
    rooms = [Conversation("slack", "T1", f"C{number}") for number in range(3)]
    for room in rooms:
        await mailbox.accept(message("1", room))

    first = await mailbox.take("w1", 5.0)
    second = await mailbox.take("w2", 5.0)
    third = await mailbox.take("w1", 5.0)

    assert [claim.conversation for claim in (first, second, third) if claim] == rooms


async def test_overdue_ones_are_looked_for_from_time_to_time_only(mailbox: RedisMailbox) -> None:
    rooms = [Conversation("slack", "T1", f"C{number}") for number in range(30)]
    for room in rooms:
        await mailbox.accept(message("1", room))
    began = asyncio.get_running_loop().time()

    for _ in rooms:
        await mailbox.take("w1", 5.0)

    # Each claim looks once at who holds it; more than that are looks at all that is pending, one a second.
    looks = await calls(mailbox, "xpending") - len(rooms)
    assert looks <= 2 + asyncio.get_running_loop().time() - began
