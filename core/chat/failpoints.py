"""Named points on the way of a message at which a test may let a process die, freeze or wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

# accepted: a message is on disk, its event not yet acknowledged. begun: a worker has read its first message.
# intended: it is noted that a post may become visible. posted: the first text is visible. closing: the answer is whole,
# its final text not yet shown. closed: the final text is shown. committed: the turn is in history and log.
Point = Literal["accepted", "begun", "intended", "posted", "closing", "closed", "committed"]

# What is awaited at each point.
Reach = Callable[[Point], Awaitable[None]]


async def passing(point: Point) -> None:
    """Nothing happens: the way of every process that is not under test."""
