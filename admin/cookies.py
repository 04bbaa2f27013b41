"""The console's cookies: one for the session, one that knows the browser again, one for a way through the provider."""

from __future__ import annotations

from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

R = TypeVar("R", bound=Response)

SESSION = "console"
KNOWN = "console-known"
SIGN_IN = "console-signin"


def read(request: Request, name: str) -> str:
    """The value of a cookie of ours, "" where there is none."""
    return request.cookies.get(_name(request, name), "")


def put(request: Request, response: R, name: str, value: str, max_age_s: float) -> R:
    """`response` with the cookie; for this very host only, never for a script, not with others' forms."""
    response.set_cookie(
        _name(request, name),
        value,
        max_age=int(max_age_s),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )
    return response


def drop(request: Request, response: R, name: str) -> R:
    """`response` without the cookie."""
    return put(request, response, name, "", 0)


def is_secure(request: Request) -> bool:
    """Whether the request came over https, as a proxy on this machine says if there is one."""
    return request.url.scheme == "https"


def _name(request: Request, name: str) -> str:
    # __Host-: only this very host can set it, and only over https. Plain http to this machine has no such protection.
    return f"__Host-{name}" if is_secure(request) else name
