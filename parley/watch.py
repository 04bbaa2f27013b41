"""What a process shows of itself, on a port of its own: `/health`, `/ready`, and `/metrics` for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from aiohttp import web

from core.chat.errors import ParleyError, StoreUnavailable
from core.chat.ports import Backlog, Depth
from parley.errors import SetupError
from parley.meters import Meters

T = TypeVar("T")

# Whoever scrapes gives up after some seconds; a store that does not answer by then is not there.
ANSWER_S = 2.0
# The format that every Prometheus reads.
_FORMAT = "text/plain; version=0.0.4; charset=utf-8"

# Whether something that the process needs is there: "", or what is wrong with it. May raise ParleyError instead.
Check = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Watched:
    """What there is to see of a process; it is not ready while a check fails or when it is `stopping`."""

    meters: Meters
    depth: Depth
    checks: Mapping[str, Check]
    stopping: asyncio.Event


@asynccontextmanager
async def serve_watch(watched: Watched, host: str, port: int) -> AsyncIterator[None]:
    """Serves the three pages for the time of the block.

    Raises:
        SetupError: nothing can listen there.
    """
    pages = _Pages(watched)
    app = web.Application()
    app.add_routes(
        [web.get("/health", pages.health), web.get("/ready", pages.ready), web.get("/metrics", pages.metrics)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        yield
    finally:
        await runner.cleanup()
        await pages.aclose()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise SetupError(
            f"WATCH_PORT={port}: cannot listen there on WATCH_HOST={host} ({error.strerror}). Each process on a "
            "machine needs a port of its own: set WATCH_PORT to another one, or unset it."
        ) from error


class _Pages:
    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._checks = {name: _Asked(partial(_reason, check)) for name, check in watched.checks.items()}
        self._backlog = _Asked(partial(_read, watched.depth))

    async def health(self, _: web.Request) -> web.Response:
        """Alive: whoever reads this has had a turn of the event loop."""
        return web.Response(text="ok\n")

    async def ready(self, _: web.Request) -> web.Response:
        """Whether the process can do its work, and what is missing."""
        late = f"no answer within {ANSWER_S:g} s"
        reasons = await asyncio.gather(*(check.answer(late) for check in self._checks.values()))
        missing = {name: reason for name, reason in zip(self._checks, reasons, strict=True) if reason}
        if self._watched.stopping.is_set():
            missing["process"] = "stopping"
        return web.json_response({"ready": not missing, "missing": missing}, status=503 if missing else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        """All counts, and what waits in the mailbox now."""
        page = self._watched.meters.page(await self._backlog.answer(None))
        return web.Response(body=page, headers={"Content-Type": _FORMAT})

    async def aclose(self) -> None:
        """Waits for what is still being asked."""
        await self._backlog.aclose()
        for check in self._checks.values():
            await check.aclose()


class _Asked(Generic[T]):
    """A question that is asked once at a time: who asks meanwhile waits for the same answer, each within the limit."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asking: asyncio.Future[T] | None = None

    async def answer(self, late: T) -> T:
        """The answer, or `late`. The asking goes on: a Redis call is not cut half way."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
        await asyncio.wait({self._asking}, timeout=ANSWER_S)
        return self._asking.result() if self._asking.done() else late

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)


async def _reason(check: Check) -> str:
    try:
        return await check()
    except ParleyError as error:
        return str(error)


async def _read(depth: Depth) -> Backlog | None:
    try:
        return await depth.backlog()
    except StoreUnavailable:
        return None
