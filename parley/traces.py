"""The way of each message as a trace: core's `Tracer` over OpenTelemetry, which a thread of its own sends."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar, Token

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import parley

# What a collector that is away may cost: this many spans in memory, and at the end this many seconds.
MAX_WAITING = 2048
FLUSH_S = 2.0
_EXPORT_S = 3.0
_DELAY_MS = 500

_W3C = TraceContextTextMapPropagator()
_current: ContextVar[Context] = ContextVar("_current")


class SpanTracer:
    """Tracer of `core.chat.ports`. A span that an error ends names the error's type; its words may be a person's."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(self, name: str, parent: str = "", **attributes: str | float) -> Iterator[str]:
        """See `Tracer.span`."""
        above = _W3C.extract({"traceparent": parent}) if parent else _current.get(Context())
        span = self._tracer.start_span(name, above, attributes=attributes)
        here = set_span_in_context(span, above)
        token = _current.set(here)
        try:
            yield _traceparent(here)
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            _leave(token)
            span.end()


def _traceparent(context: Context) -> str:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return carrier.get("traceparent", "")


def _leave(token: Token[Context]) -> None:
    with suppress(ValueError):  # a generator that is closed from elsewhere has nothing to give back there
        _current.reset(token)


@asynccontextmanager
async def tracing(endpoint: str, part: str) -> AsyncIterator[SpanTracer]:
    """A tracer for the process `part` that sends to the collector at `endpoint`, and what waits at the end as well."""
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_S)
    instance = f"{platform.node()}:{os.getpid()}"
    about = {"service.name": f"parley-{part}", "service.version": parley.__version__, "service.instance.id": instance}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=MAX_WAITING, schedule_delay_millis=_DELAY_MS)
    )
    try:
        yield SpanTracer(provider.get_tracer("parley", parley.__version__))
    finally:
        ending = asyncio.ensure_future(asyncio.to_thread(provider.shutdown))
        await asyncio.wait({ending}, timeout=FLUSH_S)
        if not ending.done():
            exporter.shutdown()  # type: ignore[no-untyped-call] # what waits is given up; one request may be on its way
        await ending
