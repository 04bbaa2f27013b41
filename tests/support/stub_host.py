"""A model host that answers what a test tells it to, in the OpenAI dialect as our own host speaks it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from aiohttp import web

Messages = list[dict[str, str]]
Reply = str | Sequence[str] | Callable[[Messages], str | Sequence[str]]

MESSAGE_OVERHEAD = 4
PROMPT_OVERHEAD = 3


class Fault(StrEnum):
    """What goes wrong with a chat request instead of a proper answer."""

    BUSY = "busy"  # 429 with Retry-After
    LOADING = "loading"  # 503
    CRASHED = "crashed"  # 500
    BAD_GATEWAY = "bad gateway"  # 502 with an HTML body, as a proxy makes it
    TOO_LONG = "too long"  # 400 context_length_exceeded, with the figures
    UNAUTHORIZED = "unauthorized"  # 401
    UNKNOWN_MODEL = "unknown model"  # 404
    REDIRECT = "redirect"  # 307 to elsewhere
    FROZEN = "frozen"  # the connection is taken, and then nothing
    HANG_UP = "hang up"  # the connection breaks before the headers
    SILENT = "silent"  # headers, then nothing
    MURMUR = "murmur"  # headers, then comments without end
    LOST = "lost"  # headers, then the connection breaks before any text
    STALL = "stall"  # one piece, then nothing
    CUT = "cut"  # all pieces, then the connection ends, without finish_reason or [DONE]
    NO_DONE = "no done"  # finish_reason, but no [DONE]
    RESET = "reset"  # one piece, then the connection breaks in the middle of a chunk
    ABORT = "abort"  # finish_reason "abort" and [DONE], as vLLM does when it drops a request
    ERROR_EVENT = "error event"  # one piece, then an error object inside the stream
    GARBAGE = "garbage"  # a data line that is no JSON
    ODD = "odd"  # JSON whose every field is of another kind than agreed, and then [DONE]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: Any
    peer: Any = None


def count_words(text: str) -> int:
    """The stub's tokens: words and marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def count_prompt(messages: Messages) -> int:
    return PROMPT_OVERHEAD + sum(count_words(message["content"]) + MESSAGE_OVERHEAD for message in messages)


class StubHost:
    """`async with StubHost("Hello.") as host:` serves at `host.url` (closing `/v1` included) until the block ends.

    `reply` is the text, its pieces, or a function of the messages that returns either; a text is cut into words.
    `faults` befall the next chat requests one by one, `always` befalls each. All attributes may be changed while it
    runs. `requests` holds every request that arrived, `chats` the bodies of the chat requests; `open_streams` counts
    the answers under way.
    """

    def __init__(
        self,
        reply: Reply = "Hello from the stub.",
        *,
        delay_s: float = 0.0,
        faults: Iterable[Fault] = (),
        always: Fault | None = None,
        model: str = "stub-model",
        version: str = "stub-1",
        context_tokens: int | None = 4096,
        api_key: str = "",
        tokenize: bool = True,
        retry_after: str = "0",
        port: int = 0,
    ) -> None:
        self.reply = reply
        self.delay_s = delay_s
        self.faults = deque(faults)
        self.always = always
        self.model = model
        self.version = version
        self.context_tokens = context_tokens
        self.api_key = api_key
        self.tokenize = tokenize
        self.retry_after = retry_after
        self.port = port
        self.requests: list[Recorded] = []
        self.open_streams = 0
        self.finish_reason = "stop"
        self.gate = asyncio.Event()  # while cleared, no piece is sent
        self.gate.set()
        self.thaw = asyncio.Event()  # while cleared, nothing is answered at all
        self.thaw.set()
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[Any]:
        return [request.body for request in self.requests if request.path == "/v1/chat/completions"]

    async def wait_streams(self, count: int, timeout_s: float = 30.0) -> None:
        """Waits until exactly `count` answers are under way. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.open_streams == count)

    async def wait_chats(self, count: int, timeout_s: float = 30.0) -> None:
        """Waits until at least `count` chat requests have arrived. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.chats) >= count)

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._record])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/tokenize", self._tokenize)
        # A client that goes away cancels its handler, so that `open_streams` tells the truth.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def kill(self) -> None:
        """Dies at once: answers under way break off, and nobody listens any more. `revive` starts it again."""
        assert self._runner is not None
        for site in list(self._runner.sites):
            await site.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await self.__aexit__()

    async def revive(self) -> None:
        """Listens again, at the same address."""
        await self.__aenter__()

    @web.middleware
    async def _record(self, request: web.Request, handler: Any) -> web.StreamResponse:
        text = await request.text()
        self.requests.append(_recorded(request, text))
        await self._tell()
        await self.thaw.wait()
        if (
            self.api_key
            and request.path != "/health"
            and request.headers.get("Authorization") != f"Bearer {self.api_key}"
        ):
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        response: web.StreamResponse = await handler(request)
        return response

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def _models(self, _: web.Request) -> web.Response:
        card: dict[str, Any] = {"id": self.model, "object": "model", "created": 0, "owned_by": "stub"}
        card["version"] = self.version
        if self.context_tokens is not None:
            card["max_model_len"] = self.context_tokens
        return web.json_response({"object": "list", "data": [card]})

    async def _tokenize(self, _: web.Request) -> web.Response:
        if not self.tokenize:
            return _error(404, "Not Found", None)
        body = self.requests[-1].body
        if "messages" in body:
            count = count_prompt(body["messages"]) - (0 if body.get("add_generation_prompt", True) else PROMPT_OVERHEAD)
        else:
            count = count_words(body["prompt"])
        return web.json_response({"count": count, "max_model_len": self.context_tokens, "tokens": [0] * count})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        fault = self.faults.popleft() if self.faults else self.always
        if body.get("model", self.model) not in {"", self.model}:
            fault = Fault.UNKNOWN_MODEL
        if fault is not None and (refusal := self._refusal(fault)) is not None:
            return refusal
        self.open_streams += 1
        try:
            await self._tell()
            if fault is Fault.FROZEN:
                await asyncio.Event().wait()
            if fault is Fault.HANG_UP:
                _abort(request)
            return await (self._stream if body.get("stream") else self._whole)(request, body, fault)
        finally:
            self.open_streams -= 1
            await asyncio.shield(self._tell())

    def _refusal(self, fault: Fault) -> web.Response | None:
        tokens = 9000
        limit = self.context_tokens or 4096
        too_long = f"This model's maximum context length is {limit} tokens. However, your prompt has {tokens} tokens."
        answers = {
            Fault.BUSY: lambda: _error(429, "Too many waiting.", "rate_limited", {"Retry-After": self.retry_after}),
            Fault.LOADING: lambda: _error(503, "The model is loading.", "loading"),
            Fault.CRASHED: lambda: _error(500, "Something broke.", None),
            Fault.BAD_GATEWAY: lambda: web.Response(status=502, text="<html>502</html>", content_type="text/html"),
            Fault.TOO_LONG: lambda: _error(400, too_long, "context_length_exceeded"),
            Fault.UNAUTHORIZED: lambda: _error(401, "Incorrect API key provided.", "invalid_api_key"),
            Fault.UNKNOWN_MODEL: lambda: _error(404, "The model does not exist.", "model_not_found"),
            Fault.REDIRECT: lambda: web.Response(status=307, headers={"Location": f"{self.url}/elsewhere"}),
        }
        return answers[fault]() if fault in answers else None

    def _pieces(self, body: Any) -> list[str]:
        reply = self.reply(body["messages"]) if callable(self.reply) else self.reply
        return re.findall(r"\S+\s*|\s+", reply) if isinstance(reply, str) else list(reply)

    async def _whole(self, _: web.Request, body: Any, fault: Fault | None) -> web.StreamResponse:
        pieces = self._pieces(body)
        await self.gate.wait()
        await asyncio.sleep(self.delay_s * len(pieces))
        reason = "abort" if fault is Fault.ABORT else self.finish_reason
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(pieces)}, "finish_reason": reason}
        return web.json_response(
            {"id": "chatcmpl-stub", "object": "chat.completion", "created": 0, "model": self.model}
            | {"choices": [choice], "usage": _usage(body, pieces)}
        )

    async def _stream(self, request: web.Request, body: Any, fault: Fault | None) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        pieces = self._pieces(body)
        if await self._break_off_before(request, response, fault):
            return response
        await self._send(response, {"role": "assistant", "content": ""})
        for number, piece in enumerate(pieces):
            await self.gate.wait()
            await asyncio.sleep(self.delay_s if number else 0)
            await self._send(response, {"content": piece})
            if await self._break_off(request, response, fault):
                return response
        if fault is Fault.CUT:
            return response
        await self._send(response, {}, "abort" if fault is Fault.ABORT else self.finish_reason)
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": 0, "model": self.model}
            await _event(response, usage | {"choices": [], "usage": _usage(body, pieces)})
        if fault is not Fault.NO_DONE:
            await response.write(b"data: [DONE]\n\n")
        return response

    async def _break_off_before(self, request: web.Request, response: web.StreamResponse, fault: Fault | None) -> bool:
        if fault is Fault.SILENT:
            await asyncio.Event().wait()
        while fault is Fault.MURMUR:
            await response.write(b": waiting\n\n")
            await asyncio.sleep(0.02)
        if fault is Fault.LOST:
            _abort(request)
        if fault is Fault.ODD:
            for odd in _ODDITIES:
                await _event(response, odd)
            await response.write(b"data: [DONE]\n\n")
            return True
        return False

    async def _break_off(self, request: web.Request, response: web.StreamResponse, fault: Fault | None) -> bool:
        if fault is Fault.STALL:
            await asyncio.Event().wait()
        if fault is Fault.GARBAGE:
            await response.write(b"data: {not json\n\n")
        if fault is Fault.ERROR_EVENT:
            await _event(response, {"error": {"message": "The engine died.", "type": "server_error", "code": 500}})
            await response.write(b"data: [DONE]\n\n")
            return True
        if fault is Fault.RESET:
            _abort(request)
            return True
        return False

    async def _send(self, response: web.StreamResponse, delta: dict[str, str], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        head = {"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": 0, "model": self.model}
        await _event(response, head | {"system_fingerprint": self.version, "choices": [choice]})

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


_ODDITIES: tuple[dict[str, Any], ...] = (
    {"choices": {"0": "text"}},
    {"choices": ["text"], "usage": [1]},
    {"choices": [{"delta": "text", "finish_reason": 7}], "usage": {"prompt_tokens": "many"}},
    {"choices": [{"delta": {"content": ["text"]}}], "system_fingerprint": 3},
)


def _recorded(request: web.Request, text: str) -> Recorded:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return Recorded(request.path, dict(request.headers), json.loads(text) if text else None, peer)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _event(response: web.StreamResponse, payload: Mapping[str, Any]) -> None:
    with suppress(ConnectionResetError):
        await response.write(b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n")


def _usage(body: Any, pieces: Sequence[str]) -> dict[str, int]:
    prompt = count_prompt(body["messages"])
    answer = count_words("".join(pieces))
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _error(status: int, message: str, code: str | None, headers: Mapping[str, str] | None = None) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)
