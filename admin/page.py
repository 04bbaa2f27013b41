"""What a page of the console is made of: a route with the right it needs, a call of it, and its room in the navigation.

How a page is added: docs/decisions/0004-console.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from admin.desk import Desk
from admin.forms import read_form
from admin.shell import BASE, Shell
from core.loop.people import Account, Right, Session, may

# What is said after a redirect; the address names one of these and nothing else gets into the page that way.
DONE = {
    "role": "The role was changed.",
    "disabled": "The account was disabled. Its sessions and tokens have ended.",
    "enabled": "The account may sign in again.",
    "session": "The session was ended.",
    "sessions": "All other sessions were ended.",
    "token": "The token was revoked.",
    "password": "Your password was changed. All other sessions were ended.",
    "out": "You are signed out.",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A request of somebody who is signed in and has the right that the route needs."""

    request: Request
    desk: Desk
    shell: Shell
    account: Account
    session: Session

    def may(self, right: Right) -> bool:
        """Whether the account has `right`."""
        return may(self.account.role, right)

    def page(self, template: str, *, status: int = 200, line: str = "", **values: Any) -> HTMLResponse:
        """The page, with `line` said at its top; without one, what a redirect asked to be said."""
        said = line or DONE.get(self.request.query_params.get("done", ""), "")
        shown = {"line": said, "grave": status >= 400, "me": self.account, "session": self.session, **values}
        return self.shell.page(self.request.url.path, self.account.role, template, status, shown)

    async def form(self) -> Mapping[str, str]:
        """The fields that were sent."""
        return await read_form(self.request)

    def path(self, name: str) -> str:
        """A part of the address, such as `{id}`."""
        return str(self.request.path_params[name])


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is below /console. Nobody without `right` gets to `endpoint`."""

    method: str
    path: str
    right: Right
    endpoint: Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Room:
    """A line in the navigation, for those with `right`."""

    title: str
    path: str
    right: Right


@dataclass(frozen=True, slots=True)
class Page:
    """Some routes that belong together, and where they stand in the navigation, if they do."""

    routes: tuple[Route, ...]
    room: Room | None = None


def to(path: str, done: str = "") -> RedirectResponse:
    """See Other: a reload after it does not send the form again. `done` is a key of DONE."""
    return RedirectResponse(f"{BASE}{path}" + (f"?done={quote(done)}" if done else ""), 303)
