"""One's own password, sessions and tokens."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from admin.entry import check_password
from admin.errors import Refused, status_of
from admin.page import Call, Page, Room, Route, to
from admin.tokens import make_token
from core.loop.errors import AccessError
from core.loop.people import Right, Role, may_give
from core.loop.people import check_password as check_new_password

DIFFERENT = "The two passwords differ."


def me_page() -> Page:
    """The page."""
    own = Right.OWN
    return Page(
        (
            Route("GET", "/me", own, show),
            Route("POST", "/me/password", own, change_password),
            Route("POST", "/me/sessions/end", own, end_others),
            Route("POST", "/me/sessions/{id}/end", own, end),
            Route("POST", "/me/tokens", own, add_token),
            Route("POST", "/me/tokens/{id}/revoke", own, revoke),
        ),
        Room("My sessions", "/me", own),
    )


async def show(call: Call, *, status: int = 200, line: str = "", secret: str = "") -> Response:
    """All of it; `secret` is a token that was just made, shown this once."""
    now, desk = call.desk.now(), call.desk
    shown: dict[str, Any] = {
        "sessions": await desk.sessions.list(call.account.id, now, desk.lasting.idle_s),
        "tokens": await desk.tokens.list(call.account.id, now),
        "roles": [role for role in Role if may_give(call.account.role, role)],
        "days": desk.lasting.token_days,
        "longest_days": desk.lasting.longest_token_days,
        "secret": secret,
    }
    return call.page("me.html", status=status, line=line, **shown)


async def change_password(call: Call) -> Response:
    """Asks for the old one first, throttled like a login: a browser left open is not enough."""
    form = await call.form()
    new, account = form.get("new", ""), call.account
    try:
        if account.has_password:
            await check_password(call.request, call.desk, account.name, form.get("old", ""))
        if new != form.get("again", ""):
            raise Refused(422, DIFFERENT)
        check_new_password(new, account.name)
    except (AccessError, Refused) as error:
        wrong = error.status if isinstance(error, Refused) else status_of(error)
        return await show(call, status=wrong, line=str(error))
    hashed = await call.desk.passwords.hash(new)
    await call.desk.accounts.change_password(account.id, hashed, account.id, keep_session=call.session.id)
    return to("/me", "password")


async def end(call: Call) -> Response:
    """Ends one of one's own sessions, be it this one."""
    await call.desk.sessions.end(call.path("id"), call.account.id, call.account.id)
    return to("/me", "session")


async def end_others(call: Call) -> Response:
    """Ends all of one's own sessions but this one."""
    await call.desk.sessions.end_others(call.account.id, call.session.id, call.account.id)
    return to("/me", "sessions")


async def add_token(call: Call) -> Response:
    """Makes a token and shows it."""
    form = await call.form()
    try:
        secret, _ = await make_token(
            call.desk, call.account, call.account.role, form.get("name", ""), form.get("role", ""), form.get("days", "")
        )
    except (AccessError, Refused) as error:
        wrong = error.status if isinstance(error, Refused) else status_of(error)
        return await show(call, status=wrong, line=str(error))
    return await show(call, secret=secret)


async def revoke(call: Call) -> Response:
    """Revokes one of one's own tokens."""
    await call.desk.tokens.revoke(call.path("id"), call.account.id, call.account.id)
    return to("/me", "token")
