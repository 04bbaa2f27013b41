"""`parley up`: one supervised set of processes on this machine, embedded where nothing else is set."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp

from core.chat.errors import StoreUnavailable
from parley.announce import HostAddress, announce, describe_host
from parley.embedded import prepare_home, valkey_part
from parley.errors import SetupError
from parley.guard import guarded
from parley.settings import WEB_HOST, Settings, child_environment
from parley.supervisor import Part, Supervisor

Say = Callable[[str], None]
DRAIN_S = 30.0


async def run_up(settings: Settings, say: Say, stopping: asyncio.Event) -> None:
    """Starts everything, says what it started, and keeps it running until `stopping` is set.

    Raises:
        SetupError: a line with the remedy; whatever had been started is ended again.
    """
    prepare_home(settings)
    with only_one(settings.home):
        check_port(settings.parley_port)
        supervisor = Supervisor(settings.home / "logs", say, stopping)
        try:
            host, watch = await _start_all(supervisor, settings, say)
            if not stopping.is_set():
                announce(settings, await describe_host(host), watch, say, await _first_link(settings, say))
            await supervisor.watch()
        finally:
            if stopping.is_set():
                say("Stopping: answers under way are finished first, for 30 s at most. Ctrl+C again stops at once.")
            await supervisor.stop()
            with contextlib.suppress(OSError):
                settings.runtime_dir.rmdir()  # empty once the mailbox has ended
    say("Stopped. Everything is kept: the next start goes on where this one ends.")


async def _start_all(supervisor: Supervisor, settings: Settings, say: Say) -> tuple[HostAddress, dict[str, int]]:
    """The mailbox first, then the rest side by side; stopping goes from the worker to the mailbox."""
    if settings.redis_url is None:
        await supervisor.start(valkey_part(settings))
    host = _host_address(settings)
    decided = _decided(settings, host)
    watch = watch_ports(settings)
    environments = {name: child_environment({**decided, "WATCH_PORT": str(port)}) for name, port in watch.items()}
    parts = [bot_part(settings, environments["bot"]), worker_part(settings, environments["worker"])]
    if settings.model_url is None:
        say("Loading the model ...")
        parts.insert(0, host_part(host, child_environment(decided)))
        watch["model host"] = int(host.url.rpartition(":")[2])
    await supervisor.start(*parts)
    return host, watch


async def _first_link(settings: Settings, say: Say) -> str:
    """The link to the first admin's account, "" where there is one; a database that is away is no reason to stop."""
    from parley.console import first_link  # noqa: PLC0415 - the supervisor itself needs no web framework

    try:
        return await first_link(settings)
    except StoreUnavailable as error:
        say(f"Whether the console has an admin could not be seen ({error}). 'parley admin add' makes one.")
        return ""


def _host_address(settings: Settings) -> HostAddress:
    if settings.model_url is not None:
        key = settings.model_api_key.get_secret_value() if settings.model_api_key else ""
        return HostAddress(settings.model_url, key)
    return HostAddress(f"http://{WEB_HOST}:{free_port()}", secrets.token_urlsafe(24))


def _decided(settings: Settings, host: HostAddress) -> dict[str, str]:
    """What was decided here, as the parts read it from their environment."""
    return {
        "REDIS_URL": settings.mailbox_url,
        "DATABASE_URL": settings.ledger_url,
        "MODEL_URL": host.url,
        "MODEL_API_KEY": host.key,
        "PARLEY_HOME": str(settings.home),
    }


def host_part(host: HostAddress, environment: dict[str, str]) -> Part:
    """The model host. Ready once the model is loaded, which takes long for a large one."""
    port = host.url.rpartition(":")[2]
    return Part(
        name="model host",
        command=_parley("host", "--host", WEB_HOST, "--port", port),
        environment=environment,
        ready=lambda: _healthy(f"{host.url}/ready"),
        start_s=900.0,
        stop_s=10.0,
    )


def bot_part(settings: Settings, environment: dict[str, str]) -> Part:
    """The gateways. Ready once the page answers."""
    return Part(
        name="bot",
        command=_parley("bot"),
        environment=environment,
        ready=lambda: _healthy(f"http://{WEB_HOST}:{settings.parley_port}/health"),
        stop_s=15.0,
    )


def worker_part(settings: Settings, environment: dict[str, str]) -> Part:
    """The worker. What it does not get done before it is stopped is done after the next start."""
    return Part(
        name="worker",
        command=_parley("worker"),
        environment=environment,
        ready=lambda: _healthy(f"http://{settings.watch_host}:{environment['WATCH_PORT']}/health"),
        stop_s=DRAIN_S + 10.0,
    )


def _parley(*arguments: str) -> list[str]:
    return [*guarded(), sys.executable, "-m", "parley", *arguments]


async def _healthy(url: str) -> bool:
    timeout = aiohttp.ClientTimeout(total=2.0)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def watch_ports(settings: Settings) -> dict[str, int]:
    """Where each part shows its /health, /ready and /metrics: from WATCH_PORT on, or at free ports."""
    names = ("bot", "worker")
    if settings.watch_port is None:
        return {name: free_port() for name in names}
    return {name: settings.watch_port + offset for offset, name in enumerate(names)}


def check_port(port: int) -> None:
    """Raises SetupError when something else listens where the page should be."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((WEB_HOST, port))
        except OSError as error:
            raise SetupError(
                f"PARLEY_PORT={port}: cannot listen there ({error.strerror}). Stop what uses that port, or set "
                "PARLEY_PORT to another one."
            ) from error


def free_port() -> int:
    """A port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((WEB_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Holds the data folder for one `parley up` at a time; the lock ends with the process, however that ends."""
    with (home / "parley.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise SetupError(
                f"Another Parley (process {lock.read().strip() or 'unknown'}) runs on PARLEY_HOME={home}. Stop it, or "
                "set PARLEY_HOME and PARLEY_PORT for a second one."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
