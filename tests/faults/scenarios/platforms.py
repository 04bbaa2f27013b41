"""Scenarios 14 to 18: what the platforms themselves do to a message."""

from __future__ import annotations

import asyncio
import time

from tests.faults.scenarios.theatre import Report, Size, Theatre, chance, finish, sleep_until, talk
from tests.support.platforms import DiscordPlatform


async def delivered_again(theatre: Theatre, size: Size) -> Report:
    """14: each event is delivered four times, shuffled, while the answers are under way."""
    async with theatre.fleet(gateways=2) as running:
        for _ in range(size.rounds):
            keys = [await running.ask(name) for name in size.names]
            again = [key for key in keys for _ in range(3)]
            chance().shuffle(again)
            for key in again:
                await running.platform.redeliver(running.said[key])
            await asyncio.sleep(size.pause_s)

        report = await finish(running)
        for chat in range(running.chats - len(running.asked)):
            report.harm.note("doubled", f"generation {chat + 1} beyond one a question")
        return report


async def delivered_late(theatre: Theatre, size: Size) -> Report:
    """14: each event is delivered once more when everything is answered."""
    async with theatre.fleet() as running:
        await talk(running, size)
        await running.settled(30.0)
        for said in running.said.values():
            await running.platform.redeliver(said)
        await running.ask_all(size.names)  # heard after what came again, and so answered after it

        return await finish(running)


async def responses_lost(theatre: Theatre, size: Size) -> Report:
    """17: posts are made, and the platform's responses to them are lost."""
    async with theatre.fleet() as running:
        running.platform.lose_responses(size.harms)
        await talk(running, size)

        return await finish(running)


async def out_of_reach(theatre: Theatre, size: Size) -> Report:
    """15: no gateway reaches the platform while people talk: all of it is read afterwards, once, in order."""
    async with theatre.fleet(gateways=2) as running:
        await talk(running, size)
        await running.settled(30.0)
        await running.platform.go_away()
        end = time.monotonic() + size.span_s
        await talk(running, size)
        await sleep_until(end)
        await running.platform.come_back()
        await running.connected()
        await talk(running, size, heard=True)

        return await finish(running)


async def session_invalid(theatre: Theatre, size: Size) -> Report:
    """16: Discord ends all sessions again and again, and the gateway is started anew while people talk."""
    async with theatre.fleet() as running:
        assert isinstance(running.platform, DiscordPlatform)
        sessions = running.platform.discord.sessions
        await talk(running, size)
        await running.settled(30.0)
        for _ in range(size.harms):
            await talk(running, size)
            await sessions.invalidate()
            await talk(running, size)
            await running.gateways.pop().kill()
            await talk(running, size)
            running.add_gateway()
            await running.connected()

        return await finish(running)


async def limited(theatre: Theatre, size: Size) -> Report:
    """18: the platform refuses each post for a time, and says when to try again."""
    async with theatre.fleet(hurried=False) as running:
        running.platform.limit(min(30.0, size.span_s / 2))
        end = time.monotonic() + size.span_s
        await talk(running, size)
        await sleep_until(end)
        running.platform.limit(None)

        return await finish(running)
