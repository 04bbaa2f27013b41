"""The web page as the contract suite sees it: a real server on a free port, and people who talk to it over HTTP."""

from __future__ import annotations

import asyncio
import html
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from fastapi import FastAPI

from bots.web.app import web_app
from bots.web.courier import FeedCourier
from bots.web.server import open_port, serve_on
from core.chat.intake import MailboxIntake
from core.chat.limits import Limits
from core.chat.ports import Courier, Feed, Histories, Mailbox
from core.loop.feedback import Verdicts
from core.loop.listening import Listener, Log

TIMEOUT = aiohttp.ClientTimeout(total=10)


@asynccontextmanager
async def serving(app: FastAPI, port: int = 0) -> AsyncIterator[str]:
    """Serves `app` on loopback for the block, by default on a free port; its address without a closing slash."""
    stopping = asyncio.Event()
    listener = open_port("127.0.0.1", port)
    port = listener.getsockname()[1]
    async with asyncio.TaskGroup() as group:
        group.create_task(serve_on(app, listener, stopping))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            stopping.set()


@dataclass(slots=True)
class Person:
    """One browser: a cookie jar, its conversation, and a reader of its events in the background."""

    session: aiohttp.ClientSession
    base: str
    answers: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def post(self, path: str, **fields: str) -> tuple[int, dict[str, Any]]:
        """Posts a form as the page's script does; the status and the reply."""
        headers = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin"}
        async with self.session.post(self.base + path, data=fields, headers=headers) as response:
            return response.status, await response.json()

    async def read(self) -> None:
        """Reads the events of the conversation until the server ends them."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with self.session.get(f"{self.base}/events?after=0", timeout=timeout) as response:
            kind = ""
            async for raw in response.content:
                name, _, value = raw.decode().strip().partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self._see(kind, json.loads(value))

    def _see(self, kind: str, event: dict[str, str]) -> None:
        self.events.append((kind, event))
        if kind in {"growing", "closed"}:
            self.answers[event["turn"]] = as_text(event["html"])
        elif kind == "removed":
            self.answers.pop(event["turn"], None)
        elif kind == "notice":
            self.answers[f"notice {event['turn']}"] = event["text"]


class WebHarness:
    """People at the page. Each name that speaks gets a browser of its own."""

    platform = "web"
    max_chars = 1_000_000
    has_rooms = False

    def __init__(self, base_url: str, courier: Courier, group: asyncio.TaskGroup) -> None:
        self.base_url = base_url
        self.courier = courier
        self.people: dict[str, Person] = {}
        self._group = group
        self._readers: list[asyncio.Task[None]] = []
        self._said: dict[str, tuple[str, str]] = {}

    async def say_direct(self, person: str, text: str) -> str:
        """`person` sends `text` to the page; returns the native id of the message."""
        native = secrets.token_hex(16)
        self._said[native] = (person, text)
        await self.redeliver(native)
        return native

    async def redeliver(self, native_id: str) -> tuple[int, dict[str, Any]]:
        """The same request once more, as after a double click or a lost response; the status and the reply."""
        name, text = self._said[native_id]
        person = await self.person(name)
        return await person.post("/messages", id=native_id, text=text)

    async def person(self, name: str) -> Person:
        """The browser of `name`, with its first conversation open."""
        if name not in self.people:
            jar = aiohttp.CookieJar(unsafe=True)  # unsafe: cookies of an address, as browsers keep them
            session = aiohttp.ClientSession(cookie_jar=jar, timeout=TIMEOUT)
            async with session.get(f"{self.base_url}/") as response:
                person = self.people[name] = Person(session, str(response.url))
            self._readers.append(self._group.create_task(person.read()))
        return self.people[name]

    def visible(self) -> list[str]:
        """The bot's texts as people see them now, oldest first, person by person; empty ones are left out."""
        return [text for person in self.people.values() for text in person.answers.values() if text]

    async def aclose(self) -> None:
        """Closes all browsers."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for person in self.people.values():
            await person.session.close()


@asynccontextmanager
async def web_harness(
    mailbox: Mailbox,
    feed: Feed,
    histories: Histories,
    limits: Limits | None = None,
    verdicts: Verdicts | None = None,
    log: Log | None = None,
) -> AsyncIterator[WebHarness]:
    """The page on a real socket, its gateway wired to `mailbox` as the composition root does it."""
    courier = FeedCourier("web", feed)
    intake = MailboxIntake(mailbox, courier, limits)
    listener = Listener("web", verdicts, log, intake) if verdicts and log else None
    app = web_app(intake, mailbox, histories, feed, listener=listener)
    async with serving(app) as base_url, asyncio.TaskGroup() as group:
        harness = WebHarness(base_url, courier, group)
        try:
            yield harness
        finally:
            await harness.aclose()


def as_text(rendered: str) -> str:
    """An answer's HTML as the text one reads; blocks apart by an empty line."""
    return html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"</(p|li|h\d|pre)>\n?", "\n\n", rendered))).strip()
