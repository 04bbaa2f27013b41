"""Core's Embedder over real hosts: ours as it is, and others that go wrong."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from core.chat.errors import AnswerBroken, HostError, HostRefused, HostUnavailable
from core.loop.recall import Vector
from model.client import HostEmbedder, Timeouts, open_embedder
from model.client.embedding import MAX_CHARS, REQUEST_TEXTS
from model.client.errors import Overloaded, UnknownModel, Unreachable
from model.client.rendezvous import ranked
from model.client.wire import Wire
from tests.support.asking import BRISK, Ticking, never
from tests.support.embedding_harness import StubEmbedder, embedding
from tests.support.host_harness import running
from tests.support.scripted_embedder import ScriptedEmbedder, word_vector

PATIENT = Timeouts(ask_s=30.0)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


def over(http: aiohttp.ClientSession, *urls: str, timeouts: Timeouts = PATIENT, **options: Any) -> HostEmbedder:
    wires = [Wire(url.removesuffix("/v1"), http, timeouts) for url in urls]
    return HostEmbedder(wires, **({"back_off": BRISK} | options))


def near(one: Vector, other: Vector) -> bool:
    return len(one) == len(other) and all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(one, other, strict=True))


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_our_host_embeds_and_says_with_what() -> None:
    async with embedding(api_key="k") as host, open_embedder([f"{host.url}/v1"], "k", "minilm") as embedder:
        embedded = await embedder.embed(["good morning", "a b"])

    assert embedded.embedder == "minilm@v7"
    assert [near(*each) for each in zip(embedded.vectors, map(word_vector, ["good morning", "a b"]), strict=True)]
    assert embedded.cut == ()


async def test_many_texts_go_in_bounded_requests_and_come_back_in_order() -> None:
    inner = ScriptedEmbedder()
    texts = [f"text {number}" for number in range(2 * REQUEST_TEXTS + 5)]
    async with embedding(inner, max_waiting=REQUEST_TEXTS) as host, open_embedder([host.url], "") as embedder:
        embedded = await embedder.embed(texts)

    assert all(near(*each) for each in zip(embedded.vectors, map(word_vector, texts), strict=True))


async def test_nothing_to_embed_asks_nobody(http: aiohttp.ClientSession) -> None:
    async with StubEmbedder() as stub:
        assert (await over(http, stub.url).embed([])).vectors == ()
        assert stub.requests == []


async def test_texts_that_were_cut_are_named_over_all_requests() -> None:
    texts = ["short"] * (REQUEST_TEXTS + 6)
    texts[3], texts[-1] = "rather long a text", "another one of these"
    async with embedding(ScriptedEmbedder(max_tokens=8)) as host, open_embedder([host.url], "") as embedder:
        embedded = await embedder.embed(texts)

    assert embedded.cut == (3, len(texts) - 1)


async def test_endless_text_is_cut_before_it_travels(http: aiohttp.ClientSession) -> None:
    async with StubEmbedder() as stub:
        embedded = await over(http, stub.url).embed(["short", "x" * 1_000_000])

    assert (embedded.cut, len(stub.requests[0][0]["input"][1])) == ((1,), MAX_CHARS)


async def test_other_servers_lists_are_put_in_order_and_brought_to_length_1(http: aiohttp.ClientSession) -> None:
    async with StubEmbedder(scale=7.0) as stub:
        embedded = await over(http, stub.url).embed(["one two", "three"], trace="00-1-2-01")

    assert embedded.embedder == "other-model"
    assert near(embedded.vectors[0], word_vector("one two"))
    assert near(embedded.vectors[1], word_vector("three"))
    assert stub.requests[0][1]["traceparent"] == "00-1-2-01"


# ── refusals and troubles ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (429, Overloaded),
        (503, Overloaded),
        (500, HostUnavailable),
        (404, UnknownModel),
        (401, HostRefused),
        (307, HostRefused),
        ("hang up", Unreachable),
        ({"data": []}, AnswerBroken),
        ({"data": [{"index": 0, "embedding": "!!"}], "model": "m"}, AnswerBroken),
        ({"data": [{"index": 0, "embedding": [0.0, 0.0]}], "model": "m"}, AnswerBroken),
        ({"data": [{"index": 0, "embedding": [1e39, 1.0]}], "model": "m"}, AnswerBroken),
        ({"data": [{"index": 0, "embedding": ["one"]}], "model": "m"}, AnswerBroken),
        ({"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}], "model": "m"}, AnswerBroken),
        ({"data": "none", "model": "m"}, AnswerBroken),
        ({"data": [{"index": 0, "embedding": [1.0]}]}, AnswerBroken),
    ],
)
async def test_each_fault_has_its_error(http: aiohttp.ClientSession, fault: Any, kind: type[HostError]) -> None:
    async with StubEmbedder() as stub:
        stub.faults.append(fault)
        with pytest.raises(HostError) as caught:
            await over(http, stub.url).embed(["x"])

    assert type(caught.value) is kind
    assert len(stub.requests) == 1


async def test_slow_host_is_left_after_its_time(http: aiohttp.ClientSession) -> None:
    async with StubEmbedder() as stub:
        stub.faults.append("hang")
        with pytest.raises(Unreachable):
            await over(http, stub.url, timeouts=Timeouts(ask_s=0.2)).embed(["x"])
        stub.thaw.set()


@pytest.mark.parametrize("fault", [429, 503, 500, 404, "hang up", {"data": []}])
async def test_another_host_is_asked_at_once(http: aiohttp.ClientSession, fault: Any) -> None:
    async with StubEmbedder() as one, StubEmbedder() as other:
        embedder = over(http, one.url, other.url)
        preferred = ranked("x", [stub.url.removesuffix("/v1") for stub in (one, other)])[0]
        (one if one.url.startswith(preferred) else other).faults.append(fault)

        embedded = await embedder.embed(["x"])

    assert near(embedded.vectors[0], word_vector("x"))
    assert (len(one.requests), len(other.requests)) == (1, 1)


async def test_host_without_an_embedder_is_told_with_the_setting(http: aiohttp.ClientSession) -> None:
    async with running() as host:
        with pytest.raises(HostRefused, match="MODEL"):
            await over(http, host.url).embed(["x"])


async def test_host_that_is_gone_is_set_aside_and_tried_again_later(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with StubEmbedder() as stub:
        embedder = over(http, stub.url, clock=clock, chance=never)
        stub.faults.append("hang up")
        with pytest.raises(Unreachable):
            await embedder.embed(["x"])
        standing = embedder.standings[0]
        with pytest.raises(HostUnavailable, match="cannot be reached"):
            await embedder.embed(["x"])
        asked = len(stub.requests)
        clock.tick(1.0)
        await embedder.embed(["x"])

    assert (standing.well, asked, embedder.standings[0].well) == (False, 1, True)
    assert standing.reason


async def test_one_at_a_time_tries_a_host_that_failed(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with StubEmbedder() as stub:
        embedder = over(http, stub.url, clock=clock, chance=never)
        stub.faults.extend(["hang up", "hang"])
        with pytest.raises(Unreachable):
            await embedder.embed(["x"])
        clock.tick(1.0)
        trying = asyncio.create_task(embedder.embed(["x"]))
        async with asyncio.timeout(10):
            while len(stub.requests) < 2:
                await asyncio.sleep(0.005)
        with pytest.raises(HostUnavailable):
            await embedder.embed(["y"])
        stub.thaw.set()
        await trying
        await embedder.embed(["y"])

    assert len(stub.requests) == 3


async def test_host_that_asks_for_time_gets_it(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with StubEmbedder() as stub:
        embedder = over(http, stub.url, clock=clock)
        stub.faults.append(429)
        with pytest.raises(Overloaded):
            await embedder.embed(["x"])
        clock.tick(2.9)
        with pytest.raises(HostUnavailable):
            await embedder.embed(["x"])
        clock.tick(0.2)
        await embedder.embed(["x"])

    assert len(stub.requests) == 2


async def test_hosts_that_embed_differently_are_not_mixed(http: aiohttp.ClientSession) -> None:
    texts = [f"text {number}" for number in range(40 * REQUEST_TEXTS)]
    async with StubEmbedder(model="one") as one, StubEmbedder(model="other") as other:
        with pytest.raises(AnswerBroken, match=r"differently, (one and other|other and one)"):
            await over(http, one.url, other.url).embed(texts)
