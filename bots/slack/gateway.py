"""The Slack gateway: hears over Socket Mode, hands over, and only then acknowledges."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from bots.slack.check import introduce
from bots.slack.connection import Identity, SlackSettings, SlackWeb, client, is_local, open_web
from bots.slack.errors import SLACK_FAILURES, reason
from bots.slack.inflow import Inflow
from bots.slack.names import Names
from core.chat.errors import StoreUnavailable
from core.chat.intake import Intake

_log = structlog.get_logger(__name__)
# Bolt and the SDK log addresses with their tickets, and whole events; what operators need is logged here instead.
_SDK_LOG = logging.getLogger("parley.slack_sdk")
_SDK_LOG.setLevel(logging.CRITICAL)

DRAIN_S = 3.0  # a hand-over that takes longer is delivered again anyway
_LOOK_S = 2.0
_LOOKS_LOST = 4


class SlackGateway:
    """Hears what people say to the bot, and gives it to `intake`.

    An event is acknowledged when `intake` returned; when it raised, Slack delivers the event again.
    """

    def __init__(self, settings: SlackSettings, intake: Intake) -> None:
        self.connected = asyncio.Event()
        self._settings = settings
        self._intake = intake
        self._underway = 0
        self._closing = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Listens until `stopping` is set, then finishes the hand-overs under way.

        Raises:
            SlackSetupError: a token is wrong; the text says which, and what to do.
        """
        async with open_web(self._settings.bot_token, self._settings.api_url) as web:
            me = await introduce(web, self._settings.app_token, stopping)
            if me is None:
                return
            _log.info("slack_connecting", workspace=me.team, bot=me.user_id)
            app = self._app(web, me)
            async with asyncio.TaskGroup() as sockets:
                tasks = [sockets.create_task(self._keep_socket(app, web)) for _ in range(self._settings.sockets)]
                await stopping.wait()
                await self._drain()
                for task in tasks:
                    task.cancel()

    def _app(self, web: SlackWeb, me: Identity) -> AsyncApp:
        async def authorize() -> AuthorizeResult:
            # Known since the start: Bolt's own auth.test at the first event would lose that event when it fails.
            return AuthorizeResult(
                enterprise_id=None,
                team_id=me.team_id,
                bot_user_id=me.user_id,
                bot_id=me.bot_id,
                bot_token=self._settings.bot_token,
            )

        app = AsyncApp(
            client=client(web.session, web.api_url, None),
            authorize=authorize,
            logger=_SDK_LOG,
            # The ack follows the listener. By default Bolt acknowledges first, and a failed hand-over loses the event.
            process_before_response=True,
            raise_error_for_unhandled_request=True,
            attaching_conversation_kwargs_enabled=False,
        )
        inflow = Inflow(self._intake, me, Names(web.prompt))

        async def hear(event: dict[str, Any]) -> None:
            await inflow.hear(event)

        app.event(re.compile(".*"))(hear)
        app.error(_answer_fault)
        return app

    async def _keep_socket(self, app: AsyncApp, web: SlackWeb) -> None:
        """Holds one Socket Mode connection, and makes a new one when the SDK cannot bring it back."""
        while True:
            handler = self._handler(app)
            try:
                async with asyncio.timeout(self._settings.connect_s):
                    await handler.connect_async()  # type: ignore[no-untyped-call]
                self.connected.set()
                await _until_lost(handler.client)
                _log.warning("slack_socket_lost")
            except TimeoutError:
                # The SDK tries the same single-use address for ever; a new handler asks for a new one.
                _log.warning("slack_socket_not_connected", reason=await self._why_not(web))
            finally:
                await _close(handler)

    async def _why_not(self, web: SlackWeb) -> str:
        try:
            await web.prompt.apps_connections_open(app_token=self._settings.app_token)
        except SLACK_FAILURES as error:
            return reason(error)
        return "the socket's address does not answer"

    def _handler(self, app: AsyncApp) -> AsyncSocketModeHandler:
        handler = AsyncSocketModeHandler(app, self._settings.app_token, ping_interval=self._settings.ping_s)
        if is_local(app.client.base_url):
            handler.client.proxy = None

        async def handle(socket: SocketModeClient, request: SocketModeRequest) -> None:
            await self._counted(lambda: handler.handle(socket, request))

        handler.client.socket_mode_request_listeners[:] = [handle]  # type: ignore[list-item]
        return handler

    async def _counted(self, handle: Callable[[], Awaitable[None]]) -> None:
        if self._closing:
            return  # not acknowledged: Slack gives it to another socket, or to the next start
        self._underway += 1
        try:
            await handle()
        finally:
            self._underway -= 1

    async def _drain(self) -> None:
        self._closing = True
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        while self._underway and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)


async def _answer_fault(error: Exception, body: dict[str, Any]) -> BoltResponse:
    """Turns a fault into no acknowledgement; what nobody listens to is acknowledged, or Slack would send it again."""
    if isinstance(error, BoltUnhandledRequestError):
        return BoltResponse(status=200, body="")
    if isinstance(error, StoreUnavailable):
        _log.warning("slack_event_not_taken", event_id=body.get("event_id"), reason=str(error))
    else:
        _log.error("slack_event_failed", event_id=body.get("event_id"), exc_info=error)
    return BoltResponse(status=503, body="")


async def _until_lost(socket: SocketModeClient) -> None:
    """Returns when the socket has been down for several looks in a row, in which the SDK had time to reconnect."""
    lost = 0
    while lost < _LOOKS_LOST:
        await asyncio.sleep(_LOOK_S)
        lost = 0 if await socket.is_connected() else lost + 1


async def _close(handler: AsyncSocketModeHandler) -> None:
    """Closes the socket, and waits for the tasks that the SDK cancels without waiting."""
    socket = handler.client
    await handler.close_async()  # type: ignore[no-untyped-call]
    tasks = (socket.message_processor, socket.current_session_monitor, socket.message_receiver)
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
