"""Asking model hosts, as the tests of the client do: a small prompt, short timeouts, and an answer read to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from core.chat.interaction import PromptMessage, Sampling
from core.chat.ports import Finish, ModelHost, ModelInfo, Piece
from model.client import BackOff, HostFleet, HttpModelHost, Timeouts
from tests.support.stub_host import StubHost

MESSAGES = (PromptMessage("system", "Be kind."), PromptMessage("user", "Hello?"))
SAMPLING = Sampling(temperature=0.5, top_p=0.9, max_tokens=64, seed=7)
QUICK = Timeouts(connect_s=1.0, first_token_s=0.3, between_tokens_s=0.3, total_s=5.0, ask_s=1.0)
# For tests in which nothing but the fault itself may end an answer, however slow the machine is.
PATIENT = Timeouts(connect_s=10.0, first_token_s=30.0, between_tokens_s=30.0, total_s=60.0, ask_s=30.0)
BRISK = BackOff(first_s=0.02, most_s=0.1, pause_s=0.01)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read: the text, its end, and the model that was named before the text."""

    text: str
    finish: Finish
    info: ModelInfo


async def read(host: ModelHost, session: str = "web:a:b:c", trace: str = "") -> Answer:
    """An answer, read to its end."""
    parts = [part async for part in host.stream(MESSAGES, SAMPLING, session, trace)]
    assert isinstance(parts[0], ModelInfo)
    assert isinstance(parts[-1], Finish)
    pieces = parts[1:-1]
    assert all(isinstance(part, Piece) for part in pieces)
    return Answer("".join(part.text for part in pieces if isinstance(part, Piece)), parts[-1], parts[0])


def client(host: StubHost, http: aiohttp.ClientSession, **changes: Any) -> HttpModelHost:
    """The client of one host."""
    options: dict[str, Any] = {"timeouts": PATIENT} | changes
    return HttpModelHost(options.pop("url", host.url), options.pop("api_key", ""), http, **options)


def fleet(hosts: Sequence[StubHost], http: aiohttp.ClientSession, **changes: Any) -> HostFleet:
    """The client of several hosts."""
    options: dict[str, Any] = {"timeouts": PATIENT, "back_off": BRISK} | changes
    shared = {name: options[name] for name in ("timeouts", "clock") if name in options}
    return HostFleet([client(host, http, **shared) for host in hosts], **options)


def sessions_at(host: StubHost, after: int = 0) -> list[str]:
    """The sessions of the chat requests at `host`, without the first `after` of them."""
    chats = [request for request in host.requests if request.path == "/v1/chat/completions"]
    return [request.headers["x-session-id"] for request in chats[after:]]


class Ticking:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


def never() -> float:
    """A chance that takes nothing off a back-off."""
    return 0.0
