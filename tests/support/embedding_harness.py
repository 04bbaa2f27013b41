"""Our own model host with an embedder of a few lines, and a stub that goes wrong as a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from aiohttp import web

from model.serve.embedding_desk import EmbeddingDesk
from model.serve.service import Embedding
from tests.support.host_harness import Running, running
from tests.support.scripted_embedder import ScriptedEmbedder, word_vector


@asynccontextmanager
async def embedding(
    embedder: ScriptedEmbedder | None = None, api_key: str = "", max_waiting: int = 100
) -> AsyncIterator[Running]:
    embedder = embedder or ScriptedEmbedder()
    desk = EmbeddingDesk(embedder, max_waiting)
    try:
        async with running(api_key, embedding=Embedding("minilm", "v7", desk, "ready")) as host:
            yield host
    finally:
        embedder.gate.set()
        desk.close()


class StubEmbedder:
    """`async with StubEmbedder() as stub:` embeds at `stub.url`, as a plain server does: lists, no version, no order.

    `faults` befall the next requests one by one: a status, "hang", "hang up", or a body to answer with.
    """

    def __init__(self, *, model: str = "other-model", scale: float = 1.0) -> None:
        self.model = model
        self.scale = scale
        self.faults: deque[int | str | dict[str, Any]] = deque()
        self.requests: list[tuple[Any, dict[str, str]]] = []
        self.thaw = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/embeddings", self._embed)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _embed(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        self.requests.append((body, dict(request.headers)))
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, int):
            return web.json_response({"error": {"message": "No."}}, status=fault, headers={"Retry-After": "3"})
        if isinstance(fault, dict):
            return web.json_response(fault)
        if fault == "hang":
            await self.thaw.wait()
        if fault == "hang up" and request.transport is not None:
            request.transport.abort()
        data = [
            {"index": place, "embedding": [self.scale * number for number in word_vector(text)]}
            for place, text in enumerate(body["input"])
        ]
        return web.json_response({"object": "list", "model": self.model, "data": data[::-1]})
