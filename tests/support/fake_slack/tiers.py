"""Rate limits as Slack counts them: calls of a method within a minute, of chat.postMessage in each channel apart."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable

from tests.support.fake_slack.methods import METHODS
from tests.support.fake_slack.reading import Args

# "Short bursts of more than one a second are allowed": so many within so many seconds.
_BURST, _BURST_S = 10, 5.0


class Tiers:
    """Counts calls. `limits` holds calls a minute where a test wants others than Slack's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.limits: dict[str, int] = {}
        self._clock = clock
        self._recent: dict[str, deque[float]] = defaultdict(deque)

    def wait_s(self, name: str, args: Args) -> int | None:
        """Counts a call: None when it may go on, else the seconds after which another one may."""
        method = METHODS.get(name)
        per_channel = method is not None and method.per_channel
        recent, now = self._recent[f"{name} {args.get('channel')}" if per_channel else name], self._clock()
        while recent and recent[0] <= now - 60.0:
            recent.popleft()
        windows = [(self.limits.get(name, method.per_minute if method else 600), 60.0)]
        if per_channel and name not in self.limits:
            windows.append((_BURST, _BURST_S))
        for limit, seconds in windows:
            inside = [at for at in recent if at > now - seconds]
            if len(inside) >= limit:
                return max(1, math.ceil(inside[0] + seconds - now))
        recent.append(now)
        return None
