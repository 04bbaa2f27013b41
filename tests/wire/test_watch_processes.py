"""Real processes as they are seen from outside, while what they need comes and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.running import Home, free_port
from tests.support.stub_host import StubHost
from tests.support.valkey import ValkeyServer
from tests.support.watched import running


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
