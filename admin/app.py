"""The console as an ASGI app: the entrance, the pages with the right that each needs, and the API below it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from admin.api.app import api_app
from admin.desk import Desk
from admin.door import Door
from admin.entry import signed_in
from admin.errors import ProviderFailed, Refused, status_of
from admin.page import Call, Page, Route
from admin.pages.accounts import accounts_page
from admin.pages.audit import audit_page
from admin.pages.entry import Entrance
from admin.pages.me import me_page
from admin.shell import BASE, HERE, Shell
from core.chat.errors import StoreUnavailable
from core.loop.errors import AccessError
from core.loop.people import may

_log = structlog.get_logger(__name__)

AWAY = "The console cannot reach its database right now. Please try again in a minute."
NOT_YOURS = "Your role, {role}, does not allow this. An admin can give you another one."
SIGN_IN = "You are not signed in any more. Sign in, then try again."
NO_PAGE = "There is no such page."

Endpoint = Callable[[Request], Awaitable[Response]]


def console_app(
    desk: Desk, pages: Sequence[Page] = (), routers: Sequence[APIRouter] = (), hosts: Iterable[str] = ()
) -> FastAPI:
    """The console, to be mounted at BASE. `pages` and API `routers` stand beside its own; `hosts` are its names."""
    own = [*pages, accounts_page(), audit_page(), me_page()]
    shell = Shell([page.room for page in own if page.room])
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Door, hosts=tuple(hosts))
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.mount("/api/v1", api_app(desk, routers))
    for method, path, open_endpoint in Entrance(desk, shell).routes():
        app.add_api_route(path, open_endpoint, methods=[method], response_model=None)
    for page in own:
        for route in page.routes:
            app.add_api_route(route.path, _guarded(route, desk, shell), methods=[route.method], response_model=None)
    app.add_api_route("/", _home(desk, shell), methods=["GET"], response_model=None)
    _translate_errors(app, shell)
    return app


def _guarded(route: Route, desk: Desk, shell: Shell) -> Endpoint:
    """The route's endpoint for those who are signed in and may."""

    async def endpoint(request: Request) -> Response:
        found = await signed_in(request, desk)
        if found is None:
            return _to_login(request)
        session, account = found
        if not may(account.role, route.right):
            raise Refused(403, NOT_YOURS.format(role=account.role.value))
        return await route.endpoint(Call(request, desk, shell, account, session))

    return endpoint


def _to_login(request: Request) -> Response:
    if request.method != "GET":
        raise Refused(401, SIGN_IN)
    goal = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{BASE}/login?{urlencode({'next': goal})}", 303)


def _home(desk: Desk, shell: Shell) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        found = await signed_in(request, desk)
        return RedirectResponse(shell.home(found[1].role) if found else f"{BASE}/login", 303)

    return endpoint


def _translate_errors(app: FastAPI, shell: Shell) -> None:
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)  # noqa: S101 - registered for it
        response = shell.bare("sorry.html", error.status, line=str(error))
        response.headers.update(error.headers)
        return response

    async def access(_: Request, error: Exception) -> Response:
        assert isinstance(error, AccessError)  # noqa: S101 - registered for it
        return shell.bare("sorry.html", status_of(error), line=str(error))

    async def provider(_: Request, error: Exception) -> Response:
        _log.warning("provider_failed", reason=getattr(error, "reason", ""))
        return shell.bare("sorry.html", 502, line=str(error))

    async def away(request: Request, error: Exception) -> Response:
        _log.warning("store_unavailable", path=request.url.path, reason=str(error))
        return shell.bare("sorry.html", 503, line=AWAY)

    async def http(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        line = NO_PAGE if status == 404 else str(getattr(error, "detail", ""))
        return shell.bare("sorry.html", status, line=line)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(AccessError, access)
    app.add_exception_handler(ProviderFailed, provider)
    app.add_exception_handler(StoreUnavailable, away)
    app.add_exception_handler(HTTPException, http)
