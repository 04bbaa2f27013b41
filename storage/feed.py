"""The feed in Redis: a short stream of events a conversation, and one subscription that wakes all its readers."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

import structlog

from core.chat.errors import StoreUnavailable
from core.chat.message import Conversation
from core.chat.ports import FeedEvent
from storage.connections import Client, ask, hear
from storage.keys import Keys
from storage.script import Script

MAX_EVENTS = 500
FEED_S = 3600
# A wake-up may be lost while the subscription connects anew: a reader looks this often by itself.
_LOOK_S = 2.0
_PAGE = 100
_ID = re.compile(r"\d{1,15}(-\d{1,15})?")

_log = structlog.get_logger(__name__)


class RedisFeed:
    """Feed of `core.chat.ports`. A `growing` event takes the place of the one before it.

    `client` may be any; the subscription keeps one of its connections. `publish` and `latest` raise StoreUnavailable,
    `events` waits for the server to come back.
    """

    def __init__(self, client: Client, prefix: str = "parley") -> None:
        self._client = client
        self._keys = Keys(prefix)
        self._publish = Script(client, "publish")
        self._readers: dict[str, set[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Ends the subscription; readers must have been closed before."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})
            self._listener = None

    async def publish(self, conversation: Conversation, event: FeedEvent) -> None:
        """See `Feed.publish`."""
        said = [event.kind, event.turn_id, event.text, event.outcome]
        wake = [self._keys.feed_wakeups, str(conversation)]
        await self._publish([self._keys.feed(conversation)], [uuid.uuid4().hex, *said, MAX_EVENTS, FEED_S, *wake])

    async def latest(self, conversation: Conversation) -> str:
        """See `Feed.latest`."""
        newest = await ask(self._client.xrevrange(self._keys.feed(conversation), count=1))
        return str(newest[0][0]) if newest else "0"

    async def events(self, conversation: Conversation, after: str) -> AsyncIterator[FeedEvent]:
        """See `Feed.events`; an `after` that is no id reads from the beginning."""
        last = after if _ID.fullmatch(after) else "0"
        news = asyncio.Event()
        self._listen()
        readers = self._readers.setdefault(str(conversation), set())
        readers.add(news)
        try:
            while True:
                news.clear()
                events = await self._after(conversation, last)
                for event in events:
                    last = event.id
                    yield event
                if not events:
                    await _wait(news)
        finally:
            readers.discard(news)
            if not readers:
                self._readers.pop(str(conversation), None)

    async def _after(self, conversation: Conversation, last: str) -> list[FeedEvent]:
        key = self._keys.feed(conversation)
        try:
            entries = await ask(self._client.xrange(key, min=f"({last}", count=_PAGE))
        except StoreUnavailable as error:
            _log.warning("feed_not_read", reason=str(error))
            return []
        return [FeedEvent(f["kind"], f["turn"], f["text"], f["outcome"], id=id_) for id_, f in entries]

    def _listen(self) -> None:
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._wake_readers())

    async def _wake_readers(self) -> None:
        async with aclosing(hear(self._client, self._keys.feed_wakeups)) as wakeups:
            async for heard in wakeups:
                woken = [self._readers.get(heard[1], set())] if heard else self._readers.values()
                for readers in woken:
                    for news in readers:
                        news.set()


async def _wait(news: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_LOOK_S):
            await news.wait()
    except TimeoutError:
        return
