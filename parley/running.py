"""How a process of Parley runs: work side by side until a signal, then a drain."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


async def together(stopping: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Runs all of `work`; when one fails, the others are asked to stop and its error is raised as it is."""
    tasks = [asyncio.ensure_future(item) for item in work]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    stopping.set()
    await asyncio.wait(tasks)
    for task in tasks:
        task.result()


def run_until_signal(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs `work` with an event that SIGTERM and SIGINT set; the second signal ends the process at once."""

    async def main() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, loop, number, stopping)
        await work(stopping)

    asyncio.run(main())


def _stop(loop: asyncio.AbstractEventLoop, number: signal.Signals, stopping: asyncio.Event) -> None:
    _log.info("stopping", signal=number.name)
    stopping.set()
    loop.remove_signal_handler(number)  # the default action again: a second Ctrl+C does not wait
