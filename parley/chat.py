"""`parley chat`: a conversation at the keyboard, with /reset, /stop and /help; Ctrl+C stops an answer, then leaves."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress

from core.chat.intake import Receipt
from core.chat.lines import BUSY
from parley.compose import open_stores
from parley.settings import Settings
from parley.terminal import Printer, Seat, Write, seat, stop

CONVERSATION = "chat"
HELP = "Type a question. /reset forgets this conversation, /stop ends an answer, /quit (or Ctrl+D) leaves."
_QUIT = frozenset({"/quit", "/exit"})


async def run_chat(settings: Settings, write: Write, source: Iterable[str] | None = None) -> None:
    """Chats until the end of input. `source` gives the lines, standard input by default.

    Raises:
        SetupError, NotRunning: no Parley is there to answer.
    """
    async with open_stores(settings) as stores:
        here = seat(stores, CONVERSATION)
        table = Table(here, write, read_lines(sys.stdin if source is None else source))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, table.interrupt)
        try:
            await table.talk()
        finally:
            loop.remove_signal_handler(signal.SIGINT)


def read_lines(source: Iterable[str]) -> asyncio.Queue[str | None]:
    """The lines of `source` as they come, then None. A thread reads: a terminal cannot be awaited."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            for line in source:
                loop.call_soon_threadsafe(lines.put_nowait, line.strip())
            loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    return lines


class Table:
    """One person's talk: reads lines, writes answers, and minds /stop while an answer grows."""

    def __init__(self, here: Seat, write: Write, lines: asyncio.Queue[str | None]) -> None:
        self._here = here
        self._write = write
        self._lines = lines
        self._later: list[str | None] = []  # typed while an answer was growing
        self._answering: asyncio.Task[None] | None = None
        self._stopping: set[asyncio.Task[None]] = set()

    def interrupt(self) -> None:
        """Ctrl+C: stops the answer under way; without one, leaves."""
        if self._answering is None:
            self._lines.put_nowait(None)
        else:
            self._ask_to_stop()

    async def talk(self) -> None:
        """Until the end of input."""
        self._write(f"{HELP}\n")
        while True:
            self._write("\n> ")
            line = self._later.pop(0) if self._later else await self._lines.get()
            if line is None or line in _QUIT:
                self._write("\n")
                return
            if line == "/help":
                self._write(f"{HELP}\n")
            elif line == "/stop":
                self._write("Nothing is being answered.\n")
            elif line:
                await self._answer(line)

    async def _answer(self, line: str) -> None:
        self._answering = asyncio.create_task(self._ask(line))
        try:
            while not self._answering.done():
                typing = asyncio.ensure_future(self._lines.get())
                await asyncio.wait({typing, self._answering}, return_when=asyncio.FIRST_COMPLETED)
                if not typing.done():
                    typing.cancel()
                elif typing.result() == "/stop":
                    self._ask_to_stop()
                else:
                    self._later.append(typing.result())
            await self._answering
        finally:
            self._answering = None

    async def _ask(self, line: str) -> None:
        message, receipt, after = await self._here.ask(line)
        if receipt is Receipt.ACCEPTED:
            await Printer(self._write).follow(self._here.events(message, after))
        elif receipt is Receipt.BUSY:
            self._write(f"{BUSY}\n")

    def _ask_to_stop(self) -> None:
        task = asyncio.ensure_future(stop(self._here))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
