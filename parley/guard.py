"""Keeps children from outliving a killed parent where the kernel does not: `python -m parley.guard COMMAND...`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

_POLL_S = 0.5


def guarded() -> list[str]:
    """What to put before a command so that it dies with us; nothing on Linux, whose kernel sees to it."""
    return [] if sys.platform == "linux" else [sys.executable, "-m", "parley.guard"]


def run_guarded(command: Sequence[str]) -> int:
    """Runs `command` until it ends, or kills it when our parent is gone; returns its exit code."""
    parent = os.getppid()
    child = subprocess.Popen(command)  # noqa: S603 - the supervisor's own command
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: child.send_signal(number))
    while child.poll() is None:
        if os.getppid() != parent:
            child.kill()
        time.sleep(_POLL_S)
    return child.returncode


if __name__ == "__main__":
    sys.exit(run_guarded(sys.argv[1:]))
