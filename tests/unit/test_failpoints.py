"""A process under test really dies or freezes at its failpoint, at the passing that was asked for, and only there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parley.failpoints import reach_of

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, sys
from parley.failpoints import reach_of

async def way():
    reach = reach_of(sys.argv[1])
    for turn in range(3):
        for point in ("begun", "posted", "committed"):
            await reach(point)
            print("past", turn, point, flush=True)

asyncio.run(way())
"""


def start(spec: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, spec]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment
    )


@pytest.mark.parametrize(("spec", "last"), [("posted=kill", "past 0 begun"), ("posted=kill:2", "past 1 begun")])
def test_a_process_dies_at_the_passing_that_was_asked_for(spec: str, last: str) -> None:
    with start(spec) as process:
        out, _ = process.communicate(timeout=30)

    assert process.returncode == -signal.SIGKILL
    assert [line for line in out.splitlines() if line.startswith("past")][-1] == last


def test_a_process_freezes_once_and_goes_on_when_it_is_woken() -> None:
    with start("posted=stop") as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=30)

    assert os.WIFSTOPPED(status)
    assert process.returncode == 0
    assert out.splitlines()[-1] == "past 2 committed"


async def test_nothing_happens_where_nothing_is_asked_for() -> None:
    await reach_of("")("posted")
