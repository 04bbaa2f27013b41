"""The model host over real sockets: OpenAI's own client, our client, and bare requests, on an engine of a few lines."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from core.chat.errors import HostRefused, HostUnavailable, PromptTooLong
from core.chat.interaction import PromptMessage, Sampling
from core.chat.ports import Finish, Piece
from model.client import HttpModelHost
from model.serve.asking import MAX_BODY_BYTES
from model.serve.engine import ChatMessage
from tests.support.host_harness import Running, running

ASKED: list[dict[str, str]] = [{"role": "user", "content": "Hello?"}]
QUESTION: Any = ASKED  # the client's own types for messages are many


@pytest.fixture
async def host() -> AsyncIterator[Running]:
    async with running() as host:
        yield host


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


def official(host: Running, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{host.url}/v1", api_key=key, max_retries=0)


async def post(http: aiohttp.ClientSession, url: str, body: Any) -> tuple[int, Any, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http.post(url, data=io.BytesIO(raw), headers={"Content-Type": "application/json"}) as response:
        return response.status, await response.json(), response.headers


# ── OpenAI's client, unchanged ──────────────────────────────────────────────────────────────────────────────────────


async def test_official_client_gets_a_whole_answer_with_usage(host: Running) -> None:
    async with official(host) as client:
        answer = await client.chat.completions.create(model="m", messages=QUESTION, temperature=0, seed=3, top_p=0.5)

    assert answer.choices[0].message.content == "Hello, wörld 😀!"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    tokens = len(host.engine.reply.encode())
    prompt = len(host.engine.render([ChatMessage("user", "Hello?")]))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, tokens)
    assert answer.usage.total_tokens == prompt + tokens
    assert (host.engine.drawings[0].temperature, host.engine.drawings[0].seed) == (0, 3)


async def test_official_client_streams(host: Running) -> None:
    async with official(host) as client:
        stream = await client.chat.completions.create(
            model="m", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello, wörld 😀!"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(text.encode())
    assert len({chunk.id for chunk in chunks}) == 1


async def test_official_client_lists_the_model(host: Running) -> None:
    async with official(host) as client:
        models = await client.models.list()

    assert [model.id for model in models.data] == ["m"]


@pytest.mark.parametrize("stop", ["wör", ["never", ", w"]])
async def test_stop_strings_cut_the_answer(host: Running, stop: str | list[str]) -> None:
    async with official(host) as client:
        answer = await client.chat.completions.create(model="m", messages=QUESTION, stop=stop)

    expected = "Hello, " if stop == "wör" else "Hello"
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (expected, "stop")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_answer_ends_at_its_most_tokens(host: Running, name: str) -> None:
    limit: dict[str, Any] = {name: 5}
    async with official(host) as client:
        answer = await client.chat.completions.create(model="m", messages=QUESTION, **limit)

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hello", "length")


async def test_official_client_reads_our_errors(host: Running) -> None:
    async with official(host) as client:
        with pytest.raises(openai.NotFoundError, match="no model 'other'"):
            await client.chat.completions.create(model="other", messages=QUESTION)
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="m", messages=QUESTION, n=2)

    assert (caught.value.param, caught.value.code) == ("n", "invalid_value")


async def test_official_client_is_told_of_a_break_inside_the_stream(host: Running) -> None:
    host.engine.broken = True
    async with official(host) as client:
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)

        with pytest.raises(openai.APIError):
            _ = [chunk async for chunk in stream]


async def test_key_is_wanted_where_one_is_set(http: aiohttp.ClientSession) -> None:
    async with running("right") as host:
        async with official(host, "wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="m", messages=QUESTION)
        async with official(host, "right") as client:
            answer = await client.chat.completions.create(model="m", messages=QUESTION)
        status, error, _ = await post(http, f"{host.url}/tokenize", {"prompt": "a"})

        assert answer.choices[0].message.content == "Hello, wörld 😀!"
        assert (status, error["error"]["code"]) == (401, "invalid_api_key")
        async with http.get(f"{host.url}/v1/models") as models, http.get(f"{host.url}/health") as health:
            assert (models.status, health.status) == (401, 200)


# ── our own client ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_our_client_and_our_host_agree(host: Running, http: aiohttp.ClientSession) -> None:
    ours = HttpModelHost(host.url, "", http)
    messages = (PromptMessage("system", "Be kind."), PromptMessage("user", "Hi"))

    info = await ours.describe()
    parts = [part async for part in ours.stream(messages, Sampling(0.0, 1.0, 99, 1), "s")]

    assert (info.id, info.version, info.context_tokens, info.exact) == ("m", "v1", 256, True)
    assert "".join(part.text for part in parts if isinstance(part, Piece)) == "Hello, wörld 😀!"
    assert isinstance(parts[-1], Finish)
    prompt_tokens = parts[-1].prompt_tokens or 0
    bound = sum([await ours.count_tokens(message.content) for message in messages])
    bound += 2 * info.message_overhead_tokens + info.prompt_overhead_tokens
    assert prompt_tokens <= bound <= prompt_tokens + 8


async def test_our_client_gets_the_figures_of_a_prompt_over_the_context(
    host: Running, http: aiohttp.ClientSession
) -> None:
    ours = HttpModelHost(host.url, "", http)

    with pytest.raises(PromptTooLong) as caught:
        _ = [part async for part in ours.stream([PromptMessage("user", "x" * 300)], Sampling(0, 1, 9, 1), "s")]

    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (316, 256)


async def test_our_client_takes_loading_for_unavailable(http: aiohttp.ClientSession) -> None:
    async with running(engine=None) as host:
        with pytest.raises(HostUnavailable, match="loading"):
            await HttpModelHost(host.url, "", http).describe()


async def test_our_client_names_the_key(http: aiohttp.ClientSession) -> None:
    async with running("right") as host:
        with pytest.raises(HostRefused, match="MODEL_API_KEY"):
            await HttpModelHost(host.url, "wrong", http).describe()


# ── clients that go away, and too many of them ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [True, False])
async def test_client_that_goes_away_frees_its_slot(host: Running, http: aiohttp.ClientSession, stream: bool) -> None:  # noqa: FBT001
    host.engine.gate.clear()
    body = {"messages": ASKED, "stream": stream}
    asking = asyncio.create_task(http.post(f"{host.url}/v1/chat/completions", json=body).__aenter__())
    await host.engine.wait_answers(1)

    if stream:
        (await asking).close()
    else:
        asking.cancel()

    await host.engine.wait_answers(0)
    assert host.service.open == 0


async def test_too_many_answers_get_429_with_retry_after(host: Running, http: aiohttp.ClientSession) -> None:
    host.engine.gate.clear()
    url = f"{host.url}/v1/chat/completions"
    asking = [asyncio.create_task(post(http, url, {"messages": ASKED})) for _ in range(3)]  # 2 run, 1 waits
    await host.engine.wait_answers(3)

    for stream in (True, False):
        status, body, headers = await post(http, url, {"messages": ASKED, "stream": stream})
        assert (status, body["error"]["type"], headers["Retry-After"]) == (429, "rate_limit_error", "1")

    host.engine.gate.set()
    assert [status for status, _, _ in await asyncio.gather(*asking)] == [200, 200, 200]
    assert host.service.open == 0


async def test_waiting_stream_is_kept_alive(http: aiohttp.ClientSession) -> None:
    async with running(keep_alive_s=0.05) as host:
        host.engine.gate.clear()
        body = {"messages": ASKED, "stream": True}
        async with http.post(f"{host.url}/v1/chat/completions", json=body) as response:
            seen = b""
            async with asyncio.timeout(5):
                while b": waiting" not in seen:
                    seen += await response.content.readany()
            host.engine.gate.set()

            assert (await response.content.read()).endswith(b"data: [DONE]\n\n")


# ── every error in one shape ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        ([], None),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": ASKED, "temperature": 3}, "temperature"),
        ({"messages": ASKED, "max_tokens": 0}, "max_tokens"),
        ({"messages": ASKED, "stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"messages": ASKED, "n": 2}, "n"),
        ({"messages": ASKED, "tools": [{"type": "function"}]}, "tools"),
        ({"messages": ASKED, "response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": ASKED, "logprobs": True}, "logprobs"),
        ({"messages": ASKED, "frequency_penalty": 0.5}, "frequency_penalty"),
        ({"messages": [{"role": "user", "content": "unspeakable"}]}, "messages"),
    ],
)
async def test_bad_request_gets_400_and_names_the_field(
    host: Running, http: aiohttp.ClientSession, body: Any, param: str | None
) -> None:
    status, answer, _ = await post(http, f"{host.url}/v1/chat/completions", body)

    assert status == 400
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert (answer["error"]["type"], answer["error"]["param"]) == ("invalid_request_error", param)


async def test_fields_that_change_nothing_are_ignored(host: Running, http: aiohttp.ClientSession) -> None:
    neutral = {"n": 1, "user": "u", "metadata": {"a": "b"}, "store": False, "presence_penalty": 0, "logprobs": False}
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo?"}]
    body = {"messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": parts}]} | neutral

    status, _, _ = await post(http, f"{host.url}/v1/chat/completions", body)

    assert status == 200


async def test_unknown_paths_and_methods_get_the_same_shape(host: Running, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{host.url}/v1/nothing") as missing, http.get(f"{host.url}/tokenize") as wrong:
        assert (missing.status, wrong.status) == (404, 405)
        for response in (missing, wrong):
            assert set((await response.json())["error"]) == {"message", "type", "param", "code"}


async def test_huge_request_is_refused(host: Running, http: aiohttp.ClientSession) -> None:
    status, answer, _ = await post(http, f"{host.url}/tokenize", {"prompt": "x" * MAX_BODY_BYTES})

    assert (status, answer["error"]["code"]) == (413, "too_large")


async def test_broken_engine_gets_500_without_its_secrets(host: Running, http: aiohttp.ClientSession) -> None:
    host.engine.broken = True

    status, answer, _ = await post(http, f"{host.url}/v1/chat/completions", {"messages": ASKED})

    assert (status, answer["error"]["type"]) == (500, "server_error")


async def test_tokenize_counts_texts_and_prompts_as_vllm_does(host: Running, http: aiohttp.ClientSession) -> None:
    url = f"{host.url}/tokenize"

    _, text, _ = await post(http, url, {"model": "m", "prompt": "abc"})
    _, whole, _ = await post(http, url, {"messages": ASKED})
    _, without, _ = await post(http, url, {"messages": ASKED, "add_generation_prompt": False})
    status, _, _ = await post(http, url, {"messages": ASKED, "prompt": "abc"})

    assert text == {"count": 3, "max_model_len": 256, "tokens": list(b"abc")}
    assert whole["count"] - without["count"] == len("assistant:")
    assert status == 400


async def test_answers_name_the_version_that_gave_them(host: Running) -> None:
    async with official(host) as client:
        whole = await client.chat.completions.create(model="m", messages=QUESTION)
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
        versions = {chunk.system_fingerprint async for chunk in stream}

    assert versions == {whole.system_fingerprint} == {"v1"}
