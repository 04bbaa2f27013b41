"""HostFleet: one or several hosts as one; each conversation has its host, and another one when that fails."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import aiohttp

from core.chat.errors import AnswerBroken, HostError, HostUnavailable
from core.chat.interaction import PromptMessage, Sampling
from core.chat.ports import Finish, ModelInfo, Piece
from model.client.errors import Overloaded, Stalled, Unreachable
from model.client.health import BackOff, Clock, Health
from model.client.host import HttpModelHost
from model.client.rendezvous import ranked
from model.client.seats import Seat, Seats
from model.client.timing import Retries, RetryBudget, Timeouts

T = TypeVar("T")

_MIN_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Standing:
    """How a host stands, for whoever watches: `well` unless it is set aside, for `reason`."""

    url: str
    well: bool
    underway: int
    reason: str


class HostFleet:
    """Core's ModelHost over `hosts`, whose addresses differ.

    At each of them at most `max_underway` answers of this process are under way (0: any number); more wait in line.
    An answer is asked for again only while nothing of it was seen.
    """

    def __init__(
        self,
        hosts: Sequence[HttpModelHost],
        *,
        max_underway: int = 0,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        back_off: BackOff | None = None,
        clock: Clock = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not hosts:
            raise ValueError("a fleet has at least one host")
        self._hosts = {host.url: host for host in hosts}
        self._timeouts = timeouts or Timeouts()
        self._retries = retries or Retries()
        self._budget = RetryBudget(self._retries, clock)
        self._clock = clock
        self._healths = {url: Health(back_off or BackOff(), clock, chance) for url in self._hosts}
        self._seats = Seats(self._healths, max_underway=max_underway, clock=clock)

    @property
    def standings(self) -> list[Standing]:
        """How each host stands, in the order in which they were named."""
        underway = self._seats.underway
        return [
            Standing(url, not health.aside, underway[url], health.reason if health.aside else "")
            for url, health in self._healths.items()
        ]

    @property
    def waiting(self) -> int:
        """Answers that wait for a host."""
        return self._seats.waiting

    async def describe(self) -> ModelInfo:
        """The model behind a host that is well. Raises the HostError family."""
        return await self._ask("", HttpModelHost.describe)

    async def count_tokens(self, text: str) -> int:
        """Tokens of `text` without special tokens, as a host that is well counts them. Raises the HostError family."""
        return await self._ask(text, lambda host: host.count_tokens(text))

    async def stream(
        self, messages: Sequence[PromptMessage], sampling: Sampling, session: str, trace: str = ""
    ) -> AsyncGenerator[ModelInfo | Piece | Finish, None]:
        """The model that answers, the answer piece by piece, then one Finish.

        Closing the generator closes the connection, and gives up the place in line or at the host, at once.

        Raises:
            HostUnavailable: no host to be had in time; nothing was yielded.
            HostRefused: the request itself was refused (PromptTooLong with the figures).
            AnswerBroken: the answer stalled or did not end properly.
        """
        until = self._clock() + self._timeouts.total_s
        self._budget.asked()
        full_s, away_s, failed = self._timeouts.first_token_s, self._retries.wait_s, ""
        for tries in count(1):
            seat = await self._seats.take(session, full_s, away_s, avoid=failed)
            seen = False
            answer = self._hosts[seat.name].stream(messages, sampling, session, trace, until=until)
            try:
                async with aclosing(answer) as parts:
                    async for part in parts:
                        self._note(seat, part)
                        seen = seen or isinstance(part, Piece)
                        yield part
                return
            except HostError as error:
                failed = seat.name
                self._seats.failed(failed, error, seat.began)
                if seen or not self._again(error, tries):
                    raise
            finally:
                self._seats.leave(seat)

    def _note(self, seat: Seat, part: ModelInfo | Piece | Finish) -> None:
        if isinstance(part, Finish):
            self._seats.finished(seat)
        elif isinstance(part, Piece):
            self._seats.answering(seat)

    def _again(self, error: HostError, tries: int) -> bool:
        """Whether an answer of which nothing was seen is asked for once more."""
        if isinstance(error, Unreachable | Overloaded):
            most = self._retries.tries
        elif isinstance(error, AnswerBroken) and not isinstance(error, Stalled):
            most = min(2, self._retries.tries)  # a prompt that breaks hosts must not go round all of them
        else:
            return False  # it was refused, crashed the host, or has used its time
        return tries < most and self._budget.spend()

    async def _ask(self, key: str, question: Callable[[HttpModelHost], Awaitable[T]]) -> T:
        """What a host says to a small question; waits a little for one to come back when all are away."""
        until = self._clock() + self._retries.wait_s
        while True:
            failure: HostUnavailable | None = None
            for url in self._askable(key):
                began = self._clock()
                try:
                    answer = await question(self._hosts[url])
                except HostUnavailable as error:
                    failure = error
                    self._seats.failed(url, error, began)
                else:
                    self._seats.reached(url, began)
                    return answer
            wait_s = min(health.wait_s(small=True) for health in self._healths.values())
            if _is_final(failure) or self._clock() + wait_s > until:
                raise failure or HostUnavailable(self._seats.why_none())
            await asyncio.sleep(max(wait_s, _MIN_PAUSE_S))

    def _askable(self, key: str) -> list[str]:
        """Hosts for a small question, in the order of `key`; who is set aside comes last, for it may cost time."""
        askable = [url for url, health in self._healths.items() if not health.wait_s(small=True)]
        return sorted(ranked(key, askable), key=lambda url: self._healths[url].aside)


def _is_final(failure: HostUnavailable | None) -> bool:
    return failure is not None and not isinstance(failure, Unreachable | Overloaded)


@asynccontextmanager
async def open_fleet(
    urls: Sequence[str],
    api_key: str,
    model: str = "",
    *,
    context_tokens: int = 4096,
    max_underway: int = 0,
    timeouts: Timeouts | None = None,
) -> AsyncIterator[HostFleet]:
    """The hosts at `urls` as one, with the connections to them, for as long as the block takes."""
    # Seats bound the answers under way, not the connector's 100 connections; hosts have no business with cookies.
    # Uvicorn, under our host and vLLM, closes a connection after 5 idle seconds: a request that meets that is lost.
    connector, jar = aiohttp.TCPConnector(limit=0, keepalive_timeout=3.0), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        hosts = [
            HttpModelHost(url, api_key, session, model, context_tokens=context_tokens, timeouts=timeouts)
            for url in urls
        ]
        yield HostFleet(hosts, max_underway=max_underway, timeouts=timeouts)
