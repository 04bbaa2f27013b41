"""HttpModelHost: core's ModelHost over aiohttp, for our own host and for any other server of the OpenAI dialect."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

import aiohttp

from core.chat.errors import AnswerBroken, HostError, HostRefused, HostUnavailable
from core.chat.interaction import PromptMessage, Sampling
from core.chat.ports import Finish, ModelInfo, Piece
from model.client.events import AnswerReader
from model.client.refusals import RETRYABLE, translate
from model.client.timing import RetryBudget, Timeouts, pause_before_retry

DESCRIBE_FOR_S = 60.0
# Where a server has no /tokenize: what a chat template adds to a message, by a wide margin.
OVERHEAD_BOUND = 16
_MAX_ERROR_BYTES = 64_000


class HttpModelHost:
    """A host at `base_url` (with or without the closing `/v1`), asked for `model` ("" for its first model).

    `context_tokens` holds where the host does not say how much its model takes. The session is the caller's to close.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        session: aiohttp.ClientSession,
        model: str = "",
        *,
        context_tokens: int = 4096,
        timeouts: Timeouts | None = None,
        retries: RetryBudget | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session = session
        self._model = model
        self._context_tokens = context_tokens
        self._timeouts = timeouts or Timeouts()
        self._retries = retries or RetryBudget()
        self._clock = clock
        self._described: tuple[float, ModelInfo] | None = None
        self._describing = asyncio.Lock()

    async def describe(self) -> ModelInfo:
        """The model behind the host, asked for at most once a minute. Raises the HostError family."""
        async with self._describing:
            if self._described is None or self._clock() >= self._described[0]:
                self._described = (self._clock() + DESCRIBE_FOR_S, await self._ask_model())
            return self._described[1]

    async def count_tokens(self, text: str) -> int:
        """Tokens of `text` without special tokens; its UTF-8 bytes, an upper bound, where the host cannot count."""
        info = await self.describe()
        if info.exact:
            counted = await self._count({"model": info.id, "prompt": text, "add_special_tokens": False})
            if counted is not None:
                return counted
        # A byte-level BPE never makes more tokens than bytes.
        return len(text.encode())

    async def stream(
        self, messages: Sequence[PromptMessage], sampling: Sampling, session: str, trace: str = ""
    ) -> AsyncGenerator[ModelInfo | Piece | Finish, None]:
        """The answer piece by piece, then one Finish. Closing the generator closes the connection at once.

        Raises:
            HostUnavailable: no host to be had, within the budget of retries; nothing was yielded.
            HostRefused: the request itself was refused (PromptTooLong with the figures).
            AnswerBroken: the answer stalled or did not end properly.
        """
        body = _body((await self.describe()).id, messages, sampling)
        deadline = self._clock() + self._timeouts.total_s
        response = await self._open(body, session, deadline)
        try:
            async with aclosing(self._read(response, deadline)) as parts:
                async for part in parts:
                    if isinstance(part, Finish):
                        response.release()  # read to its end: the connection may serve the next answer
                    yield part
        finally:
            response.close()  # an unread answer must not keep its connection, nor the host's slot

    # ── the answer ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self, body: dict[str, Any], session: str, deadline: float) -> aiohttp.ClientResponse:
        """The host's response with status 200, after as many tries as the budget allows: nothing is visible yet."""
        waited = 0.0
        for failures in range(1, self._retries.tries + 1):
            try:
                return await self._post_chat(body, session, deadline)
            except _Busy as busy:
                pause = pause_before_retry(failures, busy.retry_after, self._retries)
                waited += pause
                late = waited > self._retries.wait_s or self._clock() + pause > deadline
                if failures == self._retries.tries or late:
                    raise busy.error from busy
            await asyncio.sleep(pause)
        raise AssertionError  # pragma: no cover - the last try returns or raises

    async def _post_chat(self, body: dict[str, Any], session: str, deadline: float) -> aiohttp.ClientResponse:
        url = f"{self._root}/v1/chat/completions"
        wait_s = min(self._timeouts.first_token_s, deadline - self._clock())
        headers = self._headers | {"x-session-id": session, "Accept": "text/event-stream"}
        try:
            async with asyncio.timeout(wait_s):
                response = await self._request_chat(url, body, headers)
                if response.status == 200:
                    return response
                async with response:
                    text = (await response.content.read(_MAX_ERROR_BYTES)).decode(errors="replace")
        except TimeoutError as error:
            raise AnswerBroken(f"The model host at {url} did not begin to answer in {wait_s:.0f} s.") from error
        refusal = translate(response.status, text, self._root, body["model"])
        if response.status in RETRYABLE:
            raise _Busy(refusal, response.headers.get("Retry-After"))
        raise refusal

    async def _request_chat(self, url: str, body: dict[str, Any], headers: dict[str, str]) -> aiohttp.ClientResponse:
        try:
            with _translated(url):
                return await self._session.post(
                    url, json=body, headers=headers, allow_redirects=False, timeout=self._patience()
                )
        except HostUnavailable as error:
            raise _Busy(error) from error

    async def _read(self, response: aiohttp.ClientResponse, deadline: float) -> AsyncGenerator[Piece | Finish, None]:
        reader = AnswerReader()
        wait_until = self._clock() + self._timeouts.first_token_s
        while not reader.done:
            line = await self._line(response, min(wait_until, deadline))
            if line is None:
                break
            piece = reader.take(line)
            if piece is not None or reader.reason:
                # Only text moves the clock on: comments may keep a connection alive for ever.
                wait_until = self._clock() + self._timeouts.between_tokens_s
            if piece is not None:
                yield piece
        yield reader.finish()

    async def _line(self, response: aiohttp.ClientResponse, wait_until: float) -> str | None:
        try:
            async with asyncio.timeout(max(0.0, wait_until - self._clock())):
                line = await response.content.readline()
        except TimeoutError as error:
            raise AnswerBroken("The host's answer stalled.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AnswerBroken(f"The host's answer broke off ({type(error).__name__}).") from error
        return line.decode(errors="replace").rstrip("\r\n") if line else None

    # ── the model ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask_model(self) -> ModelInfo:
        card = self._card(await self._ask("GET", "/v1/models"))
        name = str(card["id"])
        context = card.get("max_model_len") or self._context_tokens
        version = str(card.get("version") or name)
        overheads = await self._measure_overheads(name)
        if overheads is None:
            return ModelInfo(name, version, int(context), OVERHEAD_BOUND, OVERHEAD_BOUND, exact=False)
        return ModelInfo(name, version, int(context), *overheads, exact=True)

    def _card(self, listing: Any) -> dict[str, Any]:
        listed = listing.get("data") if isinstance(listing, dict) else None
        cards: list[dict[str, Any]] = [card for card in listed or [] if isinstance(card, dict) and card.get("id")]
        if not cards:
            raise HostRefused(f"The model host at {self._root} lists no model; check MODEL_URL.")
        for card in cards:
            if self._model in {"", card["id"]}:
                return card
        names = ", ".join(str(card["id"]) for card in cards[:5])
        raise HostRefused(f"The model host at {self._root} has no model {self._model!r}, but {names}; check MODEL.")

    async def _measure_overheads(self, name: str) -> tuple[int, int] | None:
        """Tokens a message and a prompt cost beside their texts; None where the host cannot count.

        Measured with and without a system message, for some templates refuse one and others add their own.
        """
        text = await self._count({"model": name, "prompt": "a", "add_special_tokens": False})
        short = await self._count_roles(name, "user")
        long = await self._count_roles(name, "user", "assistant", "user")
        if text is None or short is None or long is None:
            return None
        per_message = max(0, -(-(long - short) // 2) - text)
        per_prompt = short - text - per_message
        with_system = await self._count_roles(name, "system", "user")
        if with_system is not None:
            per_prompt = max(per_prompt, with_system - 2 * (text + per_message))
        return per_message, max(0, per_prompt)

    async def _count_roles(self, name: str, *roles: str) -> int | None:
        messages = [{"role": role, "content": "a"} for role in roles]
        return await self._count({"model": name, "messages": messages, "add_generation_prompt": True})

    async def _count(self, body: dict[str, Any]) -> int | None:
        """What the host's `/tokenize` (in vLLM's shape, at the root) counts; None where it has none."""
        try:
            answer = await self._ask("POST", "/tokenize", body)
        except HostRefused:
            return None
        count = answer.get("count") if isinstance(answer, dict) else None
        return count if isinstance(count, int) else None

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        url = self._root + path
        with _translated(url):
            async with (
                asyncio.timeout(self._timeouts.ask_s),
                self._session.request(
                    method, url, json=body, headers=self._headers, allow_redirects=False, timeout=self._patience()
                ) as response,
            ):
                text = await response.text(errors="replace")
        if response.status != 200:
            raise translate(response.status, text, self._root, self._model)
        try:
            return json.loads(text)
        except ValueError as error:
            raise HostRefused(f"{url} is no OpenAI endpoint: it answers no JSON; check MODEL_URL.") from error

    def _patience(self) -> aiohttp.ClientTimeout:
        # Only connecting is timed by aiohttp; what follows is timed here, where each wait has its own meaning.
        return aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s)


class _Busy(Exception):
    """A failure that another try may heal."""

    def __init__(self, error: HostError, retry_after: str | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except aiohttp.InvalidURL as error:
        raise HostRefused(f"{url!r} is no URL; check MODEL_URL.") from error
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        why = str(error) or type(error).__name__
        raise HostUnavailable(f"The model host at {url} cannot be reached ({why}); check MODEL_URL.") from error


def _body(model: str, messages: Sequence[PromptMessage], sampling: Sampling) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
    }
