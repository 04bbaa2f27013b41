"""`parley` as a user starts it: real processes with an environment of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_S = 180.0
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Home:
    """An empty folder to start Parley in, and the settings it is given; nothing else of our environment counts."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    entry: str = "parley"  # the module that is run

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        ours = {"PARLEY_PORT": str(self.port), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        return {**kept, **ours, **self.settings}

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def run(self, *arguments: str, stdin: str = "", timeout_s: float = 60.0) -> tuple[int, str, str]:
        """Runs one `parley` command to its end: exit code, stdout, stderr."""
        process = await self.spawn(*arguments)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(stdin.encode())
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            raise AssertionError(f"parley {arguments} took over {timeout_s} s: {out.decode()} {err.decode()}") from None
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Up]:
        """`parley up`, from its announcement on; killed at the end if the test did not stop it."""
        process = await self.spawn("up")
        running = Up(process, self)
        try:
            await running.wait_for("is running")
            yield running
        finally:
            await running.end()

    async def spawn(self, *arguments: str) -> asyncio.subprocess.Process:
        """Starts one `parley` command."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.entry,
            *arguments,
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


class Up:
    """A running `parley up`."""

    def __init__(self, process: asyncio.subprocess.Process, home: Home) -> None:
        self.process = process
        self.home = home
        self.said: list[str] = []
        self._reading = asyncio.create_task(self._read())
        self._seen: set[psutil.Process] = set()

    async def wait_for(self, words: str, timeout_s: float = START_S) -> None:
        """Until a line with `words` was said."""
        await until(lambda: self._heard(words), timeout_s)

    def children(self) -> list[psutil.Process]:
        """All processes below it that still live, those seen before included."""
        with suppress(psutil.NoSuchProcess):
            self._seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        return [child for child in self._seen if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    def child(self, word: str) -> psutil.Process:
        """The child whose command line holds `word`."""
        return next(child for child in self.children() if word in child.cmdline())

    async def stop(self, number: signal.Signals = signal.SIGINT, timeout_s: float = 60.0) -> int:
        """Sends a signal and waits for the end; returns the exit code."""
        self.children()
        self.process.send_signal(number)
        async with asyncio.timeout(timeout_s):
            code = await self.process.wait()
            await self._reading
        return code

    async def end(self) -> None:
        if self.process.returncode is None:
            self.children()
            self.process.kill()
            await self.process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await until(lambda: not self.children(), 20.0)

    def _heard(self, words: str) -> bool:
        if self.process.returncode is not None:
            raise AssertionError(f"parley up ended with {self.process.returncode}: {self.said}")
        return any(words in line for line in self.said)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None

        async def follow(stream: asyncio.StreamReader) -> None:
            while line := await stream.readline():
                self.said.append(line.decode().rstrip())

        await asyncio.gather(follow(self.process.stdout), follow(self.process.stderr))


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Waits for a condition with a deadline."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)
