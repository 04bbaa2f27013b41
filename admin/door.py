"""The door of the console: which hosts are served, what must come over https, whose forms are heard.

It is much like the web page's (`bots/web/guard.py`), which must not know the console, nor the console it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
NOT_OURS = "This request did not come from the console's own page, so it was not carried out.\n"
NOT_SAFE = (
    "The console is served over https, or to this machine itself. Put a proxy with a certificate before it that sets "
    "X-Forwarded-Proto, or open it at http://127.0.0.1.\n"
)


class Door:
    """ASGI middleware around the whole console; `hosts` are its names beside localhost and plain addresses."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with the reason why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
                headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")
            await send(message)

        await (self._refusal(scope, path) or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, path: str) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = _hostname(host)
        if not (name in self._hosts or is_local(name) or _is_address(name)):
            line = f"The console does not answer to the name {host[:100]!r}. PARLEY_HOSTS can allow it.\n"
            return PlainTextResponse(line, 400)
        if scope["scheme"] != "https" and not is_local(name):
            return PlainTextResponse(NOT_SAFE, 400)
        # The API knows bearer tokens only, which no browser sends by itself.
        if scope["method"] in _SAFE_METHODS or path.startswith("/api/") or _same_origin(headers, scope["scheme"], host):
            return None
        return PlainTextResponse(NOT_OURS, 403)


def _same_origin(headers: Headers, scheme: str, host: str) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(headers.get("origin", ""))
    return bool(host) and (origin.scheme, origin.netloc.lower()) == (scheme, host.lower())


def is_local(name: str) -> bool:
    """Whether a host name is this machine's own: no other machine is reached by it."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
