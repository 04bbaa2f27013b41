"""What a process under test does at a named point: it kills or freezes itself, once. See `core.chat.failpoints`."""

from __future__ import annotations

import os
import signal

import structlog

from core.chat.failpoints import Point, Reach, passing
from parley.settings import FAILPOINT

_log = structlog.get_logger(__name__)
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def reach_of(spec: str) -> Reach:
    """What PARLEY_FAILPOINT asks for: `point=kill`, `point=stop`, or with `:n` at the n-th passing; "" for nothing."""
    if not spec:
        return passing
    match = FAILPOINT.fullmatch(spec)
    assert match is not None, spec  # noqa: S101 - the settings have checked it
    point, action, count = match.groups()
    left = int(count or 1)

    async def reach(here: Point) -> None:
        nonlocal left
        if here != point:
            return
        left -= 1
        if left == 0:
            _log.warning("failpoint", point=point, action=action)
            os.kill(os.getpid(), _SIGNALS[action])

    return reach
