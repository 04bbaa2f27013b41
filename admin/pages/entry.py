"""Signing in and out, by password, by a one-time link, or through the provider: the only pages without a session."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin import cookies
from admin.desk import Desk
from admin.entry import begin_session, check_password, signed_in
from admin.errors import ProviderFailed, Refused, status_of
from admin.forms import read_form
from admin.page import DONE, to
from admin.provider import Flow, Provider
from admin.shell import BASE, Shell
from core.loop.errors import AccessError, NotFound
from core.loop.people import Account, Link, clean_name, hash_of
from core.loop.people import check_password as check_new_password

_log = structlog.get_logger(__name__)

_NEXT = re.compile(rf"{BASE}(/[A-Za-z0-9/_.?=&%-]*)?")
_FLOW_S = 600
NOBODY = "Nobody has let this login in yet. Ask an admin of this console for a link."
NO_PROVIDER = "No provider is set up here."
OUT_OF_DATE = "That took too long, or began in another browser. Please sign in once more."
DIFFERENT = "The two passwords differ."


@dataclass(frozen=True, slots=True)
class Entrance:
    """The routes; `desk` and `shell` are the console's."""

    desk: Desk
    shell: Shell

    def routes(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """Method, path and endpoint of each route."""
        return [
            ("GET", "/login", self.show_login),
            ("POST", "/login", self.login),
            ("POST", "/logout", self.logout),
            ("GET", "/login/provider", self.leave_for_provider),
            ("GET", "/login/callback", self.come_back),
            ("GET", "/link/{token}", self.show_link),
            ("POST", "/link/{token}", self.redeem),
        ]

    async def show_login(self, request: Request) -> Response:
        """The login page; whoever is signed in goes on."""
        if found := await signed_in(request, self.desk):
            return RedirectResponse(self._goal(request.query_params.get("next", ""), found[1]), 303)
        line = DONE.get(request.query_params.get("done", ""), "")
        return self._login_page(200, line, "", request.query_params.get("next", ""))

    async def login(self, request: Request) -> Response:
        """Begins a session where name and password fit."""
        form = await read_form(request)
        name, goal = form.get("name", ""), form.get("next", "")
        try:
            account = await check_password(request, self.desk, name, form.get("password", ""))
        except Refused as refused:
            response = self._login_page(refused.status, str(refused), name, goal)
            response.headers.update(refused.headers)
            return response
        return await self._enter(request, account, "password", goal)

    async def logout(self, request: Request) -> Response:
        """Ends this browser's session."""
        if found := await signed_in(request, self.desk):
            session, account = found
            await self.desk.sessions.end(session.id, account.id, account.id)
        return cookies.drop(request, to("/login", "out"), cookies.SESSION)

    async def leave_for_provider(self, request: Request) -> Response:
        """To the provider; a one-time link goes along in the cookie."""
        provider, flow = self._provider(), Flow.new()
        kept = {
            **asdict(flow),
            "link": request.query_params.get("link", ""),
            "next": request.query_params.get("next", ""),
        }
        response = RedirectResponse(await provider.address(flow, _callback(request)), 303)
        return cookies.put(request, response, cookies.SIGN_IN, json.dumps(kept), _FLOW_S)

    async def come_back(self, request: Request) -> Response:
        """From the provider: into the account that the login is tied to, or that the link makes."""
        provider, kept = self._provider(), _kept(request)
        flow = Flow(**{field.name: kept.get(field.name, "") for field in fields(Flow)})
        if not flow.state or not hmac.compare_digest(flow.state, request.query_params.get("state", "")):
            raise Refused(400, OUT_OF_DATE)
        if "code" not in request.query_params:
            raise ProviderFailed(f"came back without a code: {request.query_params.get('error', '')[:100]!r}")
        identity = await provider.identity(flow, _callback(request), request.query_params["code"])
        if kept.get("link"):
            now = self.desk.now()
            account = await self.desk.accounts.redeem(
                hash_of(kept["link"]), identity.name or "Guest", "", identity, now
            )
        else:
            known = await self.desk.accounts.of_identity(identity, provider.settings.role, "provider")
            if known is None or not known.active:
                raise Refused(403, NOBODY)
            account = known
        response = await self._enter(request, account, "provider", kept.get("next", ""))
        return cookies.drop(request, response, cookies.SIGN_IN)

    async def show_link(self, request: Request) -> Response:
        """What a one-time link is for; looking at it, as mail programs do, does not use it up."""
        token = request.path_params["token"]
        try:
            link = await self.desk.links.find(hash_of(token), self.desk.now())
        except NotFound as error:
            raise Refused(404, str(error)) from error
        return await self._link_page(link, token)

    async def redeem(self, request: Request) -> Response:
        """Uses the link up and begins a session."""
        token, form = request.path_params["token"], await read_form(request)
        try:
            link = await self.desk.links.find(hash_of(token), self.desk.now())
        except NotFound as error:
            raise Refused(404, str(error)) from error
        owner = await self.desk.accounts.find(link.account_id) if link.account_id else None
        name, password = owner.name if owner else form.get("name", ""), form.get("password", "")
        try:
            if password != form.get("again", ""):
                raise Refused(422, DIFFERENT)
            check_new_password(password, clean_name(name))
            hashed = await self.desk.passwords.hash(password)
            account = await self.desk.accounts.redeem(hash_of(token), name, hashed, None, self.desk.now())
        except (AccessError, Refused) as error:
            status = error.status if isinstance(error, Refused) else status_of(error)
            return await self._link_page(link, token, status, str(error), form.get("name", ""))
        return await self._enter(request, account, "link", "")

    async def _enter(self, request: Request, account: Account, way: str, goal: str) -> Response:
        response = RedirectResponse(self._goal(goal, account), 303)
        await begin_session(request, response, self.desk, account, way)
        return response

    def _goal(self, wanted: str, account: Account) -> str:
        """Where to go on: a page of ours, never an address that somebody else made up."""
        return wanted if _NEXT.fullmatch(wanted) and "//" not in wanted else self.shell.home(account.role)

    def _provider(self) -> Provider:
        if self.desk.provider is None:
            raise Refused(404, NO_PROVIDER)
        return self.desk.provider

    def _label(self) -> str:
        return self.desk.provider.settings.label if self.desk.provider else ""

    def _login_page(self, status: int, line: str, name: str, goal: str) -> Response:
        return self.shell.bare("login.html", status, line=line, name=name, next=goal, provider=self._label())

    async def _link_page(self, link: Link, token: str, status: int = 200, line: str = "", name: str = "") -> Response:
        owner = await self.desk.accounts.find(link.account_id) if link.account_id else None
        shown = {"link": link, "token": token, "owner": owner, "name": name, "provider": self._label()}
        return self.shell.bare("link.html", status, line=line, **shown)


def _kept(request: Request) -> dict[str, str]:
    try:
        found = json.loads(cookies.read(request, cookies.SIGN_IN) or "{}")
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _callback(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{BASE}/login/callback"
