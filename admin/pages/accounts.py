"""Who may enter, for admins: roles, invitations, new passwords, and everybody's sessions and tokens."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from admin.errors import status_of
from admin.page import Call, Page, Room, Route, to
from admin.shell import BASE
from admin.tokens import make_link, role_of
from core.loop.errors import AccessError
from core.loop.people import Right, Role


def accounts_page() -> Page:
    """The page."""
    manage = Right.MANAGE
    return Page(
        (
            Route("GET", "/accounts", manage, show),
            Route("POST", "/accounts", manage, invite),
            Route("GET", "/accounts/{id}", manage, show_one),
            Route("POST", "/accounts/{id}/role", manage, change_role),
            Route("POST", "/accounts/{id}/disable", manage, disable),
            Route("POST", "/accounts/{id}/enable", manage, enable),
            Route("POST", "/accounts/{id}/link", manage, new_password),
            Route("POST", "/accounts/{id}/sessions/{session}/end", manage, end_session),
            Route("POST", "/accounts/{id}/tokens/{token}/revoke", manage, revoke_token),
        ),
        Room("Accounts", "/accounts", manage),
    )


async def show(call: Call, *, link: str = "") -> Response:
    """All accounts; `link` is one that was just made, shown this once."""
    return call.page("accounts.html", accounts=await call.desk.accounts.list(), roles=list(Role), link=link)


async def show_one(call: Call, *, status: int = 200, line: str = "", link: str = "") -> Response:
    """One account with its sessions and tokens."""
    desk, now, account = call.desk, call.desk.now(), await call.desk.accounts.find(call.path("id"))
    shown: dict[str, Any] = {
        "account": account,
        "sessions": await desk.sessions.list(account.id, now, desk.lasting.idle_s),
        "tokens": await desk.tokens.list(account.id, now),
        "roles": list(Role),
        "link": link,
    }
    return call.page("account.html", status=status, line=line, **shown)


async def invite(call: Call) -> Response:
    """Makes a one-time link to a new account and shows it."""
    role = role_of((await call.form()).get("role", ""))
    return await show(call, link=_address(call, await make_link(call.desk, call.account.id, role)))


async def new_password(call: Call) -> Response:
    """Makes a one-time link to a new password and shows it."""
    account = await call.desk.accounts.find(call.path("id"))
    secret = await make_link(call.desk, call.account.id, account.role, account.id)
    return await show_one(call, link=_address(call, secret))


async def change_role(call: Call) -> Response:
    """Gives an account another role; it counts from its next request on."""
    role = role_of((await call.form()).get("role", ""))
    try:
        await call.desk.accounts.change_role(call.path("id"), role, call.account.id)
    except AccessError as error:
        return await _again(call, error)
    return to(f"/accounts/{call.path('id')}", "role")


async def disable(call: Call) -> Response:
    """Shuts an account out at once."""
    try:
        await call.desk.accounts.set_active(call.path("id"), call.account.id, active=False)
    except AccessError as error:
        return await _again(call, error)
    return to(f"/accounts/{call.path('id')}", "disabled")


async def enable(call: Call) -> Response:
    """Lets an account in again."""
    await call.desk.accounts.set_active(call.path("id"), call.account.id, active=True)
    return to(f"/accounts/{call.path('id')}", "enabled")


async def end_session(call: Call) -> Response:
    """Ends a session of that account."""
    await call.desk.sessions.end(call.path("session"), call.path("id"), call.account.id)
    return to(f"/accounts/{call.path('id')}", "session")


async def revoke_token(call: Call) -> Response:
    """Revokes a token of that account."""
    await call.desk.tokens.revoke(call.path("token"), call.path("id"), call.account.id)
    return to(f"/accounts/{call.path('id')}", "token")


async def _again(call: Call, error: AccessError) -> Response:
    return await show_one(call, status=status_of(error), line=str(error))


def _address(call: Call, secret: str) -> str:
    return f"{call.request.url.scheme}://{call.request.url.netloc}{BASE}/link/{secret}"
