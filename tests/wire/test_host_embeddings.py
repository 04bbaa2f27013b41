"""`/v1/embeddings` of our own model host over real sockets, and with the client that most people use."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import openai
import pytest

from model.serve.bodies import MAX_TEXTS
from model.serve.embedding_desk import EmbeddingDesk
from model.serve.service import Embedding
from tests.support.embedding_harness import embedding
from tests.support.host_harness import Running, running
from tests.support.scripted_embedder import WIDTH, ScriptedEmbedder, word_vector


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def ask(http: aiohttp.ClientSession, host: Running, **body: Any) -> tuple[int, Any]:
    sent = io.BytesIO(json.dumps(body).encode())
    async with http.post(f"{host.url}/v1/embeddings", data=sent) as response:
        return response.status, await response.json()


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_official_client_gets_vectors_in_the_order_of_its_texts() -> None:
    async with embedding() as host, openai.AsyncOpenAI(api_key="none", base_url=f"{host.url}/v1") as client:
        one = await client.embeddings.create(model="minilm", input="good morning")
        several = await client.embeddings.create(model="minilm", input=["a b c", "good morning", "x"])

    assert one.usage.prompt_tokens == one.usage.total_tokens == len("good morning")
    assert [item.index for item in several.data] == [0, 1, 2]
    assert [len(item.embedding) for item in several.data] == [WIDTH] * 3
    np.testing.assert_allclose(one.data[0].embedding, word_vector("good morning"), atol=1e-6)
    np.testing.assert_array_equal(several.data[1].embedding, one.data[0].embedding)


async def test_both_encodings_carry_the_same_numbers(http: aiohttp.ClientSession) -> None:
    async with embedding() as host:
        _, plain = await ask(http, host, model="minilm", input="hello there")
        _, packed = await ask(http, host, model="minilm", input="hello there", encoding_format="base64")

    unpacked = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    np.testing.assert_array_equal(unpacked, np.array(plain["data"][0]["embedding"], np.float32))


async def test_model_its_version_and_the_usage_are_named(http: aiohttp.ClientSession) -> None:
    async with embedding() as host:
        _, answer = await ask(http, host, input=["one", "three"])

    assert (answer["object"], answer["model"], answer["version"]) == ("list", "minilm", "v7")
    assert answer["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    assert answer["truncated"] == []


async def test_texts_that_were_cut_are_named_by_their_place(http: aiohttp.ClientSession) -> None:
    async with embedding(ScriptedEmbedder(max_tokens=8)) as host:
        status, answer = await ask(http, host, input=["short", "rather long a text", "brief", "and one more of them"])

    assert (status, answer["truncated"]) == (200, [1, 3])
    assert answer["usage"]["prompt_tokens"] == len("short") + 8 + len("brief") + 8


async def test_embedder_is_listed_after_the_model_that_answers(http: aiohttp.ClientSession) -> None:
    async with embedding() as host, http.get(f"{host.url}/v1/models") as response:
        cards = (await response.json())["data"]

    assert [card["id"] for card in cards] == ["m", "minilm"]
    assert (cards[1]["version"], cards[1]["max_model_len"], cards[1]["dimensions"]) == ("v7", 64, WIDTH)


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["fine", " \n"]}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": None}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({}, "input"),
        ({"input": ["x"] * (MAX_TEXTS + 1)}, "input"),
        ({"input": "x", "dimensions": 32}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_name(
    http: aiohttp.ClientSession, body: dict[str, Any], param: str
) -> None:
    async with embedding(max_waiting=MAX_TEXTS * 2) as host:
        status, answer = await ask(http, host, model="minilm", **body)

    assert (status, answer["error"]["param"], answer["error"]["type"]) == (400, param, "invalid_request_error")


async def test_vectors_of_their_own_width_may_be_asked_for(http: aiohttp.ClientSession) -> None:
    async with embedding() as host:
        status, _ = await ask(http, host, input="x", dimensions=WIDTH)

    assert status == 200


async def test_another_model_is_told_what_there_is(http: aiohttp.ClientSession) -> None:
    async with embedding() as host:
        status, answer = await ask(http, host, model="m", input="x")

    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    assert "'minilm'" in answer["error"]["message"]


async def test_key_is_asked_for() -> None:
    async with embedding(api_key="right") as host, openai.AsyncOpenAI(api_key="wrong", base_url=f"{host.url}/v1") as ai:
        with pytest.raises(openai.AuthenticationError):
            await ai.embeddings.create(model="minilm", input="x")


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [("off", 404, "model_not_found"), ("loading", 503, "loading"), ("failed", 503, "failed")],
)
async def test_host_without_an_embedder_says_how_that_stands(
    http: aiohttp.ClientSession, state: Any, status: int, code: str
) -> None:
    async with running(embedding=Embedding("minilm", "v7", None, state, "EMBEDDER=off")) as host:
        answered, answer = await ask(http, host, input="x")
        async with http.get(f"{host.url}/ready") as ready:
            can_answer = ready.status

    assert (answered, answer["error"]["code"], can_answer) == (status, code, 200)


async def test_body_that_is_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    async with embedding() as host:
        status, answer = await ask(http, host, input="x" * (4 * 1024 * 1024))

    assert (status, answer["error"]["code"]) == (413, "too_large")


# ── many at once ────────────────────────────────────────────────────────────────────────────────────────────────────


async def begun(embedder: ScriptedEmbedder) -> None:
    assert await asyncio.to_thread(embedder.begun.wait, 10)


async def until_open(host: Running, texts: int) -> None:
    desk = host.service.embedding.desk
    assert desk is not None
    async with asyncio.timeout(10):
        while desk.open != texts:
            await asyncio.sleep(0.005)


async def until_waiting(host: Running, requests: int) -> None:
    """Waits until as many requests stand at the desk, beside the batch that is under way."""
    desk = host.service.embedding.desk
    assert desk is not None
    async with asyncio.timeout(10):
        while len(desk._requests) != requests:
            await asyncio.sleep(0.005)


async def test_requests_that_wait_share_a_batch(http: aiohttp.ClientSession) -> None:
    embedder = ScriptedEmbedder()
    async with embedding(embedder) as host:
        embedder.gate.clear()
        first = asyncio.create_task(ask(http, host, input="first"))
        await begun(embedder)
        others = [asyncio.create_task(ask(http, host, input=f"text {number}")) for number in range(5)]
        await until_waiting(host, 5)

        embedder.gate.set()
        answers = await asyncio.gather(first, *others)

    assert {status for status, _ in answers} == {200}
    assert [len(batch) for batch in embedder.batches] == [1, 5]


async def test_single_question_does_not_wait_for_a_thousand_texts(http: aiohttp.ClientSession) -> None:
    embedder = ScriptedEmbedder()
    async with embedding(embedder, max_waiting=2000) as host:
        embedder.gate.clear()
        bulk = asyncio.create_task(ask(http, host, input=["b" * 60] * 1000))
        await begun(embedder)
        question = asyncio.create_task(ask(http, host, input="a question"))
        await until_waiting(host, 2)

        embedder.gate.set()
        await asyncio.gather(bulk, question)

    assert "a question" in embedder.batches[1]
    assert max(len(batch) * 60 for batch in embedder.batches) <= 2048


async def test_more_texts_than_may_wait_are_refused_and_the_places_come_free(http: aiohttp.ClientSession) -> None:
    embedder = ScriptedEmbedder()
    async with embedding(embedder, max_waiting=3) as host:
        embedder.gate.clear()
        waiting = asyncio.create_task(ask(http, host, input=["a", "b"]))
        await begun(embedder)
        status, answer = await ask(http, host, input=["c", "d"])
        embedder.gate.set()
        await waiting
        again, _ = await ask(http, host, input=["c", "d"])

    assert (status, answer["error"]["code"], again) == (429, "too_many_waiting", 200)


async def test_client_that_goes_away_takes_its_waiting_texts_along(http: aiohttp.ClientSession) -> None:
    embedder = ScriptedEmbedder()
    async with embedding(embedder) as host:
        embedder.gate.clear()
        first = asyncio.create_task(ask(http, host, input="first"))
        await begun(embedder)
        gone = asyncio.create_task(ask(http, host, input=["gone", "away"]))
        await until_waiting(host, 2 - 1)
        gone.cancel()
        await until_open(host, 1)
        embedder.gate.set()
        await first
        await ask(http, host, input="last")

    assert embedder.batches == [["first"], ["last"]]


async def test_batch_that_breaks_leaves_the_next_one_whole(http: aiohttp.ClientSession) -> None:
    async with embedding() as host:
        async with aiohttp.ClientSession() as another:  # uvicorn closes a connection over which something broke
            broken, answer = await ask(another, host, input="unspeakable")
        status, _ = await ask(http, host, input="fine")

    assert (broken, answer["error"]["code"], status) == (500, "internal_error", 200)
    assert "broke" not in answer["error"]["message"]


async def test_requests_texts_and_tokens_are_counted(http: aiohttp.ClientSession) -> None:
    async with embedding() as host:
        await ask(http, host, input=["one", "two"])
        await ask(http, host, input="")
        async with http.get(f"{host.url}/metrics") as response:
            page = await response.text()

    assert 'parley_host_embedding_requests_total{outcome="done"} 1.0' in page
    assert 'parley_host_embedding_requests_total{outcome="refused"} 1.0' in page
    assert "parley_host_embedded_texts_total 2.0" in page
    assert "parley_host_embedded_tokens_total 6.0" in page


async def test_desk_that_closes_answers_those_who_wait() -> None:
    embedder = ScriptedEmbedder()
    desk = EmbeddingDesk(embedder)
    embedder.gate.clear()
    first = asyncio.create_task(desk.embed(["first"]))
    await begun(embedder)
    waiting = asyncio.create_task(desk.embed(["second"]))
    async with asyncio.timeout(10):
        while not desk._requests:
            await asyncio.sleep(0.005)
    closing = asyncio.create_task(asyncio.to_thread(desk.close))
    async with asyncio.timeout(10):
        while not desk._closing:
            await asyncio.sleep(0.005)
    embedder.gate.set()
    await closing

    assert len((await first).vectors) == 1
    with pytest.raises(Exception, match="closed"):
        await waiting
    with pytest.raises(Exception, match="closed"):
        await desk.embed(["third"])
