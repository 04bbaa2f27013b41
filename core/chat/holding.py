"""A worker's hold on one conversation: the lease, kept and watched, and what befalls the message under its hands."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import structlog

from core.chat.errors import Fenced, StoreUnavailable
from core.chat.ports import Claim, Tickets

_log = structlog.get_logger(__name__)

# Signals that pub/sub lost come with the next renewal: a stop takes effect within two seconds.
LOOK_S = 1.5

Reason = Literal["stop", "revised", "withdrawn", "drain", "fenced"]
_GRAVITY: dict[Reason, int] = {"stop": 0, "revised": 1, "withdrawn": 2, "drain": 3, "fenced": 4}


def awake_clock() -> float:
    """Seconds that pass while the process is frozen, too, and where the system has such a clock while it sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Halt:
    """Tells an answer under way to end, and why. The gravest reason counts."""

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self._asked = asyncio.Event()

    def ask(self, reason: Reason) -> None:
        """Ends the answer as soon as possible."""
        if self.reason is None or _GRAVITY[reason] > _GRAVITY[self.reason]:
            self.reason = reason
        self._asked.set()

    async def wait(self) -> None:
        """Returns once an end was asked for."""
        await self._asked.wait()


@dataclass(slots=True)
class Hold:
    """One claim while it is worked on; `halt` belongs to the message being answered and is set anew for each."""

    claim: Claim
    tickets: Tickets
    lease_s: float
    now: Callable[[], float] = awake_clock
    halt: Halt = field(default_factory=Halt)
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)
    _sure_until: float = field(init=False)

    def __post_init__(self) -> None:
        # A freeze between the claim and here does no harm: `intend` asks the store before anything is visible.
        self._sure_until = self.now() + self.lease_s

    def check(self) -> None:
        """To be called before each visible step.

        Raises:
            Fenced: the lease may be over, because it could not be renewed for its whole length.
        """
        if self.now() >= self._sure_until:
            raise Fenced(
                f"The lease on {self.claim.conversation} may be over: it was not renewed for {self.lease_s} s."
            )

    def nudge(self) -> None:
        """Looks at once what befell the message, instead of with the next renewal."""
        self._nudged.set()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renews the lease for the time of the block."""
        renewing = asyncio.create_task(self._renew_until_fenced())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew_until_fenced(self) -> None:
        while True:
            await self._pause(min(LOOK_S, self.lease_s / 3))
            asked_at = self.now()
            halt = self.halt  # that of the message which was first when the store is asked
            try:
                signal = await self.tickets.renew(self.claim)
            except Fenced:
                self._sure_until = asked_at
                self.halt.ask("fenced")
                return
            except StoreUnavailable as error:
                _log.warning("lease_not_renewed", conversation=str(self.claim.conversation), reason=str(error))
                continue
            self._sure_until = asked_at + self.lease_s
            if signal is not None:
                halt.ask(signal.value)

    async def _pause(self, at_most_s: float) -> None:
        try:
            async with asyncio.timeout(at_most_s):
                await self._nudged.wait()
        except TimeoutError:
            return
        self._nudged.clear()
