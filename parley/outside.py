"""How a process is seen from outside: counts, traces, the pages that show whether it works, and failpoints of tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import structlog

from core.chat.failpoints import Reach, passing
from core.chat.ports import Depth, Tracer
from core.chat.quiet import NO_TRACER
from parley.extras import needs
from parley.failpoints import reach_of
from parley.meters import Meters
from parley.settings import Settings
from parley.watch import Check, Watched, serve_watch

_log = structlog.get_logger(__name__)
_PROBE_S = 2.0


@dataclass(frozen=True, slots=True)
class Outside:
    """What looks on at the way of a message."""

    meters: Meters = field(default_factory=Meters)
    tracer: Tracer = NO_TRACER
    reach: Reach = passing


@asynccontextmanager
async def open_outside(settings: Settings, part: str) -> AsyncIterator[Outside]:
    """What looks on at the process `part`; traces only with OTEL_EXPORTER_OTLP_ENDPOINT.

    Raises:
        SetupError: the packages for traces are not installed.
    """
    meters, reach = Meters(settings.platforms), reach_of(settings.parley_failpoint)
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is None:
        yield Outside(meters, reach=reach)
        return
    with needs("otel", "traces", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        from parley.traces import tracing  # noqa: PLC0415

    async with tracing(endpoint, part) as tracer:
        yield Outside(meters, tracer, reach)


@asynccontextmanager
async def watched(
    settings: Settings, outside: Outside, depth: Depth, checks: Mapping[str, Check], stopping: asyncio.Event
) -> AsyncIterator[None]:
    """Shows this process at WATCH_PORT for the time of the block, if that is set."""
    port = settings.watch_port
    if port is None:
        yield
        return
    seen = Watched(outside.meters, depth, {"mailbox": _reads(depth), **checks}, stopping)
    async with serve_watch(seen, settings.watch_host, port):
        _log.info("watch_served", host=settings.watch_host, port=port)
        yield


def _reads(depth: Depth) -> Check:
    async def check() -> str:
        await depth.backlog()
        return ""

    return check


def answers(urls: Sequence[str], key: str = "") -> Check:
    """Whether at least one of `urls` answers with 200."""

    async def check() -> str:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = aiohttp.ClientTimeout(total=_PROBE_S)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            reasons = await asyncio.gather(*(_reason(session, url) for url in urls))
        return "" if "" in reasons else "; ".join(reasons)

    return check


async def _reason(session: aiohttp.ClientSession, url: str) -> str:
    try:
        async with session.get(url, allow_redirects=False) as response:
            return "" if response.status == 200 else f"{url} answers {response.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"{url} does not answer ({type(error).__name__})"
