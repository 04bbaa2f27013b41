"""Passive health: what the answers themselves tell of a host, and when it may be asked again."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.chat.errors import HostError, HostRefused
from model.client.errors import Overloaded, Stalled, Unreachable

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class BackOff:
    """A host that cannot be reached, that stalls, or fails `failures` times in a row, is set aside.

    For `first_s` seconds at first, then twice as long each time up to `most_s`, less up to half at random, so that not
    all processes come back at once. A host that asks for time without saying how much is left alone for `pause_s`.
    """

    failures: int = 3
    first_s: float = 0.5
    most_s: float = 10.0
    pause_s: float = 0.25


@dataclass(slots=True)
class Health:
    """One host's health. What is told of requests that began before its last turn, for better or worse, is stale."""

    back_off: BackOff = BackOff()
    clock: Clock = time.monotonic
    chance: Callable[[], float] = random.random
    aside: bool = False  # one request at a time may try it, once `_until` is over
    probing: bool = False
    reason: str = ""
    _gone: bool = False
    _failures: int = 0
    _rounds: int = 0
    _until: float = -math.inf
    _held_until: float = -math.inf
    _turned_at: float = field(default=-math.inf)

    def wait_s(self, *, small: bool = False) -> float:
        """Seconds until it may be asked: for an answer, or with `small` a question that the engine need not answer."""
        if small:
            until = max(self._held_until, self._until if self._gone else -math.inf)
            return max(0.0, until - self.clock())
        return math.inf if self.probing else max(0.0, max(self._until, self._held_until) - self.clock())

    def reached(self, began: float) -> None:
        """It answered a small question: if it was gone, it is back."""
        if self._gone:
            self.answering(began)

    def answering(self, began: float) -> None:
        """It began to answer: it is taken back, though not yet forgiven."""
        if self.aside and began >= self._turned_at:
            self._turn(aside=False, gone=False)

    def finished(self, began: float) -> None:
        """It brought an answer to its proper end."""
        if began >= self._turned_at:
            self.answering(began)
            self._failures = self._rounds = 0

    def failed(self, error: HostError, began: float) -> None:
        """A request that began at `began` ended in `error`."""
        if isinstance(error, Overloaded):
            self._hold(error)
        if isinstance(error, HostRefused) or (isinstance(error, Overloaded) and error.full):
            self.answering(began)
        elif began >= self._turned_at:
            self.reason = str(error)
            self._failures += 1
            grave = isinstance(error, Unreachable | Stalled)
            if grave or self.aside or self._failures >= self.back_off.failures:
                self._set_aside(gone=isinstance(error, Unreachable))

    def _hold(self, error: Overloaded) -> None:
        self.reason = str(error)
        wait_s = self._jittered(self.back_off.pause_s) if error.retry_after_s is None else error.retry_after_s
        self._held_until = max(self._held_until, self.clock() + wait_s)

    def _set_aside(self, *, gone: bool) -> None:
        wait_s = min(self.back_off.most_s, self.back_off.first_s * 2.0 ** min(self._rounds, 16))
        self._rounds += 1
        self._until = self.clock() + self._jittered(wait_s)
        self._turn(aside=True, gone=gone)

    def _turn(self, *, aside: bool, gone: bool) -> None:
        self.aside, self._gone, self.probing = aside, gone, False
        self._turned_at = self.clock()

    def _jittered(self, wait_s: float) -> float:
        return wait_s * (1.0 - self.chance() / 2.0)
