"""The web page: each browser is a person of its own, whose questions go the way of every other message."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from bots.web.forms import clean, read_form
from bots.web.guard import Guard
from bots.web.judging import Judging, by_script
from bots.web.stream import EventStream
from bots.web.transcript import read_transcript, wait_for_reset
from bots.web.views import Views
from bots.web.visits import Visit, visit_of
from core.chat import lines
from core.chat.errors import StoreUnavailable
from core.chat.intake import RESET_WORDS, Intake, Receipt
from core.chat.message import Address, Message
from core.chat.ports import Feed, FeedEvent, Histories, Mailbox
from core.loop.feedback import Verdict
from core.loop.listening import Listener

_log = structlog.get_logger(__name__)

_NATIVE_ID = re.compile(r"[A-Za-z0-9-]{16,64}")
_FEED_ID = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")

RESET_WAIT_S = 2.0

AWAY = "I cannot reach my memory right now, so your question was not taken. Please send it again in a minute."
NOT_HERE = "There is no such conversation in this browser."
EMPTY = "Write your question first."
TOO_LONG = "Your question has {chars:,} characters, and I can read {limit:,}. Please shorten it."
BAD_FORM = "This page is out of date. Please send your question once more."
NOTHING_TO_STOP = "There is nothing to stop: no answer is under way."
STOPPING = "Stopping …"
SLOWLY = "That is a lot at once. Please wait a little, then send this one again."

_TOO_MUCH = {Receipt.BUSY: lines.BUSY, Receipt.LIMITED: SLOWLY}


def web_app(
    intake: Intake,
    mailbox: Mailbox,
    histories: Histories,
    feed: Feed,
    *,
    listener: Listener | None = None,
    max_question_chars: int = 16_000,
    hosts: Iterable[str] = (),
    now: Callable[[], float] = time.time,
) -> FastAPI:
    """The page as an ASGI app for `serve_web`.

    `intake` is that of the platform "web". With `listener` people can say what they think of an
    answer. `hosts` are the names under which the page may be reached beside localhost
    and plain addresses.
    `app.state.stopping` ends all event streams.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.stopping = asyncio.Event()
    views = Views(histories, max_question_chars, judging=listener is not None)
    page = _Page(intake, mailbox, histories, feed, views, app.state.stopping, now, listener)
    judging = Judging(listener, feed, views, page.visit).routes() if listener else []
    app.add_middleware(Guard, hosts=tuple(hosts))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    for path, method, endpoint in [*page.routes(), *judging]:
        app.add_api_route(path, endpoint, methods=[method], response_model=None)
    app.add_exception_handler(HTTPException, page.refused)
    app.add_exception_handler(StoreUnavailable, page.store_away)
    return app


@dataclass(frozen=True, slots=True)
class _Page:
    """The routes. Each finds the visit first: another browser's conversation is simply not there."""

    intake: Intake
    mailbox: Mailbox
    histories: Histories
    feed: Feed
    views: Views
    stopping: asyncio.Event
    now: Callable[[], float]
    listener: Listener | None

    def routes(self) -> list[tuple[str, str, Callable[..., Awaitable[Response]]]]:
        """Path, method and endpoint of each route."""
        return [
            ("/health", "GET", self.health),
            ("/", "GET", self.home),
            ("/c", "POST", self.begin),
            ("/c/{conversation_id}", "GET", self.show),
            ("/c/{conversation_id}/messages", "POST", self.say),
            ("/c/{conversation_id}/events", "GET", self.events),
            ("/c/{conversation_id}/stop", "POST", self.stop),
            ("/c/{conversation_id}/reset", "POST", self.reset),
        ]

    async def health(self) -> Response:
        """Whether the page is served; says nothing of the stores."""
        return PlainTextResponse("ok\n")

    async def home(self, request: Request) -> Response:
        """To the newest conversation of this browser, or to its first."""
        visit = visit_of(request)
        newest = visit.recent[0] if visit.recent else visit.browser.new_conversation_id()
        return visit.keep(RedirectResponse(f"/c/{newest}", 303))

    async def begin(self, request: Request) -> Response:
        """To a new conversation."""
        visit = visit_of(request)
        return visit.keep(RedirectResponse(f"/c/{visit.browser.new_conversation_id()}", 303))

    async def show(self, request: Request, conversation_id: str) -> Response:
        """The conversation as it stands, with the growing answer if there is one."""
        visit = self.visit(request, conversation_id)
        transcript = await read_transcript(visit.conversation, self.histories, self.feed)
        return visit.keep(await self.views.conversation(visit, transcript, await self._verdicts(visit)))

    async def say(self, request: Request, conversation_id: str) -> Response:
        """Takes a question in; the same `id` again is the same question."""
        visit = self.visit(request, conversation_id)
        form = await read_form(request, self.views.max_question_chars)
        text, native = clean(form.get("text", "")), form.get("id", "")
        if problem := self._problem(text, native):
            return await self._sorry(request, visit, 422, problem, text)
        message = self._message(visit, native, text)
        try:
            receipt = await self.intake.receive(message)
        except StoreUnavailable as error:
            _log.warning("question_not_taken", turn=message.id, reason=str(error))
            return await self._sorry(request, visit, 503, AWAY, text)
        if receipt in _TOO_MUCH:
            return await self._sorry(request, visit, 429, _TOO_MUCH[receipt], text)
        if receipt is Receipt.IGNORED:
            return await self._sorry(request, visit, 409, NOTHING_TO_STOP, "")
        if receipt is Receipt.ACCEPTED:
            await self._tell(message)
        return visit.remember(_taken(request, visit, receipt, message.id))

    async def events(self, request: Request, conversation_id: str, after: str = "") -> Response:
        """The conversation's feed after the event id `after`, or after the last one that this reader has seen."""
        visit = self.visit(request, conversation_id)
        start = request.headers.get("last-event-id") or after
        if not _FEED_ID.fullmatch(start):
            start = await self.feed.latest(visit.conversation)
        return EventStream(self.feed.events(visit.conversation, start), self.stopping)

    async def stop(self, request: Request, conversation_id: str) -> Response:
        """Stops the answer under way."""
        visit = self.visit(request, conversation_id)
        if not await self.mailbox.request_stop(visit.conversation):
            return await self._sorry(request, visit, 409, NOTHING_TO_STOP, "")
        return _taken(request, visit, Receipt.STOPPING, "")

    async def reset(self, request: Request, conversation_id: str) -> Response:
        """Forgets the conversation, in turn with the questions that wait."""
        visit = self.visit(request, conversation_id)
        form = await read_form(request, self.views.max_question_chars)
        native = form.get("id", "")
        message = self._message(visit, native if _NATIVE_ID.fullmatch(native) else secrets.token_hex(16), "/reset")
        before = await self.feed.latest(visit.conversation)
        receipt = await self.intake.receive(message)
        if receipt in _TOO_MUCH:
            return await self._sorry(request, visit, 429, _TOO_MUCH[receipt], "")
        if not by_script(request):
            # No script will hear of it later; behind questions that wait, the page refreshes itself anyway.
            await wait_for_reset(self.feed, visit.conversation, before, message.id, RESET_WAIT_S)
        return _taken(request, visit, receipt, message.id)

    async def refused(self, request: Request, error: Exception) -> Response:
        """What a person sees of a request that cannot be carried out."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        line = str(error.detail) if isinstance(error, HTTPException) else lines.FAULT
        return JSONResponse({"line": line}, status) if by_script(request) else self.views.sorry(line, status)

    async def store_away(self, request: Request, error: Exception) -> Response:
        """The mailbox or the history cannot be reached."""
        _log.warning("store_unavailable", path=request.url.path, reason=str(error))
        return await self.refused(request, HTTPException(503, AWAY))

    async def _verdicts(self, visit: Visit) -> dict[str, Verdict]:
        """What this person said of the answers here; a page without it is better than none."""
        if self.listener is None:
            return {}
        try:
            return await self.listener.verdicts.verdicts(visit.conversation, visit.browser.person.id)
        except StoreUnavailable as error:
            _log.warning("verdicts_not_read", reason=str(error))
            return {}

    def visit(self, request: Request, conversation_id: str) -> Visit:
        """The visit to a conversation; 404 in a browser that did not begin it."""
        visit = visit_of(request, conversation_id)
        if not visit.browser.owns(conversation_id):
            raise HTTPException(404, NOT_HERE)
        return visit

    def _problem(self, text: str, native: str) -> str:
        if not text:
            return EMPTY
        if len(text) > self.views.max_question_chars:
            return TOO_LONG.format(chars=len(text), limit=self.views.max_question_chars)
        return "" if _NATIVE_ID.fullmatch(native) else BAD_FORM

    def _message(self, visit: Visit, native: str, text: str) -> Message:
        return Message(
            id=visit.conversation.message_id(native),
            conversation=visit.conversation,
            person=visit.browser.person,
            text=text,
            address=Address.DIRECT,
            sent_at=self.now(),
        )

    async def _tell(self, message: Message) -> None:
        """Shows an accepted question in all tabs. It is safe already, so a feed that is away loses nothing."""
        if message.text.lower() in RESET_WORDS:
            return
        try:
            await self.feed.publish(message.conversation, FeedEvent("said", message.id, message.text))
        except StoreUnavailable as error:
            _log.warning("question_not_shown_yet", turn=message.id, reason=str(error))

    async def _sorry(self, request: Request, visit: Visit, status: int, line: str, text: str) -> Response:
        """The line, with the person's `text` back in the box."""
        if by_script(request):
            return JSONResponse({"line": line}, status)
        try:
            transcript = await read_transcript(visit.conversation, self.histories, self.feed)
        except StoreUnavailable:
            transcript = None
        verdicts = await self._verdicts(visit) if transcript else {}
        return await self.views.conversation(visit, transcript, verdicts, line=line, text=text, status=status)


def _taken(request: Request, visit: Visit, receipt: Receipt, turn_id: str) -> Response:
    line = STOPPING if receipt is Receipt.STOPPING else ""
    if by_script(request):
        return JSONResponse({"receipt": receipt.value, "turn": turn_id, "line": line}, 202)
    # See Other: a reload after it does not send the form again.
    return RedirectResponse(f"/c/{visit.conversation_id}#latest", 303)
