"""The floor for Discord: the smallest fast bot on discord.py that streams an answer. No history, no log, no safety.

    DISCORD_TOKEN=... DISCORD_API_URL=... DISCORD_GATEWAY_URL=... MODEL_URL=... python bench/floor_discord.py

One HTTP session for the model host, one post a message, edited at the pace at which Parley edits.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

EDIT_S = 1.0
MODEL_URL = f"{os.environ['MODEL_URL']}/chat/completions"
SYSTEM = {"role": "system", "content": "You are a helpful assistant in a chat. Answer in a few short sentences."}


async def answer(session: aiohttp.ClientSession, question: str) -> AsyncIterator[str]:
    """The answer as it grows."""
    messages = [SYSTEM, {"role": "user", "content": question}]
    body = {"model": "stub-model", "messages": messages, "stream": True, "max_tokens": 512}
    text = ""
    async with session.post(MODEL_URL, json=body) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
                if text:
                    yield text


class Floor(discord.Client):
    """Answers each message of a person where it was said."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.guild_messages = intents.dm_messages = True
        super().__init__(intents=intents, max_messages=None, guild_ready_timeout=0.1)
        self._session = session

    async def on_message(self, message: discord.Message) -> None:
        """One message."""
        if message.author.bot:
            return
        shown, text, post, shown_at = "", "", None, 0.0
        async for text in answer(self._session, message.content):
            if post is None:
                post = await message.channel.send(text)
            elif time.monotonic() - shown_at > EDIT_S:
                await post.edit(content=text)
            else:
                continue
            shown, shown_at = text, time.monotonic()
        if post is not None and text != shown:
            await post.edit(content=text)


async def main() -> None:
    """Listens until it is killed."""
    Route.BASE = os.environ["DISCORD_API_URL"]
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(os.environ["DISCORD_GATEWAY_URL"])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, Floor(session) as client:
        await client.start(os.environ["DISCORD_TOKEN"])


if __name__ == "__main__":
    asyncio.run(main())
