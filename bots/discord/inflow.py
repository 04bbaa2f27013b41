"""What arrives from Discord, kept in order per channel until the mailbox has taken it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from core.chat.errors import StoreUnavailable

_log = structlog.get_logger(__name__)

# One step of a lane, safe to repeat; raises StoreUnavailable while the mailbox is away.
Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Retries:
    """How long the mailbox is waited for: pauses in seconds (doubling), how much may wait, how long at the end."""

    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0
    most_waiting: int = 10_000
    settle_s: float = 5.0


class Inflow:
    """A lane per channel; each lane takes one step after the other, and no lane waits for another.

    Discord's gateway knows no acknowledgement and delivers nothing twice, so while the mailbox is away the steps wait
    here, in memory, and are tried again.
    """

    def __init__(self, tasks: asyncio.TaskGroup, retries: Retries) -> None:
        self._tasks = tasks
        self._retries = retries
        self._lanes: dict[str, deque[Step]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._waiting = 0

    def put(self, lane: str, step: Step) -> None:
        """Adds `step` at the end of `lane`; never waits. When too much waits already, it is lost and logged."""
        if self._waiting >= self._retries.most_waiting:
            _log.error("discord_message_lost", channel=lane, reason="too many messages wait for the mailbox")
            return
        self._waiting += 1
        if lane in self._lanes:
            self._lanes[lane].append(step)
            return
        self._lanes[lane] = deque([step])
        task = self._tasks.create_task(self._drain(lane))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settle(self) -> None:
        """Lets what waits be taken, for `settle_s` at most, and ends."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._retries.settle_s)
        if self._waiting:
            _log.error("discord_messages_lost", count=self._waiting, reason="stopped while the mailbox was away")
        for task in self._running:
            task.cancel()

    async def _drain(self, lane: str) -> None:
        steps = self._lanes[lane]
        while steps:
            await self._take(lane, steps.popleft())
            self._waiting -= 1
        del self._lanes[lane]

    async def _take(self, lane: str, step: Step) -> None:
        pause_s = self._retries.first_pause_s
        while True:
            try:
                return await step()
            except StoreUnavailable as error:
                _log.warning("mailbox_unavailable", channel=lane, waiting=self._waiting, reason=str(error))
            except Exception:
                # One message that we cannot read must not keep the channel from being heard.
                _log.exception("discord_message_not_read", channel=lane)
                return None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._retries.longest_pause_s)
