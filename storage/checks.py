"""What `parley check` asks the stores: facts, and beside each that is not as it should be, the remedy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import RedisCluster
from sqlalchemy import text

from storage.address import parse
from storage.connections import Client, ask, open_redis
from storage.engine import in_our_words, open_engine

_OLDEST_REDIS = (6, 2)
_CLOCK_SLACK_S = 2.0


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing about a store. `remedy` is empty where all is well."""

    name: str
    value: str
    remedy: str = ""


async def check_redis(url: str) -> list[Fact]:
    """Version, memory policy, append-only file, role and clock of the Redis at `url`: of a cluster, the worst of each.

    Where a replica is to take over, also how many there are. Raises StoreUnavailable.
    """
    client = open_redis(url)
    try:
        infos = await _infos(client)
        seconds, micros = await ask(client.time())
    finally:
        await client.aclose()
    looks = [_version, _policy, _append_only, _role, *([] if parse(url).kind == "server" else [_replicas])]
    facts = [max((look(info) for info in infos), key=lambda fact: bool(fact.remedy)) for look in looks]
    return [*facts, _clock(seconds + micros / 1e6 - time.time())]


async def _infos(client: Client) -> list[dict[str, Any]]:
    if isinstance(client, RedisCluster):
        return list((await ask(client.execute_command("INFO", target_nodes=RedisCluster.PRIMARIES))).values())
    return [await ask(client.info())]


async def check_database(url: str) -> list[Fact]:
    """Kind and version of the database at `url`, and the migration its tables stand at. Raises StoreUnavailable."""
    engine = open_engine(url)
    try:
        with in_our_words():
            async with engine.connect() as connection:
                sqlite = connection.dialect.name == "sqlite"
                version = await connection.scalar(text("SELECT sqlite_version()" if sqlite else "SHOW server_version"))
                tables = await connection.run_sync(lambda sync: sync.dialect.has_table(sync, "alembic_version"))
                stands_at = await connection.scalar(text("SELECT version_num FROM alembic_version")) if tables else None
    finally:
        await engine.dispose()
    remedy = "" if stands_at else "No tables yet: the first `parley up` makes them."
    return [
        Fact("database", f"{'SQLite' if sqlite else 'PostgreSQL'} {version}"),
        Fact("tables", str(stands_at or "none"), remedy),
    ]


def _version(info: dict[str, Any]) -> Fact:
    compatible = str(info["redis_version"])
    numbers = tuple(int(part) for part in compatible.split(".")[:2])
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {compatible}"
    return Fact("server", name, "" if numbers >= _OLDEST_REDIS else "Parley needs Redis 6.2 or newer, or Valkey.")


def _policy(info: dict[str, Any]) -> Fact:
    policy = str(info.get("maxmemory_policy", "unknown"))
    unlimited = info.get("maxmemory") == 0
    remedy = (
        "" if policy in {"noeviction", "unknown"} or unlimited else "Set maxmemory-policy noeviction: others drop mail."
    )
    return Fact("maxmemory-policy", policy, remedy)


def _append_only(info: dict[str, Any]) -> Fact:
    on = str(info.get("aof_enabled", 0)) == "1"
    remedy = "" if on else "Set appendonly yes and appendfsync always: otherwise a crash loses accepted messages."
    return Fact("append-only file", "on" if on else "off", remedy)


def _role(info: dict[str, Any]) -> Fact:
    role = str(info.get("role", "unknown"))
    return Fact("role", role, "REDIS_URL names a replica: set it to the primary." if role == "slave" else "")


def _replicas(info: dict[str, Any]) -> Fact:
    count = int(info.get("connected_slaves", 0))
    remedy = "" if count else "A primary has no replica: when it dies, its mail waits until it is back."
    return Fact("replicas", str(count), remedy)


def _clock(skew_s: float) -> Fact:
    remedy = "" if abs(skew_s) <= _CLOCK_SLACK_S else "The clocks differ: let both machines follow a time server."
    return Fact("clock", f"{skew_s:+.3f} s", remedy)
