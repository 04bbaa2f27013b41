"""The floor for Slack: the smallest fast bot on slack-bolt that streams an answer. No history, no log, no safety.

    SLACK_BOT_TOKEN=... SLACK_APP_TOKEN=... SLACK_API_URL=... MODEL_URL=... python bench/floor_slack.py

One HTTP session for all calls, one post a message, edited at the pace at which Parley edits.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

EDIT_S = 1.2
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


async def main() -> None:
    """Listens until it is killed."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        client = AsyncWebClient(os.environ["SLACK_BOT_TOKEN"], os.environ["SLACK_API_URL"], session=session)
        client.proxy = None
        app = AsyncApp(client=client)

        @app.event("message")
        async def hear(event: dict[str, Any]) -> None:
            channel, shown, text, post, shown_at = event["channel"], "", "", None, 0.0
            async for text in answer(session, event["text"]):
                if post is None:
                    post = await client.chat_postMessage(channel=channel, markdown_text=text)
                elif time.monotonic() - shown_at > EDIT_S:
                    await client.chat_update(channel=channel, ts=post["ts"], markdown_text=text)
                else:
                    continue
                shown, shown_at = text, time.monotonic()
            if post is not None and text != shown:
                await client.chat_update(channel=channel, ts=post["ts"], markdown_text=text)

        await AsyncSocketModeHandler(app, os.environ["SLACK_APP_TOKEN"]).start_async()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    asyncio.run(main())
