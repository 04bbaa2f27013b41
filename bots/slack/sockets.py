"""Socket Mode connections: several at once, each replaced when it is lost or has fallen silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from bots.slack.connection import SlackSettings, SlackWeb, is_local
from bots.slack.errors import SLACK_FAILURES, reason

_log = structlog.get_logger(__name__)

# What is awaited for each envelope: the hand-over that it is given, with whatever belongs around it.
Around = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]

_CLOSED = "it was closed, and the SDK did not bring it back"
_SILENT = "it does not answer pings"
_QUIET = "no event came over it for long"


class Connection:
    """One Socket Mode connection, and when something last came over it.

    The SDK brings a lost connection back by itself as long as its tasks live. It has been seen connected and deaf
    (slackapi/bolt-python#1529), and so the age of what it heard is watched here.
    """

    def __init__(self, app: AsyncApp, settings: SlackSettings, around: Around, now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now
        self._heard_at = now()
        self._handler = AsyncSocketModeHandler(app, settings.app_token, ping_interval=settings.ping_s)
        self.client: SocketModeClient = self._handler.client
        if is_local(app.client.base_url):
            self.client.proxy = None

        async def handle(socket: SocketModeClient, request: SocketModeRequest) -> None:
            await around(lambda: self._handler.handle(socket, request))

        async def hear(_: aiohttp.WSMessage) -> None:
            self._heard_at = now()

        self.client.socket_mode_request_listeners[:] = [handle]  # type: ignore[list-item]
        self.client.on_message_listeners.append(hear)

    async def open(self) -> bool:
        """Connects; False when that took too long, as the SDK tries the same single-use address for ever."""
        try:
            async with asyncio.timeout(self._settings.connect_s):
                await self._handler.connect_async()  # type: ignore[no-untyped-call]
        except TimeoutError:
            return False
        self._heard_at = self._now()
        return True

    @property
    def frame_at(self) -> float:
        """When the last frame came: an event, or the answer to the ping that was sent then."""
        return max(self._heard_at, self.client.last_ping_pong_time or 0.0)

    @property
    def session(self) -> aiohttp.ClientWebSocketResponse | None:
        """The open socket, which is another one whenever the SDK had to connect anew; None when there is none."""
        session = self.client.current_session
        lost = session is None or session.closed or self.client.closed or self._is_silent()
        return None if lost else session

    def trouble(self) -> str:
        """What is wrong with it; empty when nothing is."""
        session = self.client.current_session
        if session is None or session.closed:
            return _CLOSED
        if self._is_silent():
            return _SILENT
        return _QUIET if self._now() - self._heard_at > self._settings.quiet_s else ""

    async def close(self) -> None:
        """Closes the socket, and waits for the tasks that the SDK cancels without waiting."""
        await self._handler.close_async()  # type: ignore[no-untyped-call]
        tasks = (self.client.message_processor, self.client.current_session_monitor, self.client.message_receiver)
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)

    def _is_silent(self) -> bool:
        return self._now() - self.frame_at > self._settings.silent_pings * self._settings.ping_s


class Sockets:
    """Holds `settings.sockets` connections."""

    def __init__(
        self, web: SlackWeb, settings: SlackSettings, around: Around, now: Callable[[], float] = time.time
    ) -> None:
        self.held: list[Connection] = []
        self._web = web
        self._settings = settings
        self._around = around
        self._now = now

    async def hold(self, app: AsyncApp, opened: Callable[[], None]) -> None:
        """Keeps connections for `app` until it is cancelled; calls `opened` whenever a new one stands."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._settings.sockets):
                    tasks.create_task(self._keep_one(app, opened))
        finally:
            await asyncio.gather(*(self._close(connection) for connection in list(self.held)))

    def sessions(self) -> frozenset[aiohttp.ClientWebSocketResponse]:
        """The sockets over which events can come at this moment."""
        return frozenset(session for connection in self.held if (session := connection.session) is not None)

    def frame_at(self) -> float:
        """When something last came over any socket; Unix seconds."""
        return max((connection.frame_at for connection in self.held if connection.session), default=0.0)

    async def _keep_one(self, app: AsyncApp, opened: Callable[[], None]) -> None:
        connection = await self._open(app, opened)
        while True:
            trouble = await self._until_trouble(connection)
            _log.warning("slack_socket_replaced", reason=trouble)
            if trouble == _CLOSED:
                await self._close(connection)
                connection = await self._open(app, opened)
            else:
                # It may well be sound, or take its time to close: it goes when the next one listens already.
                fresh = await self._open(app, opened)
                await self._close(connection)
                connection = fresh

    async def _open(self, app: AsyncApp, opened: Callable[[], None]) -> Connection:
        while True:
            connection = Connection(app, self._settings, self._around, self._now)
            self.held.append(connection)
            if await connection.open():
                opened()
                return connection
            await self._close(connection)
            _log.warning("slack_socket_not_connected", reason=await self._why_not())

    async def _close(self, connection: Connection) -> None:
        # In this order: whoever is cancelled on the way leaves it to `hold` to close.
        await connection.close()
        self.held.remove(connection)

    async def _until_trouble(self, connection: Connection) -> str:
        """Returns when a connection is of no use any more; one that is closed has some time to come back by itself."""
        closed_s = 0.0
        while True:
            await asyncio.sleep(self._settings.look_s)
            trouble = connection.trouble()
            closed_s = closed_s + self._settings.look_s if trouble == _CLOSED else 0.0
            if trouble and (trouble != _CLOSED or closed_s > self._settings.regain_s):
                return trouble

    async def _why_not(self) -> str:
        try:
            await self._web.prompt.apps_connections_open(app_token=self._settings.app_token)
        except SLACK_FAILURES as error:
            return reason(error)
        return "the socket's address does not answer"
