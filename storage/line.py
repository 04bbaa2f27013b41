"""A client of one server whose commands are all under way on one connection.

A message takes about ten steps in Redis, and a worker has dozens of messages under way. One by one, each step would
have a connection to itself and a turn of the server, which writes to its disk before it answers; on one line the steps
share both, and cost a third.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.client import NEVER_DECODE
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError


class LineRedis(Redis):
    """Commands go out when they are called, and their replies come back in that order.

    No command may block at the server, for those behind it would wait with it. While the line is broken commands take
    the ordinary way, with a connection to themselves and redis-py's retries: as there, one may run twice.
    """

    def __init__(self, *args: Any, patience_s: float = 5.0, **options: Any) -> None:
        super().__init__(*args, **options)
        self._line = _Line(self.connection_pool, patience_s)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's signature
        """Closes all connections."""
        await self._line.aclose()
        await super().aclose(close_connection_pool)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply to one command. Raises RedisError."""
        if NEVER_DECODE in options:  # the line decodes all that comes
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        try:
            reply = await self._line.ask(args)
        except RedisConnectionError:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        return await self.parse_response(_Arrived(reply), args[0], **options)  # type: ignore[arg-type]


class _Arrived:
    """Stands for the connection where redis-py makes of a reply what its command promises."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply

    async def read_response(self) -> Any:
        if isinstance(self._reply, ResponseError):
            raise self._reply
        return self._reply


class _Line:
    """The connection. When it breaks, or nothing comes for `patience_s`, all that are under way raise; it heals."""

    def __init__(self, pool: ConnectionPool, patience_s: float) -> None:
        self._pool = pool
        self._patience_s = patience_s
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()
        self._underway: deque[asyncio.Future[Any]] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def ask(self, command: tuple[Any, ...]) -> Any:
        """The reply, a ResponseError among them. One who is cancelled leaves the command to run, uncut."""
        connection = self._connection or await self._connect()
        packed = connection.pack_command(*command)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._underway.append(reply)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(connection))
        await connection.send_packed_command(packed, check_health=False)
        return await reply

    async def aclose(self) -> None:
        """Ends the connection; who still waits there raises."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._connection is not None:
            await self._break(self._connection, RedisConnectionError("The client was closed."))

    async def _connect(self) -> AbstractConnection:
        async with self._connecting:
            if self._connection is None:
                connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
                await connection.connect()
                # Each wait is timed here: redis-py would make a task for each write.
                connection.socket_timeout = None
                self._connection = connection
            return self._connection

    async def _read(self, connection: AbstractConnection) -> None:
        try:
            while self._underway:
                async with asyncio.timeout(self._patience_s):
                    value = await _response(connection)
                _give(self._underway.popleft(), value)
        except TimeoutError:
            await self._break(connection, RedisTimeoutError(f"no reply within {self._patience_s:g} s"))
        except Exception as error:  # whatever it was, the replies that follow cannot be told apart
            await self._break(connection, RedisConnectionError(str(error) or type(error).__name__))
        finally:
            self._reading = None

    async def _break(self, connection: AbstractConnection, error: Exception) -> None:
        self._connection = None
        underway, self._underway = self._underway, deque()
        for reply in underway:
            _give(reply, error)
        await connection.disconnect(nowait=True)


async def _response(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _give(reply: asyncio.Future[Any], value: Any) -> None:
    if reply.done():
        return  # its caller was cancelled
    if isinstance(value, Exception) and not isinstance(value, ResponseError):
        reply.set_exception(value)
    else:
        reply.set_result(value)
