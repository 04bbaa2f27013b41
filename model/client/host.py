"""HttpModelHost: core's ModelHost over aiohttp, for one host of the OpenAI dialect; each answer is asked for once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import aiohttp

from core.chat.errors import AnswerBroken
from core.chat.interaction import PromptMessage, Sampling
from core.chat.ports import Finish, ModelInfo, Piece
from model.client.describing import Describing, Description
from model.client.errors import Stalled, UnknownModel, Unreachable
from model.client.events import AnswerReader
from model.client.refusals import translate
from model.client.timing import Timeouts
from model.client.wire import Wire, translated

_MAX_ERROR_BYTES = 64_000
_TAIL_S = 0.5


class HttpModelHost:
    """A host at `base_url` (with or without the closing `/v1`), asked for `model` ("" for its first model).

    `context_tokens` holds where the host does not say how much its model takes. The session is the caller's to close.
    `HostFleet` adds what one host alone cannot give: asking again, and asking another.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = base_url.rstrip("/").removesuffix("/v1")
        self._timeouts = timeouts or Timeouts()
        self._wire = Wire(self.url, session, self._timeouts, api_key)
        self._describing = Describing(self._wire, model, context_tokens, clock)
        self._clock = clock

    async def describe(self) -> ModelInfo:
        """The model behind the host, asked for at most once a minute. Raises the HostError family."""
        return (await self._describing.description()).info

    async def count_tokens(self, text: str) -> int:
        """Tokens of `text` without special tokens; its UTF-8 bytes, an upper bound, where the host cannot count."""
        return await self._describing.count_tokens(text)

    async def stream(
        self,
        messages: Sequence[PromptMessage],
        sampling: Sampling,
        session: str,
        trace: str = "",
        *,
        until: float | None = None,
    ) -> AsyncGenerator[ModelInfo | Piece | Finish, None]:
        """The model that answers, the answer piece by piece, then one Finish; all of it by `until` on the clock.

        Closing the generator closes the connection at once.

        Raises:
            HostUnavailable: the host cannot answer now; nothing was yielded.
            HostRefused: the request itself was refused (PromptTooLong with the figures).
            AnswerBroken: the answer stalled or did not end properly.
        """
        deadline = self._clock() + self._timeouts.total_s if until is None else until
        headers = {"x-session-id": session, "Accept": "text/event-stream"}
        headers |= {"traceparent": trace} if trace else {}
        body = _body(messages, sampling)
        known, response = await self._open_known(body, headers, deadline)
        try:
            async with aclosing(self._read(response, known, deadline)) as parts:
                async for part in parts:
                    if isinstance(part, Finish):
                        await _read_tail(response)
                    yield part
        except Stalled:
            self._describing.forget(known)
            raise
        finally:
            response.close()  # an unread answer must not keep its connection, nor the host's slot

    async def _open_known(
        self, body: Mapping[str, Any], headers: Mapping[str, str], deadline: float
    ) -> tuple[Description, aiohttp.ClientResponse]:
        """The model, and its response with status 200. A description that proves wrong is asked for anew."""
        known = await self._describing.description()
        try:
            return known, await self._open({"model": known.info.id, **body}, headers, deadline)
        except UnknownModel:
            self._describing.forget(known)
            now = await self._describing.description()
            if now.info.id == known.info.id:
                raise
            return now, await self._open({"model": now.info.id, **body}, headers, deadline)
        except (Unreachable, Stalled):
            self._describing.forget(known)
            raise

    async def _open(
        self, body: Mapping[str, Any], headers: Mapping[str, str], deadline: float
    ) -> aiohttp.ClientResponse:
        wait_s = max(0.0, min(self._timeouts.first_token_s, deadline - self._clock()))
        try:
            async with asyncio.timeout(wait_s):
                response = await self._wire.post("/v1/chat/completions", body, headers)
                if response.status == 200:
                    return response
                async with response:
                    with translated(self.url):
                        text = (await response.content.read(_MAX_ERROR_BYTES)).decode(errors="replace")
        except TimeoutError as error:
            raise Stalled(f"The model host at {self.url} did not begin to answer in {wait_s:.0f} s.") from error
        raise translate(response.status, text, self.url, response.headers.get("Retry-After"), body["model"])

    async def _read(
        self, response: aiohttp.ClientResponse, known: Description, deadline: float
    ) -> AsyncGenerator[ModelInfo | Piece | Finish, None]:
        reader = AnswerReader()
        said = False
        wait_until = self._clock() + self._timeouts.first_token_s
        while not reader.done:
            arrived = await self._arrived(response, wait_until, deadline)
            text = reader.take(arrived or b"\n")  # the last line may lack its end
            if text or reader.reason:
                # Only text moves the clock on: comments may keep a connection alive for ever.
                wait_until = self._clock() + self._timeouts.between_tokens_s
            if text:
                if not said:
                    yield _answering(known, reader.fingerprint)
                said = True
                yield Piece(text)
            if not arrived:
                break
        finish = reader.finish()
        if not said:
            yield _answering(known, reader.fingerprint)
        yield finish

    async def _arrived(self, response: aiohttp.ClientResponse, wait_until: float, deadline: float) -> bytes:
        """What is there to be read, often several tokens at once; empty at the end of the body."""
        try:
            async with asyncio.timeout(max(0.0, min(wait_until, deadline) - self._clock())):
                return await response.content.readany()
        except TimeoutError as error:
            if deadline < wait_until:
                raise AnswerBroken(f"The answer was not done after {self._timeouts.total_s:.0f} s.") from error
            raise Stalled(f"The answer of the model host at {self.url} stalled.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AnswerBroken(f"The host's answer broke off ({type(error).__name__}).") from error


async def _read_tail(response: aiohttp.ClientResponse) -> None:
    """Reads what follows the closing mark, the end of the body: only then may the connection serve the next answer."""
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_TAIL_S):
            await response.content.read()


def _answering(known: Description, fingerprint: str) -> ModelInfo:
    """The model that answers: a host that was started anew within the minute may serve another version."""
    return replace(known.info, version=fingerprint) if known.versioned and fingerprint else known.info


def _body(messages: Sequence[PromptMessage], sampling: Sampling) -> dict[str, Any]:
    return {
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
    }
