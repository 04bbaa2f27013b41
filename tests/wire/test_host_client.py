"""The client of one model host against the stub host, over real sockets: every way in which a host can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from core.chat.errors import AnswerBroken, HostError, HostRefused, HostUnavailable, PromptTooLong
from core.chat.ports import Finish, ModelInfo, Piece
from model.client import Timeouts
from model.client.describing import KEPT_CHARS, KEPT_COUNTS
from model.client.errors import Overloaded, Stalled, UnknownModel, Unreachable
from tests.support.asking import MESSAGES, PATIENT, QUICK, SAMPLING, Ticking, client, read
from tests.support.stub_host import MESSAGE_OVERHEAD, PROMPT_OVERHEAD, Fault, StubHost, count_prompt

TRACE = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_is_its_model_its_pieces_and_one_finish_with_usage(http: aiohttp.ClientSession) -> None:
    async with StubHost(["Hel", "lo ", "wörld 😀"], version="v9") as host:
        parts = [part async for part in client(host, http).stream(MESSAGES, SAMPLING, "s")]

    prompt = count_prompt([{"content": message.content} for message in MESSAGES])
    info = ModelInfo("stub-model", "v9", 4096, MESSAGE_OVERHEAD, PROMPT_OVERHEAD, exact=True)
    texts = [part.text for part in parts if isinstance(part, Piece)]
    assert (parts[0], "".join(texts), parts[-1]) == (info, "Hello wörld 😀", Finish("stop", prompt, 3))
    assert len(parts) == len(texts) + 2


async def test_request_carries_the_sampling_the_session_the_trace_and_the_key(http: aiohttp.ClientSession) -> None:
    async with StubHost(api_key="k-1") as host:
        await read(client(host, http, api_key="k-1"), "web:a:b:c", TRACE)

        sent = host.requests[-1]
    assert sent.headers["x-session-id"] == "web:a:b:c"
    assert sent.headers["traceparent"] == TRACE
    assert sent.headers["Authorization"] == "Bearer k-1"
    assert sent.body["stream_options"] == {"include_usage": True}
    asked = {name: sent.body[name] for name in ("model", "temperature", "top_p", "max_tokens", "seed")}
    assert asked == {"model": "stub-model", "temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "seed": 7}


async def test_without_a_trace_no_trace_is_claimed(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        await read(client(host, http))

        assert "traceparent" not in host.requests[-1].headers


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
async def test_url_is_taken_with_or_without_its_closing_v1(http: aiohttp.ClientSession, tail: str) -> None:
    async with StubHost("Yes.") as host:
        answer = await read(client(host, http, url=host.url.removesuffix("/v1") + tail))

    assert answer.text == "Yes."


async def test_length_is_a_proper_end(http: aiohttp.ClientSession) -> None:
    async with StubHost("Cut off") as host:
        host.finish_reason = "length"

        answer = await read(client(host, http))

    assert answer.finish.reason == "length"


async def test_connection_of_a_whole_answer_serves_the_next(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        ours = client(host, http)

        for _ in range(3):
            await read(ours)

        assert len({request.peer for request in host.requests}) == 1


# ── refusals and troubles ───────────────────────────────────────────────────────────────────────────────────────────


ERRORS: dict[Fault, type[HostError]] = {
    Fault.BUSY: Overloaded,
    Fault.LOADING: Overloaded,
    Fault.BAD_GATEWAY: Overloaded,
    Fault.CRASHED: HostUnavailable,
    Fault.HANG_UP: Unreachable,
    Fault.FROZEN: Stalled,
    Fault.SILENT: Stalled,
    Fault.MURMUR: Stalled,
    Fault.STALL: Stalled,
    Fault.LOST: AnswerBroken,
    Fault.RESET: AnswerBroken,
    Fault.CUT: AnswerBroken,
    Fault.NO_DONE: AnswerBroken,
    Fault.ABORT: AnswerBroken,
    Fault.ERROR_EVENT: AnswerBroken,
    Fault.GARBAGE: AnswerBroken,
    Fault.ODD: AnswerBroken,
    Fault.TOO_LONG: PromptTooLong,
    Fault.UNAUTHORIZED: HostRefused,
    Fault.UNKNOWN_MODEL: UnknownModel,
    Fault.REDIRECT: HostRefused,
}


@pytest.mark.parametrize("fault", list(Fault))
async def test_each_fault_has_its_error_and_leaves_no_answer_behind(http: aiohttp.ClientSession, fault: Fault) -> None:
    timeouts = QUICK if ERRORS[fault] is Stalled else PATIENT
    async with StubHost("One two.", always=fault) as host:
        with pytest.raises(HostError) as caught:
            await read(client(host, http, timeouts=timeouts))

        await host.wait_streams(0)
        assert type(caught.value) is ERRORS[fault]
        assert len(host.chats) == 1


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", None), ("86400", 60.0)])
async def test_time_that_a_host_asks_for_is_kept_and_bounded(
    http: aiohttp.ClientSession, header: str, seconds: float | None
) -> None:
    async with StubHost(always=Fault.BUSY, retry_after=header) as host:
        with pytest.raises(Overloaded) as caught:
            await read(client(host, http))

    assert (caught.value.retry_after_s, caught.value.full) == (seconds, True)


async def test_host_that_went_away_is_unreachable(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        ours = client(host, http)
        await read(ours)

    with pytest.raises(Unreachable, match="MODEL_URL"):
        await read(ours)


async def test_prompt_over_the_context_carries_the_figures(http: aiohttp.ClientSession) -> None:
    async with StubHost(always=Fault.TOO_LONG, context_tokens=2048) as host:
        with pytest.raises(PromptTooLong) as caught:
            await read(client(host, http))

    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (9000, 2048)


@pytest.mark.parametrize(
    ("fault", "setting"),
    [(Fault.UNAUTHORIZED, "MODEL_API_KEY"), (Fault.UNKNOWN_MODEL, "MODEL"), (Fault.REDIRECT, "MODEL_URL")],
)
async def test_refusal_names_the_setting(http: aiohttp.ClientSession, fault: Fault, setting: str) -> None:
    async with StubHost(always=fault) as host:
        with pytest.raises(HostRefused, match=setting):
            await read(client(host, http))


async def test_redirect_is_not_followed(http: aiohttp.ClientSession) -> None:
    async with StubHost(always=Fault.REDIRECT) as host:
        with pytest.raises(HostRefused):
            await read(client(host, http))

        assert not [request for request in host.requests if "elsewhere" in request.path]


async def test_answer_that_never_ends_is_broken_at_its_total_time(http: aiohttp.ClientSession) -> None:
    timeouts = Timeouts(first_token_s=30.0, between_tokens_s=30.0, total_s=0.5, ask_s=30.0)
    async with StubHost(["la "] * 1000, delay_s=0.02) as host:
        with pytest.raises(AnswerBroken, match="not done") as caught:
            await read(client(host, http, timeouts=timeouts))

        await host.wait_streams(0)
    assert not isinstance(caught.value, Stalled)


# ── whoever leaves frees the slot ───────────────────────────────────────────────────────────────────────────────────


async def test_closing_the_answer_frees_the_slot(http: aiohttp.ClientSession) -> None:
    async with StubHost("One two three four.") as host:
        parts = client(host, http).stream(MESSAGES, SAMPLING, "s")
        assert isinstance(await anext(parts), ModelInfo)
        assert await anext(parts) == Piece("One ")
        host.gate.clear()

        await parts.aclose()

        await host.wait_streams(0, timeout_s=2.0)


async def test_cancelling_while_waiting_for_the_first_token_frees_the_slot(http: aiohttp.ClientSession) -> None:
    async with StubHost(always=Fault.SILENT) as host:
        reading = asyncio.ensure_future(read(client(host, http, timeouts=Timeouts())))
        await host.wait_streams(1)

        reading.cancel()

        await host.wait_streams(0, timeout_s=2.0)


# ── what the host says of its model ─────────────────────────────────────────────────────────────────────────────────


async def test_wrong_key_is_told_when_the_model_is_asked_for(http: aiohttp.ClientSession) -> None:
    async with StubHost(api_key="right") as host:
        with pytest.raises(HostRefused, match="MODEL_API_KEY"):
            await client(host, http, api_key="wrong").describe()


async def test_unknown_model_is_told_with_what_there_is(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        with pytest.raises(HostRefused, match=r"stub-model.*MODEL"):
            await client(host, http, model="other").describe()


async def test_host_is_described_with_measured_overheads(http: aiohttp.ClientSession) -> None:
    async with StubHost(context_tokens=2048, version="v9") as host:
        info = await client(host, http).describe()

    assert info == ModelInfo("stub-model", "v9", 2048, MESSAGE_OVERHEAD, PROMPT_OVERHEAD, exact=True)


async def test_tokens_are_counted_by_the_host(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        assert await client(host, http).count_tokens("one two, three") == 4


async def test_text_that_comes_again_within_the_minute_is_counted_once(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with StubHost() as host:
        ours = client(host, http, clock=clock)
        await ours.describe()
        described = len(host.requests)

        counts = [await ours.count_tokens("the system prompt") for _ in range(3)]
        asked = len(host.requests) - described
        clock.tick(61)
        await ours.count_tokens("the system prompt")

        assert (counts, asked) == ([3, 3, 3], 1)
        assert host.requests[-1].path == "/tokenize"
        assert len(host.requests) > described + asked


async def test_counts_that_are_kept_are_few_and_of_short_texts(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        ours = client(host, http)
        for number in range(KEPT_COUNTS + 1):
            await ours.count_tokens(f"text {number}")
        counted = len(host.requests)

        await ours.count_tokens("text 0")
        for _ in range(2):
            await ours.count_tokens("x" * (KEPT_CHARS + 1))

        assert len(host.requests) == counted + 3


async def test_host_that_cannot_count_gets_a_stated_upper_bound(http: aiohttp.ClientSession) -> None:
    async with StubHost(tokenize=False, context_tokens=None) as host:
        ours = client(host, http, context_tokens=1000)

        info = await ours.describe()
        tokens = await ours.count_tokens("né 😀")

    assert (info.exact, info.context_tokens, tokens) == (False, 1000, len("né 😀".encode()))
    assert info.message_overhead_tokens >= 16


async def test_description_is_kept_for_a_minute(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with StubHost() as host:
        ours = client(host, http, clock=clock)

        await ours.describe()
        await ours.describe()
        asked_at_once = asked_models(host)
        clock.tick(61)
        await ours.describe()

        assert (asked_at_once, asked_models(host)) == (1, 2)


async def test_version_is_that_of_the_answer_not_that_of_a_minute_ago(http: aiohttp.ClientSession) -> None:
    async with StubHost(version="v1") as host:
        ours = client(host, http)
        await ours.describe()
        host.version = "v2"

        answer = await read(ours)

    assert answer.info.version == "v2"


async def test_model_that_took_another_ones_place_is_asked_under_its_own_name(http: aiohttp.ClientSession) -> None:
    async with StubHost("Here.", model="old") as host:
        ours = client(host, http)
        await read(ours)
        host.model = "new"

        answer = await read(ours)

        assert (answer.text, answer.info.id) == ("Here.", "new")
        assert [chat["model"] for chat in host.chats] == ["old", "old", "new"]


@pytest.mark.parametrize("asked", ["an answer", "a count"])
async def test_host_that_was_lost_is_asked_anew_who_it_is(http: aiohttp.ClientSession, asked: str) -> None:
    async with StubHost(context_tokens=1024) as host:
        ours = client(host, http)
        await read(ours)
        await host.kill()
        with pytest.raises(Unreachable):
            await (read(ours) if asked == "an answer" else ours.count_tokens("Hello?"))
        host.context_tokens = 2048
        await host.revive()

        assert (await ours.describe()).context_tokens == 2048


async def test_frozen_host_is_waited_for_once_by_all_who_ask(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        host.thaw.clear()
        ours = client(host, http, timeouts=QUICK)

        failures = await asyncio.gather(*(ours.describe() for _ in range(20)), return_exceptions=True)

        assert {type(failure) for failure in failures} == {Unreachable}
        assert asked_models(host) == 1


async def test_page_that_is_no_host_is_told_apart(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        ours = client(host, http, url=host.url.removesuffix("/v1") + "/elsewhere")

        with pytest.raises(HostRefused, match="MODEL_URL"):
            await ours.describe()


def asked_models(host: StubHost) -> int:
    return sum(request.path == "/v1/models" for request in host.requests)
