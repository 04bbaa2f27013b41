"""Token buckets in Redis, which all processes share."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from core.chat.ports import Bucket
from storage.connections import Client
from storage.keys import Keys
from storage.script import Script


class RedisBuckets:
    """Buckets of `core.chat.ports`, by the server's clock. Raises StoreUnavailable.

    All lie in one slot of a cluster: one step may ask those of a person, a channel and a workspace together. A bucket
    that would be full is not kept, so what is kept is bounded by what was spent lately.
    """

    def __init__(self, client: Client, prefix: str = "parley") -> None:
        self._keys = Keys(prefix)
        self._change = Script(client, "bucket")

    async def spend(self, wants: Sequence[tuple[Bucket, float]]) -> float:
        """See `Buckets.spend`. An amount above the burst is given by a bucket that is full."""
        return await self._changed("spend", wants)

    async def charge(self, wants: Sequence[tuple[Bucket, float]]) -> None:
        """See `Buckets.charge`."""
        await self._changed("charge", wants)

    async def hold(self, bucket: Bucket, wait_s: float) -> None:
        """See `Buckets.hold`. Of two holds the longer one counts."""
        await self._changed("hold", [(bucket, wait_s)])

    async def _changed(self, how: str, wants: Sequence[tuple[Bucket, float]]) -> float:
        args: list[str | int | float] = [uuid.uuid4().hex[:12], how]
        for bucket, amount in wants:
            args += [amount, bucket.per_s, bucket.burst]
        return float(await self._change([self._keys.bucket(bucket.name) for bucket, _ in wants], args)) / 1e6
