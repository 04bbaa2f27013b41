"""The Slack gateway: hears over Socket Mode, hands over, and only then acknowledges."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse

from bots.slack.catching_up import CatchingUp
from bots.slack.check import introduce
from bots.slack.connection import Identity, SlackSettings, SlackWeb, client, open_web
from bots.slack.errors import NotCaughtUp
from bots.slack.history import History
from bots.slack.inflow import Inflow
from bots.slack.judging import Judging
from bots.slack.missed import Missed
from bots.slack.names import Names
from bots.slack.pace import Pace
from bots.slack.sockets import Sockets
from core.chat.errors import StoreUnavailable
from core.chat.intake import Intake
from core.chat.pacing import Pacer
from core.chat.ports import Marks, Meter
from core.chat.quiet import NO_METER
from core.loop.listening import Listener

_log = structlog.get_logger(__name__)
# Bolt and the SDK log addresses with their tickets, and whole events; what operators need is logged here instead.
_SDK_LOG = logging.getLogger("parley.slack_sdk")
_SDK_LOG.setLevel(logging.CRITICAL)

DRAIN_S = 3.0  # a hand-over that takes longer is delivered again anyway


class SlackGateway:
    """Hears what people say to the bot, and gives it to `intake`.

    An event is acknowledged when `intake` returned; when it raised, Slack delivers the event again.

    Args:
        settings: Tokens and clocks; `settings.backfill` bounds what is read of missed time.
        intake: Core's `MailboxIntake` for Slack.
        marks: Lets the gateway read from Slack what was said while none of its sockets was connected. Without it, or
            with a `max_age_s` of 0, that is lost.
        pacer: `Pacer(buckets, meter)`, so that reading keeps Slack's pace together with the workers.
        meter: Counts what was missed and then read.
        listener: Hears what people think of answers.
        now: Unix seconds.
    """

    def __init__(
        self,
        settings: SlackSettings,
        intake: Intake,
        marks: Marks | None = None,
        pacer: Pacer | None = None,
        meter: Meter = NO_METER,
        now: Callable[[], float] = time.time,
        *,
        listener: Listener | None = None,
    ) -> None:
        self._listener = listener
        self.connected = asyncio.Event()
        self.sockets: Sockets | None = None
        self._settings = settings
        self._intake = intake
        self._marks = marks if settings.backfill.max_age_s > 0.0 else None
        self._pacer = pacer
        self._meter = meter
        self._now = now
        self._underway: dict[object, float] = {}  # since when each event is being handed over
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
            self.sockets = Sockets(web, self._settings, self._counted)
            missed = self._missed(web, me, self.sockets)
            inflow = Inflow(self._intake, me, Names(web.prompt), missed, self._now)
            app = self._app(web, me, inflow)

            def opened() -> None:
                self.connected.set()
                if missed is not None:
                    missed.notice()

            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(self.sockets.hold(app, opened))]
                if missed is not None:
                    catching_up = CatchingUp(missed, inflow, self._oldest_underway, self._settings.look_s)
                    beside.append(tasks.create_task(catching_up.run()))
                await stopping.wait()
                await self._drain(inflow)
                for task in beside:
                    task.cancel()

    def _missed(self, web: SlackWeb, me: Identity, sockets: Sockets) -> Missed | None:
        if self._marks is None:
            return None
        history = History(web, Pace(self._pacer), me.team_id, self._now)
        return Missed(history, self._marks, me, sockets, self._settings.backfill, self._meter, self._now)

    def _app(self, web: SlackWeb, me: Identity, inflow: Inflow) -> AsyncApp:
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
        event = object()
        self._underway[event] = self._now()
        try:
            await handle()
        finally:
            del self._underway[event]

    def _oldest_underway(self) -> float | None:
        return min(self._underway.values(), default=None)

    async def _drain(self, inflow: Inflow) -> None:
        self._closing = inflow.closing = True
        deadline = asyncio.get_running_loop().time() + DRAIN_S
        while (self._underway or inflow.handing) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)


async def _answer_fault(error: Exception, body: dict[str, Any]) -> BoltResponse:
    """Turns a fault into no acknowledgement; what nobody listens to is acknowledged, or Slack would send it again."""
    if isinstance(error, BoltUnhandledRequestError):
        return BoltResponse(status=200, body="")
    if isinstance(error, (StoreUnavailable, NotCaughtUp)):
        _log.warning("slack_event_not_taken", event_id=body.get("event_id"), reason=str(error))
    else:
        _log.error("slack_event_failed", event_id=body.get("event_id"), exc_info=error)
    return BoltResponse(status=503, body="")
