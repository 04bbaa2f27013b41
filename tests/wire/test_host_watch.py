"""How our own model host shows itself: alive, ready, its counts for Prometheus, and the span of each answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from parley.serving import host_tracer
from parley.settings import Settings
from tests.support.collector import collecting
from tests.support.host_harness import Running, running

ASKED = [{"role": "user", "content": "Hello?"}]
TRACE = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture
async def host() -> AsyncIterator[Running]:
    async with running() as host:
        yield host


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def ask(http: aiohttp.ClientSession, host: Running, **body: Any) -> int:
    headers = {"traceparent": TRACE}
    url = f"{host.url}/v1/chat/completions"
    async with http.post(url, json={"messages": ASKED} | body, headers=headers) as response:
        await response.read()
        assert "traceparent" not in response.headers
        return response.status


async def counts(http: aiohttp.ClientSession, host: Running) -> dict[str, float]:
    """The samples that `/metrics` shows, by name, those of requests for answers by outcome."""
    async with http.get(f"{host.url}/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        page = await response.text()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    plain = [sample for sample in samples if "le" not in sample.labels and "embedding" not in sample.name]
    return {sample.labels.get("outcome", sample.name): sample.value for sample in plain}


async def outcomes(http: aiohttp.ClientSession, host: Running) -> dict[str, float]:
    names = ("stop", "length", "gone", "failed", "refused", "full", "not_ready")
    seen = await counts(http, host)
    return {name: seen[name] for name in names if seen[name]}


# ── alive and ready ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_host_is_alive_while_it_loads_and_ready_when_it_has_loaded(
    host: Running, http: aiohttp.ClientSession
) -> None:
    seen = []
    for engine, load_error in ((None, ""), (host.engine, ""), (None, "/models/broken.gguf")):
        host.service.engine, host.service.load_error = engine, load_error
        async with http.get(f"{host.url}/health") as health, http.get(f"{host.url}/ready") as ready:
            seen.append((health.status, (await health.json())["status"], ready.status, await ready.json()))

    assert seen == [
        (200, "loading", 503, {"ready": False, "missing": {"model": "loading"}}),
        (200, "ready", 200, {"ready": True, "missing": {}}),
        (503, "failed", 503, {"ready": False, "missing": {"engine": "failed; restart the host, whose log says why"}}),
    ]


async def test_engine_that_broke_is_not_ready(host: Running, http: aiohttp.ClientSession) -> None:
    host.engine.failed = True

    async with http.get(f"{host.url}/ready") as ready:
        assert ready.status == 503


async def test_counts_want_the_key_and_the_rest_does_not(http: aiohttp.ClientSession) -> None:
    async with running("right") as host:
        seen = []
        for path in ("health", "ready", "metrics"):
            async with http.get(f"{host.url}/{path}") as response:
                seen.append(response.status)
        async with http.get(f"{host.url}/metrics", headers={"Authorization": "Bearer right"}) as response:
            seen.append(response.status)

    assert seen == [200, 200, 401, 200]


# ── counts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [True, False])
async def test_answers_are_counted_with_their_tokens_and_times(
    host: Running, http: aiohttp.ClientSession, *, stream: bool
) -> None:
    await ask(http, host, stream=stream)
    await ask(http, host, stream=stream, max_tokens=5)

    seen = await counts(http, host)
    assert (seen["stop"], seen["length"]) == (1, 1)
    assert seen["parley_host_tokens_total"] == len(host.engine.reply.encode()) + 5
    assert seen["parley_host_prompt_tokens_total"] == 2 * len(b"user:Hello?\nassistant:")
    assert seen["parley_host_time_to_first_token_seconds_count"] == 2
    assert seen["parley_host_answer_seconds_count"] == 2
    assert seen["parley_host_time_to_first_token_seconds_sum"] <= seen["parley_host_answer_seconds_sum"]


@pytest.mark.parametrize("stream", [True, False])
async def test_client_that_goes_away_is_counted_and_its_place_is_free(
    host: Running, http: aiohttp.ClientSession, *, stream: bool
) -> None:
    host.engine.gate.clear()
    asking = asyncio.ensure_future(ask(http, host, stream=stream))
    await host.engine.wait_answers(1)
    during = await counts(http, host)

    asking.cancel()
    await host.engine.wait_answers(0)

    async with asyncio.timeout(5.0):
        while (await outcomes(http, host)) != {"gone": 1}:
            await asyncio.sleep(0.005)
    after = await counts(http, host)
    assert (during["parley_host_underway"], after["parley_host_underway"]) == (1, 0)
    assert after["parley_host_answer_seconds_count"] == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_engine_that_breaks_is_counted_once(host: Running, http: aiohttp.ClientSession, *, stream: bool) -> None:
    host.engine.broken = True

    with suppress(aiohttp.ClientPayloadError):  # a stream that breaks off does not end properly
        await ask(http, host, stream=stream)

    assert await outcomes(http, host) == {"failed": 1}


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_not_begun_is_counted_by_its_reason(
    host: Running, http: aiohttp.ClientSession, *, stream: bool
) -> None:
    host.engine.gate.clear()
    asking = [asyncio.ensure_future(ask(http, host)) for _ in range(3)]  # 2 run, 1 waits
    await host.engine.wait_answers(3)
    during = await counts(http, host)

    statuses = [await ask(http, host, stream=stream), await ask(http, host, stream=stream, n=2)]
    host.engine.gate.set()
    await asyncio.gather(*asking)
    host.service.engine = None
    statuses.append(await ask(http, host, stream=stream))

    assert statuses == [429, 400, 503]
    assert (during["parley_host_underway"], during["parley_host_waiting"], during["parley_host_ready"]) == (2, 1, 1)
    assert await outcomes(http, host) == {"stop": 3, "full": 1, "refused": 1, "not_ready": 1}
    assert (await counts(http, host))["parley_host_ready"] == 0


async def test_each_outcome_is_there_before_it_happens(host: Running, http: aiohttp.ClientSession) -> None:
    seen = await counts(http, host)

    assert {seen[name] for name in ("stop", "length", "gone", "failed", "refused", "full", "not_ready")} == {0}


async def test_two_hosts_in_one_process_count_apart(host: Running, http: aiohttp.ClientSession) -> None:
    async with running() as other:
        await ask(http, host)

        assert (await outcomes(http, host), await outcomes(http, other)) == ({"stop": 1}, {})


# ── spans ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Recorder:
    """Keeps the spans that were opened, and which of them are over."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str, dict[str, str | float]]] = []
        self.over = 0

    @contextmanager
    def span(self, name: str, parent: str = "", **attributes: str | float) -> Iterator[None]:
        self.opened.append((name, parent, attributes))
        try:
            yield
        finally:
            self.over += 1


@pytest.mark.parametrize("stream", [True, False])
async def test_answer_is_a_span_of_the_trace_that_it_was_asked_in(http: aiohttp.ClientSession, *, stream: bool) -> None:
    spans = Recorder()
    async with running(spans=spans) as host:
        await ask(http, host, stream=stream)

    assert spans.opened == [("serve", TRACE, {"model": "m"})]
    assert spans.over == 1


async def test_answer_is_the_last_hop_of_the_trace_that_a_collector_gets(http: aiohttp.ClientSession) -> None:
    async with collecting() as collector:
        settings = Settings(_env_file=None, otel_exporter_otlp_endpoint=collector.endpoint)  # type: ignore[call-arg]
        async with host_tracer(settings) as tracer, running(spans=tracer) as host:
            await ask(http, host, stream=True)

        (hop,) = collector.named("serve")
    assert (hop.service, hop.trace, hop.parent) == ("parley-host", TRACE.split("-")[1], TRACE.split("-")[2])
