"""The API as an ASGI app of its own: its routers, its errors as JSON, its description."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import JSONResponse

from admin.api import access, audit
from admin.api.bodies import Problem
from admin.desk import Desk
from admin.errors import Refused, status_of
from core.chat.errors import StoreUnavailable
from core.loop.errors import AccessError

AWAY = "The database cannot be reached right now. Please try again in a minute."
_PROBLEMS: dict[int | str, dict[str, object]] = {
    401: {"model": Problem, "description": "No valid token"},
    403: {"model": Problem, "description": "The token does not allow this"},
    404: {"model": Problem, "description": "Not there, or not any more"},
    409: {"model": Problem, "description": "In the way of something else"},
    503: {"model": Problem, "description": "The database cannot be reached"},
}


def api_app(desk: Desk, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """The API, with the `routers` of other pages beside its own."""
    app = FastAPI(title="Parley console", version="1", docs_url=None, redoc_url=None, responses=_PROBLEMS)
    app.state.desk = desk
    for router in (access.router, audit.router, *routers):
        app.include_router(router)
    app.add_exception_handler(AccessError, _access)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(StoreUnavailable, _away)
    return app


async def _access(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AccessError)  # noqa: S101 - registered for it
    return JSONResponse({"detail": str(error)}, status_of(error))


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 - registered for it
    return JSONResponse({"detail": str(error)}, error.status, error.headers)


async def _away(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": AWAY}, 503)
