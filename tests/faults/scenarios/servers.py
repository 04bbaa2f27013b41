"""Scenarios 5 to 10: what befalls the mailbox's server and the way to it."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from tests.faults.scenarios.theatre import Report, Size, Theatre, again_and_again, finish, talk
from tests.support.fleet import Fleet
from tests.support.platforms import SlackPlatform
from tests.support.proxy import Proxy
from tests.support.valkey import ValkeyServer

SCRIPT = b"EVALSHA"  # what our calls that write consist of


async def server_killed(theatre: Theatre, size: Size) -> Report:
    """5: kill -9 of the mailbox's server again and again; it starts anew with what is on its disk."""
    async with theatre.fleet() as running:

        async def harm() -> None:
            running.valkey.kill()
            await asyncio.to_thread(running.valkey.start)

        async with again_and_again(size.span_s, harm):
            await talk(running, size)

        return await finish(running)


async def server_stopped(theatre: Theatre, size: Size) -> Report:
    """6: the server hangs: nothing is acknowledged meanwhile, everything is answered afterwards."""
    async with theatre.fleet(ack_s=max(1.0, size.span_s / 2)) as running:
        await talk(running, size)
        await running.settled(30.0)
        acked = _acked(running)
        os.kill(running.valkey.pid, signal.SIGSTOP)
        until = time.monotonic() + size.span_s
        await talk(running, size)
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        early = _acked(running) - acked
        os.kill(running.valkey.pid, signal.SIGCONT)

        report = await finish(running)
        for number in range(early):
            report.harm.note("lost", f"acknowledgement {number + 1} without a durable write")
        return report


async def packets_reset(theatre: Theatre, size: Size) -> Report:
    """7: of all packets from and to the mailbox's server every tenth resets its connection."""
    async with theatre.fleet(proxied=True) as running:
        running.proxy.reset_share = 0.1
        await talk(running, size)
        resets = running.proxy.resets
        running.proxy.well()

        return await finish(running, resets=resets)


async def replies_lost(theatre: Theatre, size: Size) -> Report:
    """8: a script runs, and its reply is lost with the connection."""
    async with theatre.fleet(proxied=True) as running:
        running.proxy.marker, running.proxy.lose_share = SCRIPT, 0.1
        await talk(running, size)
        running.proxy.well()

        return await finish(running, lost_replies=running.proxy.lost_replies)


async def server_full(theatre: Theatre, size: Size) -> Report:
    """9: the server is full and evicts nothing: nothing is acknowledged until there is room again."""
    async with theatre.fleet(ack_s=max(1.0, size.span_s / 2)) as running:
        await talk(running, size)
        await running.settled(30.0)
        acked = _acked(running)
        await running.redis.config_set("maxmemory", "1")
        await talk(running, size)
        await asyncio.sleep(size.span_s)
        early = _acked(running) - acked
        await running.redis.config_set("maxmemory", "0")

        report = await finish(running)
        for number in range(early):
            report.harm.note("lost", f"acknowledgement {number + 1} of what could not be written")
        return report


async def failed_over(theatre: Theatre, size: Size) -> Report:
    """10: the server dies while people talk, its replica takes its place, and it comes back as that one's replica."""
    with ValkeyServer() as replica:
        async with theatre.fleet(proxied=True, settings={"MAILBOX_REPLICAS": "1"}) as running:
            primary = running.valkey
            async with Proxy(primary.socket) as to_primary, Proxy(replica.socket) as to_replica:
                _replicate(replica, to_primary.port)
                async with asyncio.TaskGroup() as tasks:
                    talking = tasks.create_task(talk(running, size))
                    await asyncio.sleep(size.rounds * size.pause_s / 2)
                    await running.proxy.refuse()
                    primary.kill()
                    with replica.client() as client:
                        client.replicaof("NO", "ONE")
                    running.proxy.target = replica.socket
                    await running.look_at(replica)
                    await running.proxy.accept()
                    await asyncio.to_thread(primary.start)
                    _replicate(primary, to_replica.port)
                    await talking

                return await finish(running)


def _replicate(server: ValkeyServer, port: int) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", port)


def _acked(running: Fleet) -> int:
    """How many events Slack saw acknowledged; Discord knows no acknowledgement."""
    return len(running.platform.slack.sockets.acked_in_s) if isinstance(running.platform, SlackPlatform) else 0
