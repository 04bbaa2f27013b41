"""Starts `parley` processes quickly: each is forked from one process that has imported everything already.

What runs in the child is the entry point that a user starts, in a process, environment and folder of its own; only the
second of imports is saved, without which a worker could not be killed every half second on a small machine. Run as
`python -m tests.support.nursery` this is that one process; `Nursery` is how a test talks to it, one line of JSON each
way. The children die with it, and it dies with the test.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1
_IMPORTED = (
    "parley.cli",
    "parley.parts",
    "parley.running",
    "bots.slack.courier",
    "bots.slack.gateway",
    "bots.discord.courier",
    "bots.discord.gateway",
    "storage.migrate",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
)


@dataclass(eq=False, slots=True)
class Child:
    """A `parley` process. Its output goes to `log`."""

    nursery: Nursery
    pid: int
    log: Path
    _process: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self._process = psutil.Process(self.pid)

    @property
    def alive(self) -> bool:
        with suppress(psutil.NoSuchProcess):
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        return False

    @property
    def frozen(self) -> bool:
        """Whether it was stopped, by itself or by us."""
        with suppress(psutil.NoSuchProcess):
            return bool(self._process.status() == psutil.STATUS_STOPPED)
        return False

    @property
    def memory_bytes(self) -> int:
        """What is its own: what it shares with the others costs once."""
        return int(self._process.memory_full_info().uss)

    @property
    def open_files(self) -> int:
        return int(self._process.num_fds())

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def kill(self) -> None:
        """kill -9; returns when it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self, timeout_s: float = 60.0) -> int:
        """Waits for its end; the exit code, negative for a signal."""
        async with asyncio.timeout(timeout_s):
            while self.alive:
                await asyncio.sleep(0.01)
        return self.nursery.exit_code(self.pid)


class Nursery:
    """Use as `with Nursery() as nursery:`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def spawn(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> Child:
        """Runs `python -m module arguments` in `folder` with `environment` and no other."""
        folder.mkdir(parents=True, exist_ok=True)
        asked = {"module": module, "arguments": list(arguments), "environment": dict(environment)}
        pid = self._ask({**asked, "folder": str(folder), "log": str(log)})
        return Child(self, pid, log)

    def exit_code(self, pid: int) -> int:
        """The exit code of a child that has ended."""
        return self._ask({"wait": pid})

    def _ask(self, asked: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _become(asked: Mapping[str, Any]) -> None:
    """In the child: the streams, the folder, the environment; then the module, to its end."""
    _die_with_parent()
    os.setsid()
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, stream in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["parley", *asked["arguments"]]
    code = 0
    try:
        runpy.run_module(asked["module"], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Answers each line on stdin until it ends."""
    _die_with_parent()
    for name in _IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _become(asked)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
