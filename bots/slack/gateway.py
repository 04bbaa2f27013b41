"""The Slack gateway: hears over Socket Mode, hands over, and only then acknowledges."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse

from bots.slack.check import introduce
from bots.slack.connection import Identity, SlackSettings, SlackWeb, client, open_web
from bots.slack.inflow import Inflow
from bots.slack.judging import Judging
from bots.slack.names import Names
from bots.slack.sockets import Sockets
from core.chat.errors import StoreUnavailable
from core.chat.intake import Intake
from core.loop.listening import Listener

_log = structlog.get_logger(__name__)
# Bolt and the SDK log addresses with their tickets, and whole events; what operators need is logged here instead.
_SDK_LOG = logging.getLogger("parley.slack_sdk")
_SDK_LOG.setLevel(logging.CRITICAL)

DRAIN_S = 3.0  # a hand-over that takes longer is delivered again anyway


class SlackGateway:
    """Hears what people say to the bot, and gives it to `intake`.

    An event is acknowledged when `intake` returned; when it raised, Slack delivers the event again.
    `listener` hears what people think of answers.
    """

    def __init__(self, settings: SlackSettings, intake: Intake, *, listener: Listener | None = None) -> None:
        self._listener = listener
        self.connected = asyncio.Event()
        self.sockets: Sockets | None = None
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
            self.sockets = Sockets(app, web, self._settings, self._counted, self.connected.set)
            async with asyncio.TaskGroup() as tasks:
                holding = tasks.create_task(self.sockets.hold())
                await stopping.wait()
                await self._drain()
                holding.cancel()

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

        if self._listener is not None:
            Judging(self._listener, web.prompt).listen(app)
        app.event(re.compile(".*"))(hear)
        app.error(_answer_fault)
        return app

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
