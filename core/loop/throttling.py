"""How long somebody waits before the next try at a password: pure, from the failures that were counted.

Tries are counted under several names at once: for this account from this address, for this address, for this account
from everywhere. The last one slows down those who guess from many addresses; so that they cannot keep the rightful
owner out with it, a browser that has signed in before is counted under a name of its own instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

FORGOTTEN_S = 3600.0


@dataclass(frozen=True, slots=True)
class Slowness:
    """`free` failures cost nothing; each one after that doubles the wait, up to `longest_s`."""

    free: int
    longest_s: float


PAIR = Slowness(free=5, longest_s=300.0)
ADDRESS = Slowness(free=30, longest_s=60.0)
ACCOUNT = Slowness(free=20, longest_s=30.0)


@dataclass(frozen=True, slots=True)
class Count:
    """Tries that failed or are under way, and when the last one began."""

    failures: int
    last_at: float


def wait_s(count: Count, slowness: Slowness, now: float) -> float:
    """Seconds until the next try is allowed; 0 where it is."""
    if count.failures < slowness.free or now - count.last_at >= FORGOTTEN_S:
        return 0.0
    pause = min(slowness.longest_s, 2.0 ** min(count.failures - slowness.free, 30))
    return max(0.0, count.last_at + pause - now)


class Throttle(Protocol):
    """Counts tries. Raises StoreUnavailable."""

    async def begin(self, names: Mapping[str, Slowness], now: float) -> float:
        """Counts a try under all `names` before it is made, so that tries side by side are counted, too.

        Returns 0, or the seconds to wait where one of them is too fast; then nothing is counted.
        """

    async def right(self, own: Collection[str], shared: Collection[str]) -> None:
        """The try was the right one: what was counted under `own` is forgotten, `shared` get this one try back."""

    async def knows_browser(self, name: str) -> bool:
        """Whether `name` was remembered with `remember_browser`."""

    async def remember_browser(self, name: str, now: float) -> None:
        """Remembers a browser that has signed in."""
