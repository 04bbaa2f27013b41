"""Serves the page: a uvicorn server that obeys the process around it instead of signals and environment variables."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from bots.web.errors import WebSetupError

# Requests are short once the event streams have ended; nobody should wait longer for a page that shuts down.
DRAIN_S = 5


class _Server(uvicorn.Server):
    """Leaves SIGINT and SIGTERM to the process, which stops its parts in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_web(app: FastAPI, host: str, port: int, stopping: asyncio.Event) -> None:
    """Serves `app` (made by `web_app`) until `stopping` is set, then ends its streams and finishes its requests.

    Raises:
        WebSetupError: nothing can listen there; the text names the setting.
    """
    with open_port(host, port) as listener:
        await serve_on(app, listener, stopping)


async def serve_on(app: FastAPI, listener: socket.socket, stopping: asyncio.Event) -> None:
    """As `serve_web`, on a socket of `open_port`: connections are taken from the moment it is open."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whether a page came over https is believed only of a proxy on this machine.
        forwarded_allow_ips="127.0.0.1,::1",
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        waiting = group.create_task(stopping.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        app.state.stopping.set()
        server.should_exit = True
        waiting.cancel()


def open_port(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        WebSetupError: nothing can listen there; the text names the setting.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=256)
    except OSError as error:
        raise WebSetupError(_why(host, port, error)) from error
    listener.setblocking(False)
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, which this one does not, and
    # without it each event of a stream may wait 40 ms for the browser's acknowledgement of the one before.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is already in use on {host}; set PARLEY_PORT to another port, or stop what listens there."
    if error.errno == errno.EACCES:
        return f"Port {port} may not be opened by this user; set PARLEY_PORT to a port from 1024 to 65535."
    return f"The web page cannot listen on {host!r}, port {port} ({error}); 127.0.0.1 always works."
