"""Makes sure that a Chromium is here for the browser tests: `python -m tests.support.chromium`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REMEDY = "The browser tests need Chromium. Install it (Debian, Ubuntu: sudo apt-get install chromium), then run again."


def find_chromium() -> str | None:
    """The path of a browser that Playwright can drive, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def bring_chromium() -> str:
    """Finds a browser, or installs Debian's where we may. Raises SystemExit with the remedy."""
    if path := find_chromium():
        return path
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "--quiet", *command], check=True, env=environment)
    if path := find_chromium():
        return path
    raise SystemExit(REMEDY)


if __name__ == "__main__":
    sys.stdout.write(f"Browser tests use {bring_chromium()}.\n")
