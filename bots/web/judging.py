"""What people say of the answers on the page: helpful or not, another one, why. Own answers only."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from bots.web.forms import clean, read_form
from bots.web.views import Views
from bots.web.visits import Visit
from core.chat.errors import StoreUnavailable
from core.chat.ports import Feed, FeedEvent
from core.loop.feedback import MAX_BETTER_CHARS, Reason, Source, Verdict
from core.loop.listening import AGAIN, AWAY, LOG_AWAY, THANKS, Listener, Said

_NATIVE_ID = re.compile(r"[A-Za-z0-9-]{16,64}")
BAD_FORM = "This page is out of date. Please reload it, and try once more."
# Lines after which what was asked for is done.
_DONE = frozenset({*THANKS.values(), AGAIN})


@dataclass(frozen=True, slots=True)
class Judging:
    """The routes about one answer. `visit` finds whose it is: another browser's answer is simply not there.

    By script each gives its line as JSON; by plain forms it leads back to the answer.
    """

    listener: Listener
    feed: Feed
    views: Views
    visit: Callable[[Request, str], Visit]

    def routes(self) -> list[tuple[str, str, Callable[..., Awaitable[Response]]]]:
        """Path, method and endpoint of each route."""
        answer = "/c/{conversation_id}/answers/{native}"
        return [
            (f"{answer}/feedback", "POST", self.feedback),
            (f"{answer}/again", "POST", self.again),
            (f"{answer}/why", "GET", self.why),
        ]

    async def feedback(self, request: Request, conversation_id: str, native: str) -> Response:
        """Notes a verdict; with a reason, words and a better answer where the person gives them."""
        visit, post_id = self._answer(request, conversation_id, native)
        form = await read_form(request, MAX_BETTER_CHARS)
        verdict, reason, form_id = form.get("verdict", ""), form.get("reason", ""), form.get("id", "")
        if verdict not in set(Verdict) or reason not in set(Reason) or not _NATIVE_ID.fullmatch(form_id):
            raise HTTPException(422, BAD_FORM)
        said = Said(
            # One form of a page without script may be sent with one button, and after "back" with the other.
            f"web:{form_id}:{verdict}",
            visit.browser.person.id,
            Verdict(verdict),
            Source.PAGE,
            Reason(reason),
            clean(form.get("note", "")),
            clean(form.get("better", "")),
        )
        line = await self.listener.judge(post_id, said)
        return _told(request, visit, native, line, verdict=verdict)

    async def again(self, request: Request, conversation_id: str, native: str) -> Response:
        """Asks for another answer, which will grow in the place of this one."""
        visit, post_id = self._answer(request, conversation_id, native)
        line = await self.listener.again(post_id, visit.browser.person.id)
        if line == AGAIN:
            with suppress(StoreUnavailable):  # the worker says so, too
                await self.feed.publish(visit.conversation, FeedEvent("again", post_id))
        return _told(request, visit, native, line)

    async def why(self, request: Request, conversation_id: str, native: str) -> Response:
        """What the answer was made with."""
        visit, post_id = self._answer(request, conversation_id, native)
        lines = await self.listener.why(post_id, visit.browser.person.id)
        if by_script(request):
            return JSONResponse({"lines": lines}, 503 if lines == [LOG_AWAY] else 200)
        return self.views.why(visit, native, lines)

    def _answer(self, request: Request, conversation_id: str, native: str) -> tuple[Visit, str]:
        visit = self.visit(request, conversation_id)
        if not _NATIVE_ID.fullmatch(native):
            raise HTTPException(404, "There is no such answer in this conversation.")
        return visit, visit.conversation.message_id(native)


def by_script(request: Request) -> bool:
    """Whether our script asks, rather than a form or a link by itself."""
    return "application/json" in request.headers.get("accept", "")


def _told(request: Request, visit: Visit, native: str, line: str, **more: str) -> Response:
    if by_script(request):
        return JSONResponse({"line": line, **more}, 200 if line in _DONE else 503 if line == AWAY else 409)
    if line not in _DONE:
        raise HTTPException(503 if line == AWAY else 409, line)
    # See Other: a reload after it does not send the form again.
    return RedirectResponse(f"/c/{visit.conversation_id}#a-{native}", 303)
