"""Pacing: platform calls wait for their turn in buckets that all processes share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from core.chat.errors import StoreUnavailable
from core.chat.ports import Bucket, Buckets, Meter
from core.chat.quiet import NO_METER

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pacer:
    """Turns at platform calls. Without `buckets`, or when they cannot be reached, every turn comes at once."""

    buckets: Buckets | None = None
    meter: Meter = NO_METER

    async def turn(self, bucket: Bucket, within_s: float, under: Sequence[Bucket] = ()) -> bool:
        """Waits for a turn in `bucket`; False, and no turn, when it would not come within `within_s` seconds.

        While one of `under` is held there is no turn either; nothing is taken out of those.
        """
        deadline = time.monotonic() + within_s
        while wait_s := await self._spend(bucket, under):
            if time.monotonic() + wait_s > deadline:
                return False
            await asyncio.sleep(wait_s)
        return True

    async def limited(self, bucket: Bucket, wait_s: float, platform: str, method: str) -> None:
        """The platform refused a call for `wait_s` seconds: nobody gets a turn in `bucket` until then."""
        self.meter.platform_limited(platform, method)
        await self.spent(bucket, wait_s)

    async def spent(self, bucket: Bucket, wait_s: float) -> None:
        """The platform said that there is nothing left in `bucket` for `wait_s` seconds, before it had to refuse."""
        if self.buckets is None:
            return
        try:
            await self.buckets.hold(bucket, wait_s)
        except StoreUnavailable as error:
            _log.warning("pace_not_held", bucket=bucket.name, reason=str(error))

    async def _spend(self, bucket: Bucket, under: Sequence[Bucket]) -> float:
        if self.buckets is None:
            return 0.0
        try:
            return await self.buckets.spend([(bucket, 1.0), *((above, 0.0) for above in under)])
        except StoreUnavailable as error:
            _log.warning("pace_not_asked", bucket=bucket.name, reason=str(error))
            return 0.0
