"""The three pages by which a process is seen, over HTTP; what they ask is played by working fakes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from core.chat.errors import StoreUnavailable
from core.chat.ports import Backlog
from parley.errors import SetupError
from parley.meters import Meters
from parley.watch import Watched, serve_watch
from tests.support.running import free_port

EMPTY = Backlog(0, 0.0, 0, 0.0, 0)


@dataclass
class Mailbox:
    """A mailbox whose depth can be asked; while `gate` is cleared it does not answer."""

    away: bool = False
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def backlog(self) -> Backlog:
        self.asked += 1
        await self.gate.wait()
        if self.away:
            raise StoreUnavailable("Redis cannot be reached.")
        return EMPTY

    async def check(self) -> str:
        await self.backlog()
        return ""


@dataclass
class Pages:
    base: str
    session: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.base + path) as response:
            return response.status, await response.text()

    async def ready(self) -> tuple[int, Any]:
        async with self.session.get(f"{self.base}/ready") as response:
            return response.status, await response.json()


@asynccontextmanager
async def watching(
    mailbox: Mailbox,
    stopping: asyncio.Event | None = None,
    **checks: Callable[[], Awaitable[str]],
) -> AsyncIterator[Pages]:
    port = free_port()
    watched = Watched(Meters(), mailbox, {"mailbox": mailbox.check, **checks}, stopping or asyncio.Event())
    async with serve_watch(watched, "127.0.0.1", port), aiohttp.ClientSession() as session:
        yield Pages(f"http://127.0.0.1:{port}", session)


async def test_a_process_whose_needs_are_met_is_ready() -> None:
    async with watching(Mailbox()) as pages:
        assert await pages.get("/health") == (200, "ok\n")
        assert await pages.ready() == (200, {"ready": True, "missing": {}})


async def test_what_is_missing_is_named() -> None:
    async def sockets() -> str:
        return "no socket is connected"

    async with watching(Mailbox(away=True), slack=sockets) as pages:
        status, page = await pages.ready()

        assert status == 503
        assert page["missing"] == {"mailbox": "Redis cannot be reached.", "slack": "no socket is connected"}
        assert (await pages.get("/health"))[0] == 200


async def test_a_process_that_is_told_to_stop_is_not_ready() -> None:
    stopping = asyncio.Event()
    stopping.set()

    async with watching(Mailbox(), stopping) as pages:
        assert await pages.ready() == (503, {"ready": False, "missing": {"process": "stopping"}})


async def test_a_store_that_hangs_is_missing_and_asked_once() -> None:
    mailbox = Mailbox()
    mailbox.gate.clear()

    async with watching(mailbox) as pages:
        answers = await asyncio.gather(*(pages.ready() for _ in range(5)))
        status, metrics = await pages.get("/metrics")
        mailbox.gate.set()

    assert {status for status, _ in answers} == {503}
    assert answers[0][1]["missing"] == {"mailbox": "no answer within 2 s"}
    assert "parley_mailbox_up 0.0" in metrics
    assert status == 200
    assert mailbox.asked == 2  # the check and the page's own question


async def test_the_counts_are_served_in_the_format_of_prometheus() -> None:
    async with watching(Mailbox()) as pages, pages.session.get(f"{pages.base}/metrics") as response:
        page = await response.text()

    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "parley_mailbox_up 1.0" in page
    assert "process_resident_memory_bytes" in page


async def test_a_port_in_use_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        watched = Watched(Meters(), Mailbox(), {}, asyncio.Event())

        with pytest.raises(SetupError, match=f"WATCH_PORT={taken.getsockname()[1]}.*another"):
            async with serve_watch(watched, "127.0.0.1", taken.getsockname()[1]):
                pass
