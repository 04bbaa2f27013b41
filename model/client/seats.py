"""Seats: which host takes the next answer, how many each has, and who waits in line for one."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from core.chat.errors import HostError, HostUnavailable
from model.client.health import Clock, Health
from model.client.rendezvous import choose

_log = structlog.get_logger(__name__)

_FULL = "All model hosts have as many answers under way as they may, and the line did not move in time."


@dataclass(slots=True)
class Seat:
    """One answer's place at the host `name`, since `began`; `probe` where it tries a host that was set aside."""

    name: str
    began: float
    probe: bool


@dataclass(slots=True, eq=False)
class _Waiting:
    session: str
    avoid: str
    seat: Seat | None = None
    stir: asyncio.Event = field(default_factory=asyncio.Event)


class Seats:
    """Hands out seats at the hosts in `healths`, at most `max_underway` at each (0: any number), first come first."""

    def __init__(self, healths: Mapping[str, Health], *, max_underway: int = 0, clock: Clock = time.monotonic) -> None:
        self._healths = healths
        self._max_underway = max_underway
        self._clock = clock
        self._line: deque[_Waiting] = deque()
        self.underway = dict.fromkeys(healths, 0)

    @property
    def waiting(self) -> int:
        """Answers that wait for a seat."""
        return len(self._line)

    async def take(self, session: str, full_s: float, away_s: float, avoid: str = "") -> Seat:
        """A seat for an answer of `session`, once there is one; not at the host `avoid` if another has one.

        Raises:
            HostUnavailable: the hosts were full for `full_s` seconds, or all of them away for `away_s`.
        """
        waiting = _Waiting(session, avoid)
        self._line.append(waiting)
        full_until, away_since = self._clock() + full_s, None
        try:
            while True:
                self._seat_waiting()
                if waiting.seat is not None:
                    return waiting.seat
                if self._any_well():
                    away_since = None
                elif away_since is None:
                    away_since = self._clock()
                until = full_until if away_since is None else min(full_until, away_since + away_s)
                await self._rest(waiting, until)
        except BaseException:
            if waiting.seat is not None:
                self.leave(waiting.seat)
            raise
        finally:
            if waiting in self._line:
                self._line.remove(waiting)

    def leave(self, seat: Seat) -> None:
        """Gives a seat back."""
        self.underway[seat.name] -= 1
        if seat.probe:
            self._healths[seat.name].probing = False
        self._seat_waiting()

    def answering(self, seat: Seat) -> None:
        """The host of `seat` began to answer."""
        self._note(seat.name, lambda health: health.answering(seat.began))

    def finished(self, seat: Seat) -> None:
        """The answer in `seat` came to its proper end."""
        self._note(seat.name, lambda health: health.finished(seat.began))

    def failed(self, name: str, error: HostError, began: float) -> None:
        """A request to the host `name` that began at `began` ended in `error`."""
        self._note(name, lambda health: health.failed(error, began))
        for waiting in self._line:
            waiting.stir.set()  # they may have something else to wait for now

    def reached(self, name: str, began: float) -> None:
        """The host `name` answered a small question asked at `began`."""
        self._note(name, lambda health: health.reached(began))

    def why_none(self) -> str:
        """Why no host can be asked now."""
        return next((health.reason for health in self._healths.values() if health.reason), "No model host is well.")

    def _note(self, name: str, tell: Callable[[Health], None]) -> None:
        health = self._healths[name]
        was_aside = health.aside
        tell(health)
        if health.aside and not was_aside:
            _log.warning("host_aside", host=name, reason=health.reason)
        if was_aside and not health.aside:
            _log.info("host_back", host=name)
            self._seat_waiting()

    # ── the line ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _seat_waiting(self) -> None:
        while self._line and (seat := self._seat(self._line[0])):
            waiting = self._line.popleft()
            waiting.seat = seat
            waiting.stir.set()

    def _seat(self, waiting: _Waiting) -> Seat | None:
        loads = {name: self.underway[name] for name, health in self._healths.items() if not health.wait_s()}
        others = {name: load for name, load in loads.items() if name != waiting.avoid}
        most = self._max_underway
        name = choose(waiting.session, others, most) or choose(waiting.session, loads, most)
        if name is None:
            return None
        health = self._healths[name]
        probe = health.probing = health.aside
        self.underway[name] += 1
        return Seat(name, self._clock(), probe)

    def _any_well(self) -> bool:
        return any(not health.wait_s() for health in self._healths.values())

    async def _rest(self, waiting: _Waiting, until: float) -> None:
        """Waits until it is worth another look. Raises HostUnavailable when it will not be before `until`."""
        full = self._any_well()
        left = until - self._clock()
        waits = [health.wait_s() for health in self._healths.values()]
        nearest = min((wait for wait in waits if wait), default=math.inf)
        hopeless = not full and nearest > left and math.inf not in waits
        if left <= 0.0 or hopeless:
            raise HostUnavailable(_FULL if full else self.why_none())
        waiting.stir.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left, nearest)):
                await waiting.stir.wait()
