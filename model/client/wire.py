"""Requests to one host: its address, its key, time to connect; no redirects, and errors in core's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from core.chat.errors import HostRefused
from model.client.errors import Unreachable
from model.client.refusals import translate
from model.client.timing import Timeouts


@dataclass(frozen=True, slots=True)
class Wire:
    """The way to the host at `root`, an address without the closing `/v1`."""

    root: str
    session: aiohttp.ClientSession
    timeouts: Timeouts
    api_key: str = field(default="", repr=False)

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON that a small request brings. Raises HostUnavailable and HostRefused."""
        url = self.root + path
        with translated(url):
            async with (
                asyncio.timeout(self.timeouts.ask_s),
                self._request(method, url, body, headers or {}) as response,
            ):
                text = await response.text(errors="replace")
        if response.status != 200:
            raise translate(response.status, text, self.root, response.headers.get("Retry-After"))
        try:
            return json.loads(text)
        except ValueError as error:
            raise HostRefused(f"{url} is no OpenAI endpoint: it answers no JSON; check MODEL_URL.") from error

    async def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The response to a request whose answer streams; it is the caller's to close. Raises Unreachable."""
        with translated(self.root + path):
            return await self._request("POST", self.root + path, body, headers)

    def _request(
        self, method: str, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> aiohttp.client._RequestContextManager:
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        # Only connecting is timed by aiohttp; what follows is timed here, where each wait has its own meaning.
        patience = aiohttp.ClientTimeout(total=None, sock_connect=self.timeouts.connect_s)
        return self.session.request(
            method, url, json=body, headers={**key, **headers}, allow_redirects=False, timeout=patience
        )


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns what aiohttp raises into Unreachable, or HostRefused where `url` is none."""
    try:
        yield
    except aiohttp.InvalidURL as error:
        raise HostRefused(f"{url!r} is no URL; check MODEL_URL.") from error
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        why = str(error) or type(error).__name__
        raise Unreachable(f"The model host at {url} cannot be reached ({why}); check MODEL_URL.") from error
