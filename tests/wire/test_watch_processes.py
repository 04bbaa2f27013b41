"""Real processes as they are seen from outside, while what they need comes and goes."""

from __future__ import annotations

import sqlite3
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


async def test_a_log_writer_names_its_database_while_that_cannot_be_used(home: Home, redis_url: str) -> None:
    home.settings["REDIS_URL"] = redis_url
    async with running(home, "log") as log:
        await log.until(is_ready)

        alter(home, "ALTER TABLE interaction RENAME TO elsewhere")
        away = await log.until(lambda page: not is_ready(page))
        alter(home, "ALTER TABLE elsewhere RENAME TO interaction")
        await log.until(is_ready)

    assert list(away["missing"]) == ["log"]
    assert "no such table" in away["missing"]["log"]


def alter(home: Home, statement: str) -> None:
    connection = sqlite3.connect(home.settings["DATABASE_URL"].removeprefix("sqlite:///"))
    try:
        with connection:
            connection.execute(statement)
    finally:
        connection.close()
