"""The processes and servers that all scenarios of one pytest worker share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scenarios.theatre import Theatre
from tests.support.nursery import Nursery
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.fixture
def platform() -> str:
    """A test that is about neither platform plays on Slack; parametrise `platform` otherwise."""
    return "slack"


@pytest.fixture
def theatre(platform: str, nursery: Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Theatre:
    def postgres() -> PostgresServer:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server

    return Theatre(platform, tmp_path, nursery, postgres)
