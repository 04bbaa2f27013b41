"""The status "is thinking", for answers that do not begin at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

# Slack counts each status as a call, and an answer that begins sooner needs none.
AFTER_S = 0.3


class Status:
    """Shows a status `after_s` after `begin`, unless text comes before. `show` is best effort and never raises."""

    def __init__(self, show: Callable[[bool], Awaitable[None]], *, left_on: bool, after_s: float = AFTER_S) -> None:
        self._show = show
        self._after_s = after_s
        self._on = left_on  # an earlier attempt may have left it so
        self._asked = False  # whether this attempt has shown it, or is about to
        self._showing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """An answer is on its way."""
        self._showing = asyncio.create_task(self._show_later())

    async def text_comes(self) -> None:
        """None is shown any more: in a thread, Slack takes away only one that was there before the text."""
        if self._showing is None:
            return
        if not self._asked:
            self._showing.cancel()
        await asyncio.wait({self._showing})
        self._showing = None

    async def end(self) -> None:
        """Ends the status if there is one."""
        await self.text_comes()
        if self._on:
            await self._show(False)
            self._on = False

    async def _show_later(self) -> None:
        await asyncio.sleep(self._after_s)
        self._on = self._asked = True
        await self._show(True)
