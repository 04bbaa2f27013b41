"""A worker on a real Valkey ends when it is told to, at whatever moment that is."""

from __future__ import annotations

import asyncio

import pytest

from core.chat.interaction import Sampling
from core.chat.kit import Answerer
from core.chat.persona import Persona
from core.chat.worker import Worker
from storage.connections import open_redis
from storage.mailbox import RedisMailbox
from tests.support.scripted_host import ScriptedHost
from tests.support.wall import Wall


@pytest.mark.parametrize("delay_s", [0.0, 0.0005, 0.001, 0.005, 0.2])
async def test_a_worker_ends_soon_after_it_is_told_to(redis_url: str, delay_s: float) -> None:
    client, blocking = open_redis(redis_url), open_redis(redis_url, blocking=True)
    mailbox = RedisMailbox(client, blocking)
    await mailbox.open()
    kit = Answerer(ScriptedHost(), {"wall": Wall()}, Persona(), Sampling(0.0, 1.0, 10, 0), "w1")
    stopping = asyncio.Event()
    working = asyncio.create_task(Worker(mailbox, kit, stopping).run())

    asyncio.get_running_loop().call_later(delay_s, stopping.set)

    async with asyncio.timeout(5.0):
        await working
    await mailbox.aclose()
    await client.aclose()
    await blocking.aclose()
