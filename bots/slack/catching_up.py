"""Watches for absences of the gateway, and sees to it that what was missed in one is handed over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from bots.slack.errors import NotCaughtUp
from bots.slack.inflow import Inflow
from bots.slack.missed import Absence, Missed
from core.chat.errors import StoreUnavailable

_log = structlog.get_logger(__name__)


class CatchingUp:
    """Runs beside the sockets. `oldest_underway` tells since when the oldest event waits to be handed over."""

    def __init__(
        self,
        missed: Missed,
        inflow: Inflow,
        oldest_underway: Callable[[], float | None],
        look_s: float,
    ) -> None:
        self._missed = missed
        self._inflow = inflow
        self._oldest_underway = oldest_underway
        self._look_s = look_s

    async def run(self) -> None:
        """Looks, reads and marks until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look())
            tasks.create_task(self._mark())
            while True:
                self._missed.begun.clear()
                if (absence := self._missed.absence) is not None:
                    await self._end(absence)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s):
                        await self._missed.begun.wait()

    async def _look(self) -> None:
        while True:
            self._missed.notice()
            await asyncio.sleep(self._look_s)

    async def _mark(self) -> None:
        while True:
            await self._missed.mark(self._oldest_underway())
            await asyncio.sleep(self._missed.settings.mark_s)

    async def _end(self, absence: Absence) -> None:
        """Reads what was missed; what fails now stays to be done, and the mark stays where it is."""
        try:
            absence.channels.update(places := await self._missed.places(absence))
            done = await self._read(absence, places)
            while done and (behind := absence.behind()):
                done = await self._read(absence, behind)
        except (NotCaughtUp, StoreUnavailable) as error:
            _log.warning("slack_not_caught_up", reason=str(error))
            return
        except Exception:
            # What is said now is to be heard all the same.
            _log.exception("slack_catching_up_failed")
            done = True
        if done:
            await self._missed.over(absence)

    async def _read(self, absence: Absence, channels: Sequence[str]) -> bool:
        """Reads each of `channels`; whether all could be. Raises StoreUnavailable."""
        done = True
        for channel in channels:
            if self._missed.absence is not absence:
                return False
            try:
                await self._inflow.catch_up(channel)
            except NotCaughtUp as error:
                _log.warning("slack_not_caught_up", channel=channel, reason=str(error))
                done = False
        return done
