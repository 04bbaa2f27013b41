"""Connections to Redis: how they are opened, how their errors read in core's words, how a call comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel, SSLConnection
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from core.chat.errors import Fenced, StoreUnavailable
from storage.address import parse
from storage.line import LineRedis

T = TypeVar("T")
Client = Redis | RedisCluster
# redis-py's cluster client raises two families.
REDIS_ERRORS = (RedisError, RedisClusterException)

# A blocking read returns at least this often, so that leases are looked after and a shutdown is not held up.
BLOCK_S = 0.25
_SOCKET_TIMEOUT_S = 5.0
_BLOCKING_SOCKET_TIMEOUT_S = BLOCK_S + 10.0
_SUBSCRIPTIONS = 10

_log = structlog.get_logger(__name__)

# What a server says when it refuses, and what an operator does about it. redis-py takes the code off known errors, and
# older servers put the whole into an ERR text, so the words are looked for.
_REFUSALS = {
    "used memory > 'maxmemory'": "Redis is full: raise its maxmemory, or free memory; nothing was written.",
    "MISCONF": "Redis cannot write to its disk: free space there, or look into its log; nothing was written.",
    "read only replica": "REDIS_URL names a read-only replica: set it to the primary.",
    "MASTER is down": "REDIS_URL names a replica whose primary is down: set it to the primary.",
    "CLUSTERDOWN": "The Redis cluster does not serve all of its slots: repair it.",
    "slots are not covered": "The Redis cluster does not serve all of its slots: repair it.",
    "Cluster mode is not enabled": "REDIS_URL names a cluster and there is a single server: write redis://host:port/0.",
}


class _Cluster(RedisCluster):
    """Waits for a connection when all are in use, as the pools of single servers do; redis-py's own would fail."""

    def __init__(self, *, max_connections: int, **options: Any) -> None:
        # Subscriptions take their connections past the turns.
        super().__init__(max_connections=max_connections + _SUBSCRIPTIONS, **options)
        self._turns = asyncio.Semaphore(max_connections)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with self._turns:
            return await super().execute_command(*args, **options)

    async def together(self, key: str, commands: Sequence[tuple[str | int | float, ...]]) -> list[Any]:
        """See `together`."""
        async with self._turns:
            sent = [PipelineCommand(number, *command) for number, command in enumerate(commands)]
            node: Any = self.get_node_from_key(key)
            await node.execute_pipeline(sent)
            return [command.result for command in sent]


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary, wherever the Sentinels say it is; closes the connections to them as well."""

    def __init__(self, service: str, sentinels: Sentinel, **options: Any) -> None:
        super().__init__(service, sentinels, **options)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()

    async def get_master_address(self) -> Any:
        # redis-py puts the Sentinel that answered first in its list: two at once would push another one out of it.
        async with self._asking:
            return await super().get_master_address()  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def open_redis(url: str, *, blocking: bool = False, max_connections: int = 50) -> Client:
    """A client of the Redis at `url`, in one of the forms of `storage.address`; connects at its first call.

    A `blocking` client is for reads that wait on the server: its socket timeout lies above `BLOCK_S`, and the
    connections that wait there are not missing elsewhere.

    Raises:
        StoreUnavailable: `url` is none that can be opened.
    """
    address = parse(url)
    timeouts = {
        "socket_connect_timeout": _SOCKET_TIMEOUT_S,
        "socket_timeout": _BLOCKING_SOCKET_TIMEOUT_S if blocking else _SOCKET_TIMEOUT_S,
    }
    options: dict[str, Any] = {
        **timeouts,
        "max_connections": max_connections,
        "health_check_interval": 15,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
        "protocol": 2,  # replies keep the shape that they have always had
        "decode_responses": True,
        # Discord's JSON may hold half of a surrogate pair; in our JSON it becomes its own escape, \ud83d.
        "encoding_errors": "backslashreplace",
        **address.options,
    }
    kind = Redis if blocking else LineRedis
    if address.kind == "server":
        return kind.from_pool(BlockingConnectionPool(timeout=_SOCKET_TIMEOUT_S, **options))
    secure = {"ssl": True} if options.pop("connection_class", None) is SSLConnection else {}
    if address.kind == "cluster":
        return _Cluster(startup_nodes=[ClusterNode(host, port) for host, port in address.nodes], **secure, **options)
    certificates = {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinels = Sentinel(address.nodes, sentinel_kwargs={**timeouts, **secure, **certificates})  # type: ignore[no-untyped-call]
    return kind.from_pool(_SentinelPool(address.service, sentinels, timeout=_SOCKET_TIMEOUT_S, **secure, **options))


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turns what redis-py raises into StoreUnavailable, and a script's refusal of an old claim into Fenced."""
    try:
        yield
    except REDIS_ERRORS as error:
        raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    text = str(error)
    if text.startswith("FENCED"):
        return Fenced(f"Another worker holds the conversation now:{text.removeprefix('FENCED')}.")
    for sign, remedy in _REFUSALS.items():
        if sign in text:
            return StoreUnavailable(remedy)
    if isinstance(error, AuthenticationError | NoPermissionError) or text.startswith(("NOAUTH", "WRONGPASS")):
        return StoreUnavailable(f"Redis refuses us ({text}): put user and password into REDIS_URL.")
    if isinstance(error, MovedError):
        return StoreUnavailable("REDIS_URL names one node of a cluster: write redis+cluster://host:port,host:port.")
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


async def together(client: Client, key: str, *commands: tuple[str | int | float, ...]) -> list[Any]:
    """The replies, errors among them, to commands that go out on one connection to the server that holds `key`."""
    if isinstance(client, _Cluster):
        return await client.together(key, commands)
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return list(await pipeline.execute(raise_on_error=False))


async def hear(client: Client, *channels: str) -> AsyncGenerator[tuple[str, str] | None, None]:
    """What is published on `channels`, each with its channel; connects anew for ever.

    None comes with each new subscription: something may have been missed before it.
    """
    pause_s = 0.05
    while True:
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        try:
            # redis-py 8 loses a cancellation that reaches it while it connects.
            await to_its_end(_subscribe(client, pubsub, channels))
            yield None
            while True:
                message = await pubsub.get_message(timeout=BLOCK_S)
                pause_s = 0.05
                if message is not None:
                    yield str(message["channel"]), str(message["data"])
        except REDIS_ERRORS as error:
            _log.warning("redis_subscription_lost", reason=str(error))
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
        await asyncio.sleep(pause_s)
        pause_s = min(2.0, pause_s * 2)


async def _subscribe(client: Client, pubsub: Any, channels: tuple[str, ...]) -> None:
    if isinstance(client, RedisCluster):
        # Goes to the same node, and learns who took its place: a subscription that fails would ask for it for ever.
        await client.exists(channels[0])
    await pubsub.subscribe(*channels)
