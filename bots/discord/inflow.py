"""What arrives from Discord, kept in order per channel until the mailbox has taken it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from core.chat.errors import StoreUnavailable

_log = structlog.get_logger(__name__)

# One step of a lane, safe to repeat; raises StoreUnavailable while the mailbox is away, NotYet for reasons of its own.
Step = Callable[[], Awaitable[None]]


class NotYet(Exception):
    """A step that cannot be taken now: the lane waits, and tries it again."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How long the mailbox is waited for: pauses in seconds (doubling), how much may wait, how long at the end."""

    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0
    most_waiting: int = 10_000
    settle_s: float = 5.0


@dataclass(slots=True)
class _Lane:
    """The steps that wait in one channel with the times of their arrival; `taking` is that of the one under way."""

    steps: deque[tuple[float, Step]] = field(default_factory=deque)
    taking: float | None = None

    def oldest(self) -> float | None:
        return self.taking if self.taking is not None else self.steps[0][0] if self.steps else None


class Inflow:
    """A lane per channel; each lane takes one step after the other, and no lane waits for another.

    Discord's gateway knows no acknowledgement and delivers nothing twice, so while the mailbox is away the steps wait
    here, in memory, and are tried again. What does not fit is dropped, and `dropped` says so until it is cleared.
    """

    def __init__(self, tasks: asyncio.TaskGroup, retries: Retries, now: Callable[[], float] = time.time) -> None:
        self.dropped = False
        self._tasks = tasks
        self._retries = retries
        self._now = now
        self._lanes: dict[str, _Lane] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._waiting = 0

    def put(self, channel: str, step: Step) -> None:
        """Adds `step` at the end of the channel's lane; never waits."""
        if self._waiting >= self._retries.most_waiting:
            self.dropped = True
            _log.error("discord_message_dropped", channel=channel, reason="too many messages wait for the mailbox")
            return
        self._waiting += 1
        self._lane(channel).steps.append((self._now(), step))

    def put_first(self, channel: str, step: Step) -> None:
        """Puts `step` before all that waits in the channel's lane."""
        self._waiting += 1
        self._lane(channel).steps.appendleft((self._now(), step))

    def hold(self) -> None:
        """Begins no further step until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Goes on."""
        self._open.set()

    def oldest(self) -> float | None:
        """When the oldest step arrived that is not done yet; None when none is left."""
        return min((at for lane in self._lanes.values() if (at := lane.oldest()) is not None), default=None)

    async def settle(self) -> None:
        """Lets what waits be taken, for `settle_s` at most, and ends. What is held is left to the next start."""
        if self._running and self._open.is_set():
            await asyncio.wait(self._running, timeout=self._retries.settle_s)
        if self._waiting:
            why = "stopped while the mailbox was away" if self._open.is_set() else "stopped before what was missed"
            _log.error("discord_messages_left", count=self._waiting, reason=why)
        for task in self._running:
            task.cancel()

    def _lane(self, channel: str) -> _Lane:
        if channel not in self._lanes:
            lane = self._lanes[channel] = _Lane()
            task = self._tasks.create_task(self._drain(channel, lane))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return self._lanes[channel]

    async def _drain(self, channel: str, lane: _Lane) -> None:
        while lane.steps:
            if not self._open.is_set():
                await self._open.wait()
                continue
            lane.taking, step = lane.steps.popleft()
            await self._take(channel, step)
            lane.taking = None
            self._waiting -= 1
        del self._lanes[channel]

    async def _take(self, channel: str, step: Step) -> None:
        pause_s = self._retries.first_pause_s
        while True:
            try:
                return await step()
            except NotYet as error:
                _log.info("discord_step_waits", channel=channel, waiting=self._waiting, reason=str(error))
            except StoreUnavailable as error:
                _log.warning("mailbox_unavailable", channel=channel, waiting=self._waiting, reason=str(error))
            except Exception:
                # One message that we cannot read must not keep the channel from being heard.
                _log.exception("discord_message_not_read", channel=channel)
                return None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._retries.longest_pause_s)
