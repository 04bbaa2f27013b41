"""The fake Discord's rate limits and faults: buckets per route and channel, and what a test wants to go wrong."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

from aiohttp import web

CUT, SILENCE = 0, -1  # statuses of faults that answer nothing


@dataclass(slots=True)
class Bucket:
    left: int
    until: float


@dataclass(slots=True)
class Limits:
    """`calls` in `window_s` seconds pass per route and channel; the next gets 429. Headers announce it."""

    calls: int = 5
    window_s: float = 5.0
    exceeded: int = 0
    _buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)

    def spend(self, route: str, channel_id: str) -> tuple[bool, dict[str, str]]:
        """Whether the call passes, and the headers of its response."""
        now = time.monotonic()
        bucket = self._buckets.get((route, channel_id))
        if bucket is None or bucket.until <= now:
            bucket = self._buckets[route, channel_id] = Bucket(self.calls, now + self.window_s)
        passes = bucket.left > 0
        bucket.left = max(0, bucket.left - 1)
        reset_after = max(0.0, bucket.until - now)
        headers = {
            "X-RateLimit-Limit": str(self.calls),
            "X-RateLimit-Remaining": str(bucket.left),
            "X-RateLimit-Reset": f"{time.time() + reset_after:.3f}",
            "X-RateLimit-Reset-After": f"{reset_after:.3f}",
            "X-RateLimit-Bucket": hashlib.sha256(route.encode()).hexdigest()[:16],
        }
        if not passes:
            self.exceeded += 1
            headers |= {"Retry-After": f"{reset_after:.3f}", "X-RateLimit-Scope": "shared", "Via": "1.1 fake"}
        return passes, headers


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` calls of `method` whose path ends with `path`.

    `status` is answered at once; CUT breaks the connection instead, SILENCE never answers. With `after` the call is
    carried out first, so that only its response is lost. A 429 carries `retry_after_s`, says whether it is
    `everywhere`, and has a `Via` header only with `via`.
    """

    method: str
    path: str = ""
    status: int = 503
    times: int = 1
    after: bool = False
    retry_after_s: float = 0.0
    everywhere: bool = False
    via: bool = False

    def meets(self, request: web.Request) -> bool:
        return self.times > 0 and request.method == self.method and request.path.endswith(self.path)

    def response(self) -> web.Response:
        if self.status != 429:
            return web.Response(status=self.status, text="upstream connect error", content_type="text/plain")
        headers = {"Retry-After": f"{self.retry_after_s:.3f}", "X-RateLimit-Scope": "user"}
        if self.everywhere:
            headers |= {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"}
        if self.via:
            headers["Via"] = "1.1 fake"
        body = {
            "message": "You are being rate limited.",
            "retry_after": self.retry_after_s,
            "global": self.everywhere,
        }
        return web.json_response(body, status=429, headers=headers)
