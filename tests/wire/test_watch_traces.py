"""Spans on their way to a collector: one trace a message, nothing of its text, and never a wait for the collector."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from parley.traces import MAX_WAITING, SpanTracer, tracing
from tests.support.collector import Collector, collecting
from tests.support.running import Home, free_port

REMOTE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as running:
        yield running


async def test_spans_within_spans_make_one_trace(collector: Collector) -> None:
    async with tracing(collector.endpoint, "worker") as tracer:
        with tracer.span("answer", turn="web:1") as answer, tracer.span("generate") as generate:
            pass
        with tracer.span("answer"):
            pass

    first, other = collector.named("answer")
    (inner,) = collector.named("generate")
    assert (inner.trace, inner.parent) == (first.trace, first.id)
    assert other.trace != first.trace
    assert first.attributes == {"turn": "web:1"}
    assert first.service == "parley-worker"
    assert answer.startswith(f"00-{first.trace}-{first.id}-")
    assert generate.startswith(f"00-{first.trace}-{inner.id}-")


async def test_a_trace_goes_on_in_another_process(collector: Collector) -> None:
    async with tracing(collector.endpoint, "bot") as tracer:
        with tracer.span("receive") as trace:
            pass
    async with tracing(collector.endpoint, "worker") as tracer:
        with tracer.span("answer", trace):
            pass

    (receive,), (answer,) = collector.named("receive"), collector.named("answer")
    assert (answer.trace, answer.parent) == (receive.trace, receive.id)
    assert (receive.service, answer.service) == ("parley-bot", "parley-worker")


async def test_side_by_side_tasks_keep_their_traces_apart(collector: Collector) -> None:
    async with tracing(collector.endpoint, "worker") as tracer:
        both = asyncio.Barrier(2)

        async def answer(turn: str) -> None:
            with tracer.span("answer", turn=turn):
                await both.wait()
                with tracer.span("deliver", turn=turn):
                    await both.wait()

        await asyncio.gather(answer("a"), answer("b"))

    parents = {hop.id: hop for hop in collector.named("answer")}
    assert all(parents[hop.parent].attributes == hop.attributes for hop in collector.named("deliver"))


async def test_an_error_is_named_by_its_type_alone(collector: Collector) -> None:
    async with tracing(collector.endpoint, "worker") as tracer:
        with pytest.raises(ValueError, match="secret"), tracer.span("answer"):
            raise ValueError("a secret question")

    (hop,) = collector.hops
    assert hop.error == "ValueError"


async def test_a_generator_that_is_closed_from_another_task_does_no_harm(collector: Collector) -> None:
    async def stream(tracer: SpanTracer) -> AsyncIterator[int]:
        with tracer.span("generate"):
            for number in range(10):
                yield number

    async with tracing(collector.endpoint, "worker") as tracer:
        with tracer.span("answer", REMOTE):
            async with aclosing(stream(tracer)) as pieces:  # type: ignore[type-var]
                await asyncio.create_task(anext(pieces))  # type: ignore[arg-type]

    (generate,) = collector.named("generate")
    assert generate.trace == REMOTE.split("-")[1]
    assert generate.error == ""


@pytest.mark.parametrize("parent", ["nonsense", "00-0-0-00", "x" * 10_000])
async def test_a_parent_that_cannot_be_read_begins_a_new_trace(collector: Collector, parent: str) -> None:
    async with tracing(collector.endpoint, "worker") as tracer:
        with tracer.span("answer", parent) as trace:
            pass

    (hop,) = collector.hops
    assert hop.parent == ""
    assert hop.trace in trace


async def test_a_collector_that_hangs_costs_spans_and_no_time(collector: Collector) -> None:
    collector.gate.clear()
    began = time.monotonic()

    async with tracing(collector.endpoint, "worker") as tracer:
        for _ in range(3 * MAX_WAITING):  # the collector gets no turn meanwhile: a span that waited would time out
            with tracer.span("answer"):
                pass
        spent = time.monotonic() - began
        collector.gate.set()

    assert spent < 20.0
    assert 0 < len(collector.hops) < 2 * MAX_WAITING


async def test_a_collector_that_never_answers_does_not_hold_up_the_end(collector: Collector) -> None:
    collector.gate.clear()

    async with tracing(collector.endpoint, "worker") as tracer:
        for _ in range(MAX_WAITING):
            with tracer.span("answer"):
                pass

    assert collector.requests <= 2  # of the four and more that all spans would take, three seconds each
    assert collector.hops == []


async def test_a_collector_that_is_away_is_only_a_warning() -> None:
    async with tracing(f"http://127.0.0.1:{free_port()}", "worker") as tracer:
        with tracer.span("answer") as trace:
            pass

    assert trace


async def test_a_missing_package_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    without = "import sys; sys.modules['opentelemetry.sdk'] = None; from parley.cli import main; main()"
    environment = Home(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}).environment
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", without, "bot", cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60.0)

    assert process.returncode == 78
    (line,) = errors.decode().splitlines()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces" in line
    assert "pip install 'parley[otel]'" in line
