"""The client of model hosts against the stub host, over real sockets: every way in which a host can fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from core.chat.errors import AnswerBroken, HostRefused, HostUnavailable, PromptTooLong
from core.chat.interaction import PromptMessage, Sampling
from core.chat.ports import Finish, Piece
from model.client import HttpModelHost, RetryBudget, Timeouts
from tests.support.stub_host import MESSAGE_OVERHEAD, PROMPT_OVERHEAD, Fault, StubHost, count_prompt

MESSAGES = (PromptMessage("system", "Be kind."), PromptMessage("user", "Hello?"))
SAMPLING = Sampling(temperature=0.5, top_p=0.9, max_tokens=64, seed=7)
QUICK = Timeouts(connect_s=1.0, first_token_s=0.3, between_tokens_s=0.3, total_s=5.0, ask_s=1.0)
NO_PAUSE = RetryBudget(tries=3, wait_s=10.0, first_pause_s=0.0)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def client(host: StubHost, session: aiohttp.ClientSession, **changes: Any) -> HttpModelHost:
    options: dict[str, Any] = {"timeouts": QUICK, "retries": NO_PAUSE} | changes
    return HttpModelHost(options.pop("url", host.url), options.pop("api_key", ""), session, **options)


async def read(host: HttpModelHost) -> tuple[str, Finish]:
    parts = [part async for part in host.stream(MESSAGES, SAMPLING, "web:a:b:c")]
    assert isinstance(parts[-1], Finish)
    return "".join(part.text for part in parts[:-1] if isinstance(part, Piece)), parts[-1]


async def test_answer_arrives_in_pieces_then_one_finish_with_usage(session: aiohttp.ClientSession) -> None:
    async with StubHost(["Hel", "lo ", "wörld 😀"]) as host:
        parts = [part async for part in client(host, session).stream(MESSAGES, SAMPLING, "s")]

    prompt = count_prompt([{"content": message.content} for message in MESSAGES])
    assert parts == [Piece("Hel"), Piece("lo "), Piece("wörld 😀"), Finish("stop", prompt, 3)]


async def test_request_carries_the_sampling_the_session_and_the_key(session: aiohttp.ClientSession) -> None:
    async with StubHost(api_key="k-1") as host:
        await read(client(host, session, api_key="k-1"))

        sent = host.requests[-1]
    assert sent.headers["x-session-id"] == "web:a:b:c"
    assert sent.headers["Authorization"] == "Bearer k-1"
    assert sent.body["stream_options"] == {"include_usage": True}
    asked = {name: sent.body[name] for name in ("model", "temperature", "top_p", "max_tokens", "seed")}
    assert asked == {"model": "stub-model", "temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "seed": 7}


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
async def test_url_is_taken_with_or_without_its_closing_v1(session: aiohttp.ClientSession, tail: str) -> None:
    async with StubHost("Yes.") as host:
        url = host.url.removesuffix("/v1") + tail

        text, _ = await read(client(host, session, url=url))

    assert text == "Yes."


async def test_length_is_a_proper_end(session: aiohttp.ClientSession) -> None:
    async with StubHost("Cut off") as host:
        host.finish_reason = "length"

        _, finish = await read(client(host, session))

    assert finish.reason == "length"


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.LOADING, Fault.BAD_GATEWAY])
async def test_busy_host_is_asked_again_before_any_text(session: aiohttp.ClientSession, fault: Fault) -> None:
    async with StubHost("There.", faults=[fault, fault]) as host:
        text, _ = await read(client(host, session))

        assert text == "There."
        assert len(host.chats) == 3


async def test_host_that_stays_busy_is_unavailable_after_three_tries(session: aiohttp.ClientSession) -> None:
    async with StubHost(always=Fault.BUSY) as host:
        with pytest.raises(HostUnavailable, match="429"):
            await read(client(host, session))

        assert len(host.chats) == 3


async def test_retry_after_is_honoured(session: aiohttp.ClientSession) -> None:
    async with StubHost(faults=[Fault.BUSY], retry_after="0.4") as host:
        begun = time.monotonic()
        await read(client(host, session))

    assert time.monotonic() - begun >= 0.4


async def test_retry_after_beyond_the_budget_is_not_waited_for(session: aiohttp.ClientSession) -> None:
    async with StubHost(faults=[Fault.BUSY], retry_after="60") as host:
        begun = time.monotonic()
        with pytest.raises(HostUnavailable):
            await read(client(host, session))

        assert len(host.chats) == 1
    assert time.monotonic() - begun < 5


async def test_crash_of_the_host_is_not_asked_again(session: aiohttp.ClientSession) -> None:
    async with StubHost(faults=[Fault.CRASHED]) as host:
        with pytest.raises(HostUnavailable):
            await read(client(host, session))

        assert len(host.chats) == 1


async def test_host_that_went_away_is_unavailable(session: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        ours = client(host, session)
        await read(ours)

    with pytest.raises(HostUnavailable, match="MODEL_URL"):
        await read(ours)


async def test_prompt_over_the_context_carries_the_figures(session: aiohttp.ClientSession) -> None:
    async with StubHost(always=Fault.TOO_LONG, context_tokens=2048) as host:
        with pytest.raises(PromptTooLong) as caught:
            await read(client(host, session))

    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (9000, 2048)


@pytest.mark.parametrize(
    ("fault", "setting"),
    [(Fault.UNAUTHORIZED, "MODEL_API_KEY"), (Fault.UNKNOWN_MODEL, "MODEL"), (Fault.REDIRECT, "MODEL_URL")],
)
async def test_refusal_names_the_setting(session: aiohttp.ClientSession, fault: Fault, setting: str) -> None:
    async with StubHost(always=fault) as host:
        with pytest.raises(HostRefused, match=setting):
            await read(client(host, session))

        assert len(host.chats) == 1


async def test_wrong_key_is_told_when_the_model_is_asked_for(session: aiohttp.ClientSession) -> None:
    async with StubHost(api_key="right") as host:
        with pytest.raises(HostRefused, match="MODEL_API_KEY"):
            await client(host, session, api_key="wrong").describe()


async def test_unknown_model_is_told_with_what_there_is(session: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        with pytest.raises(HostRefused, match=r"stub-model.*MODEL"):
            await client(host, session, model="other").describe()


@pytest.mark.parametrize(
    "fault",
    [Fault.CUT, Fault.NO_DONE, Fault.RESET, Fault.ABORT, Fault.ERROR_EVENT, Fault.GARBAGE, Fault.STALL, Fault.SILENT],
)
async def test_answer_without_a_proper_end_is_broken(session: aiohttp.ClientSession, fault: Fault) -> None:
    async with StubHost("One two.", always=fault) as host:
        with pytest.raises(AnswerBroken):
            await read(client(host, session))

        await host.wait_streams(0)
        assert len(host.chats) == 1


async def test_answer_that_never_ends_is_broken_at_its_total_time(session: aiohttp.ClientSession) -> None:
    timeouts = Timeouts(first_token_s=1.0, between_tokens_s=1.0, total_s=0.5, ask_s=1.0)
    async with StubHost(["la "] * 1000, delay_s=0.02) as host:
        with pytest.raises(AnswerBroken):
            await read(client(host, session, timeouts=timeouts))

        await host.wait_streams(0)


async def test_closing_the_answer_frees_the_slot(session: aiohttp.ClientSession) -> None:
    async with StubHost("One two three four.") as host:
        parts = client(host, session).stream(MESSAGES, SAMPLING, "s")
        host.gate.clear()
        first = asyncio.ensure_future(anext(parts))
        await host.wait_streams(1)
        host.gate.set()
        assert await first == Piece("One ")
        host.gate.clear()

        await parts.aclose()

        await host.wait_streams(0, timeout_s=2.0)


async def test_cancelling_while_waiting_for_the_first_token_frees_the_slot(session: aiohttp.ClientSession) -> None:
    async with StubHost(always=Fault.SILENT) as host:
        reading = asyncio.ensure_future(read(client(host, session, timeouts=Timeouts())))
        await host.wait_streams(1)

        reading.cancel()

        await host.wait_streams(0, timeout_s=2.0)


async def test_host_is_described_with_measured_overheads(session: aiohttp.ClientSession) -> None:
    async with StubHost(context_tokens=2048, version="v9") as host:
        info = await client(host, session).describe()

    assert (info.id, info.version, info.context_tokens, info.exact) == ("stub-model", "v9", 2048, True)
    assert (info.message_overhead_tokens, info.prompt_overhead_tokens) == (MESSAGE_OVERHEAD, PROMPT_OVERHEAD)


async def test_tokens_are_counted_by_the_host(session: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        assert await client(host, session).count_tokens("one two, three") == 4


async def test_host_that_cannot_count_gets_a_stated_upper_bound(session: aiohttp.ClientSession) -> None:
    async with StubHost(tokenize=False, context_tokens=None) as host:
        ours = client(host, session, context_tokens=1000)

        info = await ours.describe()
        tokens = await ours.count_tokens("né 😀")

    assert (info.exact, info.context_tokens, tokens) == (False, 1000, len("né 😀".encode()))
    assert info.message_overhead_tokens >= 16


async def test_description_is_kept_for_a_minute(session: aiohttp.ClientSession) -> None:
    now = 100.0
    async with StubHost() as host:
        ours = client(host, session, clock=lambda: now)

        await ours.describe()
        await ours.describe()
        asked_at_once = sum(request.path == "/v1/models" for request in host.requests)
        now += 61
        await ours.describe()

        assert asked_at_once == 1
        assert sum(request.path == "/v1/models" for request in host.requests) == 2


async def test_page_that_is_no_host_is_told_apart(session: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        ours = client(host, session, url=host.url.removesuffix("/v1") + "/elsewhere")

        with pytest.raises(HostRefused, match="MODEL_URL"):
            await ours.describe()
