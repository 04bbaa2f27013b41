"""Getting in and out: who a request comes from, passwords with their throttle, and the beginning of a session."""

from __future__ import annotations

import hashlib
import math
import uuid
from dataclasses import dataclass

import structlog
from starlette.requests import Request
from starlette.responses import Response

from admin import cookies
from admin.desk import DAY_S, Desk
from admin.errors import Refused
from core.loop.people import Account, Session, hash_of, key_of, new_secret
from core.loop.throttling import ACCOUNT, ADDRESS, PAIR, Slowness

_log = structlog.get_logger(__name__)

WRONG = "Name or password is not right."
SLOWLY = "Too many tries. Please wait {seconds} s, then try again."
_KNOWN_S = 180 * DAY_S
_MAX_AGENT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from."""

    address: str
    agent: str


def visitor_of(request: Request) -> Visitor:
    """The visitor behind `request`; a proxy on this machine is believed about the address."""
    agent = request.headers.get("user-agent", "")[:_MAX_AGENT_CHARS]
    return Visitor(request.client.host if request.client else "", agent)


async def signed_in(request: Request, desk: Desk) -> tuple[Session, Account] | None:
    """The session behind `request` and its account, None where there is none."""
    token = cookies.read(request, cookies.SESSION)
    if not token:
        return None
    now = desk.now()
    found = await desk.sessions.find(hash_of(token), now, desk.lasting.idle_s)
    if found:
        await desk.sessions.seen(found[0].id, now)
    return found


async def check_password(request: Request, desk: Desk, name: str, password: str) -> Account:
    """The account of this name and password.

    Raises:
        Refused: 403 where they do not fit, whether there is such an account or not; 429 where it is too fast.
    """
    own, shared = await _counted(request, desk, name)
    wait = await desk.throttle.begin({**own, **shared}, desk.now())
    if wait:
        seconds = math.ceil(wait)
        raise Refused(429, SLOWLY.format(seconds=seconds), {"Retry-After": str(seconds)})
    found = await desk.accounts.with_password(name)
    if not await desk.passwords.verify(found[1] if found else None, password) or found is None:
        _log.warning("sign_in_refused", address=visitor_of(request).address)
        raise Refused(403, WRONG)
    await desk.throttle.right(list(own), list(shared))
    return found[0]


async def begin_session(request: Request, response: Response, desk: Desk, account: Account, way: str) -> None:
    """Gives the browser a new session in the place of any that it had, and knows it again for half a year."""
    visitor, now, token = visitor_of(request), desk.now(), new_secret()
    until = now + desk.lasting.session_s
    session = Session(uuid.uuid4().hex, account.id, now, now, until, visitor.address, visitor.agent)
    await desk.sessions.begin(session, hash_of(token), way, hash_of(cookies.read(request, cookies.SESSION)))
    # Whatever token the browser came with is gone: nobody can have laid one there before.
    cookies.put(request, response, cookies.SESSION, token, desk.lasting.session_s)
    known = cookies.read(request, cookies.KNOWN) or new_secret()
    await desk.throttle.remember_browser(_known(account.name, known), now)
    cookies.put(request, response, cookies.KNOWN, known, _KNOWN_S)


async def _counted(request: Request, desk: Desk, name: str) -> tuple[dict[str, Slowness], dict[str, Slowness]]:
    """What a try is counted under: of its own, and shared with others."""
    browser = cookies.read(request, cookies.KNOWN)
    known = _known(name, browser)
    if browser and await desk.throttle.knows_browser(known):
        return {known: PAIR}, {}
    address = visitor_of(request).address
    return {_hashed("pair", key_of(name), address): PAIR}, {
        _hashed("address", address): ADDRESS,
        _hashed("account", key_of(name)): ACCOUNT,
    }


def _known(name: str, browser: str) -> str:
    return _hashed("browser", key_of(name), browser)


def _hashed(*parts: str) -> str:
    """No names and addresses of people in a table that only counts."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
