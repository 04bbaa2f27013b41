"""Scenarios 14 to 18: what the platforms themselves do to a message."""

from __future__ import annotations

import asyncio

from tests.faults.scenarios.theatre import Report, Size, Theatre, chance, finish, talk


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
