"""Runs the parts of `parley up` as child processes: starts them in order, restarts what dies, leaves none behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from parley.errors import EXIT_SETUP, SetupError

# A part's line for the operator begins so; all else that it writes to stderr goes to its log file only.
OPERATOR_MARK = "parley: "
_PR_SET_PDEATHSIG = 1
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STABLE_S = 60.0
_MAX_LOG_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """One child process. `ready` says whether it does its work; `stop_s` is how long it may take to end."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], Awaitable[bool]]
    start_s: float = 60.0
    stop_s: float = 10.0
    explain: Callable[[str], str | None] = lambda _: None  # turns the part's last output into a line with the remedy


@dataclass(slots=True)
class _Child:
    part: Part
    process: asyncio.subprocess.Process
    started_at: float
    reading: asyncio.Task[None]
    tail: list[str]


@dataclass(slots=True)
class Supervisor:
    """Holds the children of one `parley up`. `say` shows a line to the operator."""

    log_dir: Path
    say: Callable[[str], None]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _children: dict[str, _Child] = field(default_factory=dict)
    _restarts: dict[str, int] = field(default_factory=dict)

    async def start(self, *parts: Part) -> None:
        """Starts `parts` side by side, in this order, and returns once all of them are ready.

        Raises:
            SetupError: one of them ended or did not get ready in time; says why.
        """
        for part in parts:
            self._children[part.name] = await self._spawn(part)
        try:
            async with asyncio.TaskGroup() as waiting:
                for part in parts:
                    waiting.create_task(self._until_ready(self._children[part.name]))
        except* SetupError as group:
            raise group.exceptions[0] from None

    async def _until_ready(self, child: _Child) -> None:
        part = child.part
        deadline = time.monotonic() + part.start_s
        while not self.stopping.is_set() and not await part.ready():
            if child.process.returncode is not None:
                await child.reading
                raise SetupError(self._last_words(child))
            if time.monotonic() > deadline:
                raise SetupError(
                    f"The {part.name} was not ready after {part.start_s:.0f} s; see {self._log_path(part.name)}."
                )
            await asyncio.sleep(0.05)

    async def watch(self) -> None:
        """Restarts children that die, until `stopping` is set.

        Raises:
            SetupError: a part ended because of its set-up; another start would end the same way.
        """
        try:
            async with asyncio.TaskGroup() as watching:
                for name in list(self._children):
                    watching.create_task(self._keep(name))
        except* SetupError as group:
            raise group.exceptions[0] from None

    async def stop(self) -> None:
        """Ends all children, newest first, each within its `stop_s`; what does not end by itself is killed."""
        while self._children:
            _, child = self._children.popitem()
            await self._end(child)

    async def _keep(self, name: str) -> None:
        while not self.stopping.is_set():
            child = self._children[name]
            if not await self._ends_before_stop(child):
                return
            await child.reading
            if child.process.returncode == EXIT_SETUP:
                raise SetupError(self._last_words(child))
            pause_s = self._next_pause(child)
            self.say(f"The {name} ended (exit {child.process.returncode}); it starts again in {pause_s:g} s.")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.stopping.wait()
            if not self.stopping.is_set():
                self._children[name] = await self._spawn(child.part)

    async def _ends_before_stop(self, child: _Child) -> bool:
        ended = asyncio.ensure_future(child.process.wait())
        stopped = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (ended, stopped):
            task.cancel()
        return child.process.returncode is not None and not self.stopping.is_set()

    def _next_pause(self, child: _Child) -> float:
        name = child.part.name
        lived_s = time.monotonic() - child.started_at
        self._restarts[name] = 0 if lived_s > _STABLE_S else self._restarts.get(name, -1) + 1
        return _BACKOFF_S[min(self._restarts[name], len(_BACKOFF_S) - 1)]

    async def _spawn(self, part: Part) -> _Child:
        log = _open_log(self._log_path(part.name))
        process = await asyncio.create_subprocess_exec(
            *part.command,
            env=dict(part.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl+C reaches the parent alone, which then ends the children in order
            preexec_fn=_die_with_parent,
        )
        tail: list[str] = []
        reading = asyncio.create_task(self._read(process, log, tail))
        return _Child(part, process, time.monotonic(), reading, tail)

    async def _read(self, process: asyncio.subprocess.Process, log: BinaryIO, tail: list[str]) -> None:
        """Copies a child's output to its log; lines for the operator are shown as well."""
        assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
        with log:
            while line := await _next_line(process.stdout):
                log.write(line)
                log.flush()
                text = line.decode(errors="replace").rstrip()
                tail.append(text)
                del tail[:-20]

    async def _end(self, child: _Child) -> None:
        process = child.process
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(child.part.stop_s):
                    await process.wait()
            except TimeoutError:
                self.say(f"The {child.part.name} did not end within {child.part.stop_s:g} s and was killed.")
                process.kill()
                await process.wait()
        await child.reading

    def _last_words(self, child: _Child) -> str:
        marked = [line.removeprefix(OPERATOR_MARK) for line in child.tail if line.startswith(OPERATOR_MARK)]
        if marked:
            return "\n".join(marked)
        text = "\n".join(child.tail)
        known = child.part.explain(text)
        last = child.tail[-1] if child.tail else "it wrote nothing"
        return known or (
            f"The {child.part.name} ended with exit code {child.process.returncode}: {last} "
            f"(all of it in {self._log_path(child.part.name)})."
        )

    def _log_path(self, name: str) -> Path:
        return self.log_dir / f"{name.replace(' ', '-')}.log"


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # a line over the reader's limit: its remainder comes with the next call
        return b"(a line too long to keep)\n"


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
        path.replace(path.with_suffix(".old.log"))
    return path.open("ab")


# Loaded before any fork: between fork and exec only what is ready may be called.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Linux: the kernel kills the child when its parent dies, even by kill -9. Elsewhere see `parley.guard`."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
