"""A conversation's feed as server-sent events, ending when the reader goes away or the page shuts down."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bots.web.markdown import to_html
from core.chat.errors import StoreUnavailable
from core.chat.ports import FeedEvent

_log = structlog.get_logger(__name__)

RETRY_MS = 2000
KEEP_ALIVE_S = 15.0


class EventStream(Response):
    """Sends the feed's events, answers already rendered, until `stopping` is set.

    A reader that is slow, or comes back late, gets the newest state of a growing answer and not each step of it.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[FeedEvent], stopping: asyncio.Event, keep_alive_s: float = KEEP_ALIVE_S
    ) -> None:
        # X-Accel-Buffering: nginx would hold events back.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._stopping = stopping
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Returns when the stream is over; raises nothing that the feed may cause."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send(_body(f"retry: {RETRY_MS}\n\n"))
        backlog = _Backlog()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._fill(backlog)),
                group.create_task(self._end_with_stopping(backlog)),
                group.create_task(_end_with_reader(receive, backlog)),
            ]
            await self._drain(backlog, send)
            for task in tasks:
                task.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self, backlog: _Backlog, send: Send) -> None:
        while not backlog.ended:
            try:
                async with asyncio.timeout(self._keep_alive_s):
                    await backlog.changed.wait()
            except TimeoutError:
                # A comment now and then keeps proxies from closing the stream.
                await send(_body(": still here\n\n"))
            for event in backlog.take():
                await send(_body(encode(event)))

    async def _fill(self, backlog: _Backlog) -> None:
        try:
            async with aclosing(self._events) as events:  # type: ignore[type-var]
                async for event in events:
                    backlog.put(event)
        except StoreUnavailable as error:
            # The browser comes back by itself after `retry` and goes on where it was.
            _log.warning("feed_unavailable", reason=str(error))
        backlog.end()

    async def _end_with_stopping(self, backlog: _Backlog) -> None:
        await self._stopping.wait()
        backlog.end()


class _Backlog:
    """Events that wait for the reader; of several steps of one growing answer only the last."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.ended = False
        self._waiting: deque[FeedEvent] = deque()

    def put(self, event: FeedEvent) -> None:
        last = self._waiting[-1] if self._waiting else None
        if last and (last.kind, last.turn_id) == (event.kind, event.turn_id) == ("growing", event.turn_id):
            self._waiting.pop()
        self._waiting.append(event)
        self.changed.set()

    def take(self) -> list[FeedEvent]:
        events = list(self._waiting)
        self._waiting.clear()
        if not self.ended:
            self.changed.clear()
        return events

    def end(self) -> None:
        self.ended = True
        self.changed.set()


async def _end_with_reader(receive: Receive, backlog: _Backlog) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    backlog.end()


def encode(event: FeedEvent) -> str:
    """One server-sent event: its name is the kind, its data `{turn, text}` or, for answers, `{turn, html, outcome}`."""
    content: Mapping[str, str]
    if event.kind in {"growing", "closed"}:
        content = {"turn": event.turn_id, "html": to_html(event.text), "outcome": event.outcome}
    else:
        content = {"turn": event.turn_id, "text": event.text}
    # JSON keeps line ends escaped, so the data is always one line.
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(content)}\n\n"


def _body(text: str) -> dict[str, object]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
