"""Delivery: shows a growing answer at the platform's pace without ever holding up the reading of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from core.chat.errors import DeliveryFailed
from core.chat.message import Outcome
from core.chat.ports import Draft

_log = structlog.get_logger(__name__)

# Pauses between tries at the final text, in seconds. What is visible until then stays visible.
CLOSE_RETRIES_S: Sequence[float] = (0.5, 1.0, 2.0, 4.0, 8.0)


class Delivery:
    """Feeds one draft. `grow` is cheap and never waits; a task of its own shows the newest text.

    `before_visible` is awaited once before anything becomes visible, `check` called before each visible step; what
    they raise comes out of `close`. `after_first` is awaited once the first text is visible.
    """

    def __init__(
        self,
        draft: Draft,
        before_visible: Callable[[], Awaitable[None]],
        check: Callable[[], None],
        after_first: Callable[[], Awaitable[None]],
        close_retries_s: Sequence[float] = CLOSE_RETRIES_S,
    ) -> None:
        self._draft = draft
        self._before_visible = before_visible
        self._check = check
        self._after_first = after_first
        self._close_retries_s = close_retries_s
        self._text = ""
        self._shown = ""
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._showing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to show; to be called once, before `grow`."""
        self._showing = asyncio.create_task(self._show_changes())

    def grow(self, text: str) -> None:
        """The whole answer so far."""
        self._text = text
        self._changed.set()

    async def close(self, text: str, outcome: Outcome) -> tuple[str, ...]:
        """Shows the final text and returns the ids of the posts; an empty text takes back what was posted.

        Raises:
            DeliveryFailed: the platform did not take it, after all tries.
        """
        await self._end_showing()
        if self._showing is not None:
            self._showing.result()
        for pause_s in self._close_retries_s:
            self._check()
            try:
                return await self._draft.close(text, outcome)
            except DeliveryFailed as error:
                if not error.retryable:
                    raise
                _log.warning("final_text_not_delivered_yet", reason=str(error))
            await asyncio.sleep(pause_s)
        self._check()
        return await self._draft.close(text, outcome)

    async def abandon(self) -> tuple[str, ...]:
        """Stops without a final word: another attempt goes on with the same answer. What is visible stays.

        Returns the ids of the posts that were made, as far as the draft can know.
        """
        await self._end_showing()
        return await self._draft.leave()

    async def _end_showing(self) -> None:
        self._closing.set()
        self._changed.set()
        if self._showing is not None:
            await asyncio.wait({self._showing})

    async def _show_changes(self) -> None:
        await asyncio.sleep(0)  # the model is asked first: it takes longest
        await asyncio.gather(self._draft.begin(), self._before_visible())
        while not self._closing.is_set():
            await self._changed.wait()
            self._changed.clear()
            if self._closing.is_set() or self._text == self._shown:
                continue
            await self._show(self._text)
            await self._pause()

    async def _show(self, text: str) -> None:
        self._check()
        try:
            await self._draft.show(text)
            if not self._shown:
                await self._after_first()
            self._shown = text
        except DeliveryFailed as error:
            # The answer still grows; the final text gets tries of its own.
            _log.warning("growing_text_not_delivered", reason=str(error))

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._draft.pace_s):
                await self._closing.wait()
        except TimeoutError:
            return
