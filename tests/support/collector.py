"""An OpenTelemetry collector for tests: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Hop:
    """A span as it arrived; ids in hex, `parent` empty at the root, `error` the status' text."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    error: str
    attributes: dict[str, str | float]


@dataclass
class Collector:
    """Serves at `endpoint`; while `gate` is cleared it takes requests and does not answer."""

    endpoint: str = ""
    requests: int = 0
    hops: list[Hop] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def named(self, name: str) -> list[Hop]:
        return [hop for hop in self.hops if hop.name == name]

    async def take(self, request: web.Request) -> web.Response:
        self.requests += 1
        exported = ExportTraceServiceRequest.FromString(await request.read())
        await self.gate.wait()
        for resource in exported.resource_spans:
            service = next(
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.hops.append(
                        Hop(
                            service,
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.status.message,
                            {each.key: each.value.string_value or each.value.double_value for each in span.attributes},
                        )
                    )
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a free port for the time of the block."""
    collector = Collector()
    collector.gate.set()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", collector.take)])
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()
