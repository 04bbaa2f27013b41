"""A request as a visit: the browser behind it, the conversation it is about, and the cookies that go back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from bots.web.people import Browser, remember
from core.chat.message import Conversation

R = TypeVar("R", bound=Response)

_YEAR_S = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks, about which conversation (empty where about none); `recent` are the newest ids of this browser."""

    browser: Browser
    conversation_id: str
    recent: tuple[str, ...]
    secure: bool

    @property
    def conversation(self) -> Conversation:
        """The conversation as core knows it."""
        return self.browser.conversation(self.conversation_id)

    def keep(self, response: R) -> R:
        """`response` with the cookie that makes this browser known for another year."""
        self._set(response, "parley", self.browser.secret)
        return response

    def remember(self, response: R) -> R:
        """`response` with this conversation at the front of the recent ones."""
        self._set(response, "parley-recent", remember(self.recent, self.conversation_id))
        return response

    def _set(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(
            _cookie_name(name, secure=self.secure),
            value,
            max_age=_YEAR_S,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="lax",
        )


def visit_of(request: Request, conversation_id: str = "") -> Visit:
    """The visit behind `request`; a browser without a cookie of ours is a new one."""
    secure = request.url.scheme == "https"
    browser = Browser.known(request.cookies.get(_cookie_name("parley", secure=secure))) or Browser.new()
    recent = browser.recent(request.cookies.get(_cookie_name("parley-recent", secure=secure)))
    return Visit(browser, conversation_id, tuple(recent), secure)


def _cookie_name(name: str, *, secure: bool) -> str:
    # __Host-: only this very host can set it, and only over https. Plain http has no such protection to offer.
    return f"__Host-{name}" if secure else name
