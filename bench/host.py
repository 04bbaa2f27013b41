"""The model host of the bench: the tests' stub, which answers in 40 tokens and notes when it was asked."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiohttp import web

from bench.trips import Trips
from tests.support.stub_host import Fault, StubHost, count_prompt


class BenchHost(StubHost):
    """Says its first token `first_s` after the request, and each other one `between_s` later.

    Its chunks are made before they are needed, and it keeps no requests: it must cost less than what is measured.
    """

    def __init__(self, trips: Trips) -> None:
        super().__init__()
        self.first_s = 0.0
        self.between_s = 0.0
        self._trips = trips
        self.requests = _Last()

    async def _stream(self, request: web.Request, body: Any, fault: Fault | None) -> web.StreamResponse:
        trip = self._trips.named_in(body["messages"][-1]["content"])
        if trip is None:
            return web.Response(status=400)
        trip.asked = trip.asked or time.perf_counter()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        chunks = [self._chunk({"content": piece}) for piece in trip.pieces]
        await response.write(self._chunk({"role": "assistant", "content": ""}))
        await asyncio.sleep(self.first_s)
        trip.first_token = time.perf_counter()
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(self.between_s)
        await response.write(self._end(body, len(chunks)))
        return response

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        head = {"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": 0, "model": self.model}
        return b"data: " + json.dumps(head | {"choices": [choice]}).encode() + b"\n\n"

    def _end(self, body: Any, tokens: int) -> bytes:
        end = self._chunk({}, "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": count_prompt(body["messages"]), "completion_tokens": tokens}
            head = {"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": 0, "model": self.model}
            end += b"data: " + json.dumps(head | {"choices": [], "usage": usage}).encode() + b"\n\n"
        return end + b"data: [DONE]\n\n"


class _Last(list[Any]):
    """Keeps the newest item only."""

    def append(self, item: Any) -> None:
        self[:] = [item]
