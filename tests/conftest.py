"""Real servers for those tests that ask for them: one of each a pytest worker, started at the first use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.engine import open_engine
from storage.migrate import migrate
from tests.support.postgres import PostgresServer
from tests.support.valkey import ValkeyServer
from tests.support.valkey_groups import ValkeyCluster

_DATABASES = 64  # Valkey's, see tests/support/valkey.py
_numbers = count()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """The Valkey that `redis_url` shares; a test that kills its server starts one of its own."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def redis_url(valkey_server: ValkeyServer) -> str:
    """An empty database of a real Valkey."""
    db = next(_numbers) % _DATABASES
    valkey_server.flush(db)
    return valkey_server.url(db)


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster_url(valkey_cluster: ValkeyCluster) -> str:
    """An empty cluster of three real Valkeys."""
    valkey_cluster.flush()
    return valkey_cluster.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """An empty database of a real PostgreSQL."""
    return postgres_server.fresh_database()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'parley.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
async def migrated_url(request: pytest.FixtureRequest) -> str:
    """A database with our tables, once of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    await migrate(url)
    return url


@pytest.fixture
async def sql(migrated_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on such a database."""
    engine = open_engine(migrated_url)
    yield engine
    await engine.dispose()
