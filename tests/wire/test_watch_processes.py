"""Real processes as they are seen from outside, while what they need comes and goes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.running import Home, free_port
from tests.support.stub_host import StubHost
from tests.support.valkey import ValkeyServer

START_S = 60.0


@dataclass
class Part:
    """A running process and its pages."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    port: int
    seen: Any = field(default=None)

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return response.status, await response.text()

    async def ready(self) -> Any:
        """What `/ready` says, with its status; None while nothing listens."""
        try:
            async with self.session.get(f"http://127.0.0.1:{self.port}/ready") as response:
                return {"status": response.status, **await response.json()}
        except aiohttp.ClientConnectionError:
            return None

    async def until(self, condition: Callable[[Any], bool], within_s: float = START_S) -> Any:
        """Waits until `/ready` says what `condition` asks for."""
        async with asyncio.timeout(within_s):
            while not (self.seen is not None and condition(self.seen)):
                self.seen = await self.ready()
                await asyncio.sleep(0.05)
        found, self.seen = self.seen, None
        return found


@asynccontextmanager
async def running(home: Home, *arguments: str) -> AsyncIterator[Part]:
    """A `parley` process that can be watched; ended at the end of the block."""
    port = free_port()
    process = await replace(home, settings={**home.settings, "WATCH_PORT": str(port)}).spawn(*arguments)
    reading = asyncio.create_task(process.communicate())
    try:
        async with aiohttp.ClientSession() as session:
            yield Part(process, session, port)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(40.0):
                _, errors = await reading
        except TimeoutError:
            process.kill()
            _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    return Home(tmp_path, {"DATABASE_URL": sqlite_url})


def is_ready(page: Any) -> bool:
    return bool(page["ready"])


@pytest.mark.parametrize("part", ["bot", "log"])
async def test_a_process_names_its_mailbox_while_that_is_away(home: Home, part: str) -> None:
    with ValkeyServer() as valkey:
        home.settings |= {"REDIS_URL": valkey.url()}
        async with running(home, part) as process:
            first = await process.until(is_ready)

            valkey.kill()
            away = await process.until(lambda page: not is_ready(page))
            alive, _ = await process.get("/health")
            _, metrics = await process.get("/metrics")

            valkey.start()
            again = await process.until(is_ready)

    assert first == {"status": 200, "ready": True, "missing": {}}
    assert (away["status"], list(away["missing"])) == (503, ["mailbox"])
    assert "Redis" in away["missing"]["mailbox"] or "no answer" in away["missing"]["mailbox"]
    assert alive == 200
    assert "parley_mailbox_up 0.0" in metrics
    assert again["status"] == 200


async def test_a_worker_names_its_model_host_while_that_is_away(home: Home) -> None:
    port = free_port()
    with ValkeyServer() as valkey:
        home.settings |= {"REDIS_URL": valkey.url(), "MODEL_URL": f"http://127.0.0.1:{port}"}
        async with running(home, "worker") as worker:
            away = await worker.until(lambda page: "model" in page["missing"])
            async with StubHost(port=port):
                await worker.until(is_ready)
            await worker.until(lambda page: "model" in page["missing"])

    assert list(away["missing"]) == ["model"]
    assert f"127.0.0.1:{port}" in away["missing"]["model"]
