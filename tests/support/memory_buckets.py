"""A working fake of the token buckets, in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from core.chat.errors import StoreUnavailable
from core.chat.ports import Bucket


class MemoryBuckets:
    """Buckets. With `down` set every method raises StoreUnavailable; `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.down = False
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._held_until: dict[str, float] = {}

    async def spend(self, wants: Sequence[tuple[Bucket, float]]) -> float:
        self._check_up()
        wait_s = max((self._wait_s(bucket, amount) for bucket, amount in wants), default=0.0)
        if wait_s > 1e-6:
            return wait_s
        await self.charge(wants)
        return 0.0

    async def charge(self, wants: Sequence[tuple[Bucket, float]]) -> None:
        self._check_up()
        now = self._clock()
        for bucket, amount in wants:
            self._full_at[bucket.name] = self._full(bucket, now) + amount / bucket.per_s

    async def hold(self, bucket: Bucket, wait_s: float) -> None:
        self._check_up()
        held_until = self._clock() + wait_s
        self._held_until[bucket.name] = max(held_until, self._held_until.get(bucket.name, held_until))

    def _wait_s(self, bucket: Bucket, amount: float) -> float:
        now = self._clock()
        short_s = self._full(bucket, now) - now + (amount - max(bucket.burst, amount)) / bucket.per_s
        return max(0.0, short_s, self._held_until.get(bucket.name, now) - now)

    def _full(self, bucket: Bucket, now: float) -> float:
        return max(now, self._full_at.get(bucket.name, now))

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("The memory buckets were told to be down.")
