"""Connections to Redis: how they are opened, how their errors read in core's words, how a call comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from core.chat.errors import Fenced, StoreUnavailable

T = TypeVar("T")

# A blocking read returns at least this often, so that leases are looked after and a shutdown is not held up.
BLOCK_S = 0.25
_SOCKET_TIMEOUT_S = 5.0
_BLOCKING_SOCKET_TIMEOUT_S = BLOCK_S + 10.0
_SCHEMES = ("redis", "rediss", "unix")

_log = structlog.get_logger(__name__)

# What a server says when it refuses, and what an operator does about it. redis-py takes the code off known errors, and
# older servers put the whole into an ERR text, so the words are looked for.
_REFUSALS = {
    "used memory > 'maxmemory'": "Redis is full: raise its maxmemory, or free memory; nothing was written.",
    "MISCONF": "Redis cannot write to its disk: free space there, or look into its log; nothing was written.",
    "read only replica": "REDIS_URL names a read-only replica: set it to the primary.",
    "MASTER is down": "REDIS_URL names a replica whose primary is down: set it to the primary.",
    "CLUSTERDOWN": "The Redis cluster does not serve all of its slots: repair it.",
}


def open_redis(url: str, *, blocking: bool = False, max_connections: int = 50) -> Redis:
    """A client of the Redis at `url` (redis://, rediss:// or unix://); connects at its first call.

    A `blocking` client is for reads that wait on the server: its socket timeout lies above `BLOCK_S`, and the
    connections that wait there are not missing elsewhere.

    Raises:
        StoreUnavailable: `url` is none that can be opened.
    """
    if urlsplit(url).scheme not in _SCHEMES:
        raise StoreUnavailable("REDIS_URL must begin with redis://, rediss:// or unix://.")
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=_SOCKET_TIMEOUT_S,
            socket_connect_timeout=_SOCKET_TIMEOUT_S,
            socket_timeout=_BLOCKING_SOCKET_TIMEOUT_S if blocking else _SOCKET_TIMEOUT_S,
            health_check_interval=15,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
            protocol=2,  # replies have the same shape from redis-py 6 to 8
            decode_responses=True,
            # Discord's JSON may hold half of a surrogate pair; in our JSON it becomes its own escape, \ud83d.
            encoding_errors="backslashreplace",
        )
    except (ValueError, TypeError) as error:
        raise StoreUnavailable(f"REDIS_URL cannot be read ({error}); expected redis://host:port/0.") from error
    return Redis.from_pool(pool)


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turns what redis-py raises into StoreUnavailable, and a script's refusal of an old claim into Fenced."""
    try:
        yield
    except RedisError as error:
        raise _translated(error) from error


def _translated(error: RedisError) -> Exception:
    text = str(error)
    if text.startswith("FENCED"):
        return Fenced(f"Another worker holds the conversation now:{text.removeprefix('FENCED')}.")
    for sign, remedy in _REFUSALS.items():
        if sign in text:
            return StoreUnavailable(remedy)
    if isinstance(error, AuthenticationError | NoPermissionError) or text.startswith(("NOAUTH", "WRONGPASS")):
        return StoreUnavailable(f"Redis refuses us ({text}): put user and password into REDIS_URL.")
    if isinstance(error, ResponseError):
        return StoreUnavailable(f"Redis refused a command ({text}); Parley needs Redis 6.2 or newer, or Valkey.")
    return StoreUnavailable(
        f"Redis cannot be reached ({text or type(error).__name__}): check REDIS_URL and the server."
    )


async def to_its_end(call: Awaitable[T]) -> T:
    """Awaits `call`; who is cancelled meanwhile waits until it has ended, and is cancelled then.

    A Redis call cut half way may or may not have run on the server.
    """
    task = asyncio.ensure_future(call)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen: the cancellation weighs more
        raise cancelled
    return task.result()


async def ask(call: Awaitable[Any]) -> Any:
    """The reply to one command of redis-py, whose types follow no client option. Raises StoreUnavailable."""
    with in_our_words():
        return await to_its_end(call)


async def hear(client: Redis, *channels: str) -> AsyncGenerator[tuple[str, str] | None, None]:
    """What is published on `channels`, each with its channel; connects anew for ever.

    None comes with each new subscription: something may have been missed before it.
    """
    pause_s = 0.05
    while True:
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        try:
            # redis-py 8 loses a cancellation that reaches it while it connects.
            await to_its_end(pubsub.subscribe(*channels))
            yield None
            while True:
                message = await pubsub.get_message(timeout=BLOCK_S)
                pause_s = 0.05
                if message is not None:
                    yield str(message["channel"]), str(message["data"])
        except RedisError as error:
            _log.warning("redis_subscription_lost", reason=str(error))
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
        await asyncio.sleep(pause_s)
        pause_s = min(2.0, pause_s * 2)
