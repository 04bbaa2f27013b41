"""Real `parley` processes that are seen from outside, through their own port."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support.running import Home, free_port

START_S = 60.0
STOP_S = 40.0


@dataclass
class Part:
    """A running process and its pages."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    port: int
    output: asyncio.Task[tuple[bytes, bytes]]

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return response.status, await response.text()

    async def count(self, name: str, **labels: str) -> float:
        """A sample of `/metrics`, by its name and those labels; 0.0 when there is none."""
        _, page = await self.get("/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def ready(self) -> Any:
        """What `/ready` says, with its status; None while nothing listens."""
        try:
            async with self.session.get(f"http://127.0.0.1:{self.port}/ready") as response:
                return {"status": response.status, **await response.json()}
        except aiohttp.ClientConnectionError:
            return None

    async def until(self, condition: Callable[[Any], bool], within_s: float = START_S) -> Any:
        """Waits until `/ready` says what `condition` asks for; returns what it said."""
        async with asyncio.timeout(within_s):
            while (page := await self.ready()) is None or not condition(page):
                await asyncio.sleep(0.05)
        return page

    async def until_count(self, least: float, name: str, **labels: str) -> None:
        """Waits until a sample of `/metrics` is at least `least`."""
        async with asyncio.timeout(START_S):
            while await self.count(name, **labels) < least:
                await asyncio.sleep(0.05)

    async def end(self) -> str:
        """Tells it to stop, and waits; returns all that it wrote to stderr."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await asyncio.wait({self.output}, timeout=STOP_S)
        if not self.output.done():
            self.process.kill()
        return (await self.output)[1].decode()


@asynccontextmanager
async def running(home: Home, *arguments: str) -> AsyncIterator[Part]:
    """A `parley` process that can be watched; ended at the end of the block."""
    port = free_port()
    process = await replace(home, settings={**home.settings, "WATCH_PORT": str(port)}).spawn(*arguments)
    async with aiohttp.ClientSession() as session:
        part = Part(process, session, port, asyncio.create_task(process.communicate()))
        try:
            yield part
        finally:
            written = await part.end()
    assert process.returncode == 0, written
