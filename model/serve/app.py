"""The host's HTTP: `/v1/models`, `/v1/chat/completions`, `/tokenize` and `/health` over one engine."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from model.serve.answering import Ended, answer, bounded
from model.serve.bodies import ChatRequest, TokenizeRequest
from model.serve.disconnect import EventStream, unless_gone
from model.serve.engine import Drawing, Engine
from model.serve.problems import Problem, install_problems, problem_of
from model.serve.replies import Reply, event

MAX_BODY_BYTES = 4 * 1024 * 1024
_CLIENT_GONE = 499  # nobody reads it; the access log shows it

Body = TypeVar("Body", bound=BaseModel)


@dataclass(slots=True)
class Service:
    """What the host serves: the model's name, and the engine once it is loaded; `open` answers are under way."""

    model: str
    version: str
    max_waiting: int
    keep_alive_s: float = 10.0
    engine: Engine | None = None
    load_error: str = ""
    open: int = 0

    @property
    def status(self) -> Literal["loading", "ready", "failed"]:
        """Where the engine stands."""
        if self.load_error or (self.engine is not None and self.engine.failed):
            return "failed"
        return "loading" if self.engine is None else "ready"

    def ready_engine(self) -> Engine:
        """The engine. Raises Problem while there is none."""
        if self.status == "failed":
            raise Problem(503, "The model host has failed; restart it.", "failed")
        if self.engine is None:
            raise Problem(503, "The model is loading; ask again in a few seconds.", "loading", headers=_later(2))
        return self.engine

    @contextmanager
    def place(self, engine: Engine) -> Iterator[None]:
        """A place among the answers under way and waiting. Raises Problem when all are taken."""
        if self.open >= engine.info.running + self.max_waiting:
            raise Problem(429, "Too many answers are waiting; ask again later.", "too_many_waiting", headers=_later(1))
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


def make_app(service: Service, api_key: str = "") -> FastAPI:
    """The host's app. With an `api_key` everything but `/health` wants it as a bearer token."""
    app = FastAPI(title="Parley model host", docs_url=None, redoc_url=None, openapi_url=None)
    install_problems(app)

    @app.get("/health")
    async def health() -> Response:
        ready = service.status == "ready"
        state = {"status": service.status, "model": service.model, "open": service.open}
        if service.engine is not None:
            info = service.engine.info
            state |= {"engine": info.engine, "device": info.device, "running": info.running}
        return JSONResponse(state, 200 if ready else 503)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        _authorize(request, api_key)
        engine = service.ready_engine()
        card = {"id": service.model, "object": "model", "created": 0, "owned_by": "parley", "version": service.version}
        card |= {"max_model_len": engine.info.context_tokens}
        return JSONResponse({"object": "list", "data": [card]})

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        _authorize(request, api_key)
        engine = service.ready_engine()
        body = await _read(request, TokenizeRequest)
        _check_model(service, body.model)
        tokens = await asyncio.to_thread(_tokens, engine, body)
        limit = engine.info.context_tokens
        return JSONResponse({"count": len(tokens), "max_model_len": limit, "tokens": tokens})

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        _authorize(request, api_key)
        engine = service.ready_engine()
        body = await _read(request, ChatRequest)
        _check_model(service, body.model)
        messages = [message.plain() for message in body.messages]
        prompt = await asyncio.to_thread(engine.render, messages)
        drawing = bounded(engine, prompt, body.drawing())
        if not body.stream:
            whole = await unless_gone(request.receive, _whole(service, engine, prompt, drawing, body))
            return Response(status_code=_CLIENT_GONE) if whole is None else JSONResponse(whole)
        events = _events(service, engine, prompt, drawing, body)
        first = await anext(events)  # a host that is full says so with its status, not inside a stream
        return EventStream(_prepend(first, events))

    return app


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _whole(
    service: Service, engine: Engine, prompt: list[int], drawing: Drawing, body: ChatRequest
) -> dict[str, Any]:
    text = ""
    with service.place(engine):
        async with aclosing(answer(engine, prompt, drawing, body.stops)) as parts:
            async for part in parts:
                if isinstance(part, Ended):
                    return Reply(service.model).whole(text, part)
                text += part
    raise AssertionError  # pragma: no cover - an answer ends with Ended or an error


async def _events(
    service: Service, engine: Engine, prompt: list[int], drawing: Drawing, body: ChatRequest
) -> AsyncGenerator[bytes, None]:
    reply = Reply(service.model)
    with service.place(engine):
        yield reply.chunk({"role": "assistant", "content": ""})
        try:
            async with aclosing(answer(engine, prompt, drawing, body.stops, service.keep_alive_s)) as parts:
                async for part in parts:
                    if isinstance(part, Ended):
                        yield reply.chunk({}, part.reason)
                        if body.stream_options and body.stream_options.include_usage:
                            yield reply.usage_chunk(part)
                    else:
                        yield reply.chunk({"content": part}) if part else b": waiting\n\n"
        except Exception as error:  # the status is sent: all that is left is to say it inside the stream
            yield event({"error": problem_of(error).error})
            raise
        yield b"data: [DONE]\n\n"


async def _prepend(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for item in rest:
            yield item


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _authorize(request: Request, api_key: str) -> None:
    if not api_key:
        return
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {api_key}".encode()):
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "Incorrect API key provided; check MODEL_API_KEY.", "invalid_api_key", headers=headers)


async def _read(request: Request, kind: type[Body]) -> Body:
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY_BYTES:
            raise Problem(413, f"The request is larger than {MAX_BODY_BYTES:,} bytes.", "too_large")
    return kind.model_validate_json(bytes(raw))


def _check_model(service: Service, name: str) -> None:
    if name not in {"", service.model}:
        raise Problem(404, f"There is no model {name!r} here, but {service.model!r}.", "model_not_found", "model")


def _tokens(engine: Engine, body: TokenizeRequest) -> list[int]:
    if body.messages is not None:
        return engine.render([message.plain() for message in body.messages], answer=body.add_generation_prompt)
    return engine.encode(body.prompt or "")


def _later(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
