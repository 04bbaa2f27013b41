"""The host's HTTP: answers and embeddings in OpenAI's dialect, counts of tokens, and how the host stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from model.serve.answering import Ended, answer, bounded
from model.serve.asking import CLIENT_GONE, authorize, read_body, traceparent
from model.serve.bodies import ChatRequest, TokenizeRequest
from model.serve.counting import METRICS_TYPE, Tally
from model.serve.disconnect import EventStream, unless_gone
from model.serve.embedding_app import embedder_cards, install_embeddings
from model.serve.engine import Drawing, Engine
from model.serve.problems import Problem, install_problems, problem_of
from model.serve.replies import Reply, event
from model.serve.service import Service


def make_app(service: Service, api_key: str = "") -> FastAPI:
    """The host's app. With an `api_key` everything but `/health` and `/ready` wants it as a bearer token.

    Those two are for whoever starts and watches processes, and tell nothing of what people say; `/metrics` tells how
    much they say.
    """
    app = FastAPI(title="Parley model host", docs_url=None, redoc_url=None, openapi_url=None)
    install_problems(app)
    install_embeddings(app, service, api_key)

    @app.get("/health")
    async def health() -> Response:
        state = {"status": service.status, "model": service.model, "open": service.open}
        state |= {"embedder": service.embedding.model, "embedder_status": service.embedding.state}
        if service.engine is not None:
            info = service.engine.info
            state |= {"engine": info.engine, "device": info.device, "running": info.running}
        # A host that loads is alive: whoever restarts what is not would never see a large model loaded.
        return JSONResponse(state, 503 if service.status == "failed" else 200)

    @app.get("/ready")
    async def ready() -> Response:
        missing = service.missing
        return JSONResponse({"ready": not missing, "missing": missing}, 503 if missing else 200)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        authorize(request, api_key)
        return Response(service.counts.page(service.now), headers={"Content-Type": METRICS_TYPE})

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        authorize(request, api_key)
        engine = service.ready_engine()
        card = {"id": service.model, "object": "model", "created": 0, "owned_by": "parley", "version": service.version}
        card |= {"max_model_len": engine.info.context_tokens}
        # The one that answers comes first: whoever names no model takes that.
        return JSONResponse({"object": "list", "data": [card, *embedder_cards(service.embedding)]})

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        authorize(request, api_key)
        engine = service.ready_engine()
        body = await read_body(request, TokenizeRequest)
        _check_model(service, body.model)
        tokens = await asyncio.to_thread(_tokens, engine, body)
        limit = engine.info.context_tokens
        return JSONResponse({"count": len(tokens), "max_model_len": limit, "tokens": tokens})

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        with _refusals(service):
            authorize(request, api_key)
            engine = service.ready_engine()
            body = await read_body(request, ChatRequest)
            _check_model(service, body.model)
            messages = [message.plain() for message in body.messages]
            prompt = await asyncio.to_thread(engine.render, messages)
            order = _Order(engine, prompt, bounded(engine, prompt, body.drawing()), body, traceparent(request))
        if not body.stream:
            whole = await unless_gone(request.receive, _whole(service, order))
            return Response(status_code=CLIENT_GONE) if whole is None else JSONResponse(whole)
        events = _events(service, order)
        first = await anext(events)  # a host that is full says so with its status, not inside a stream
        return EventStream(_prepend(first, events))

    return app


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Order:
    """An answer that is wanted, and can be given."""

    engine: Engine
    prompt: list[int]
    drawing: Drawing
    body: ChatRequest
    trace: str


@contextmanager
def _answering(service: Service, order: _Order) -> Iterator[Tally]:
    """A place for the answer, its span, and its count."""
    with ExitStack() as stack:
        with _refusals(service):
            stack.enter_context(service.place(order.engine))
        stack.enter_context(service.spans.span("serve", order.trace, model=service.model))
        yield stack.enter_context(service.counts.answer(len(order.prompt)))


async def _whole(service: Service, order: _Order) -> dict[str, Any]:
    text = ""
    with _answering(service, order) as tally:
        async with aclosing(_parts(order, tally)) as parts:
            async for part in parts:
                if isinstance(part, Ended):
                    return Reply(service.model, service.version).whole(text, part)
                text += part
    raise AssertionError  # pragma: no cover - an answer ends with Ended or an error


async def _events(service: Service, order: _Order) -> AsyncGenerator[bytes, None]:
    reply = Reply(service.model, service.version)
    options = order.body.stream_options
    with _answering(service, order) as tally:
        yield reply.chunk({"role": "assistant", "content": ""})
        try:
            async with aclosing(_parts(order, tally, service.keep_alive_s)) as parts:
                async for part in parts:
                    if isinstance(part, Ended):
                        yield reply.chunk({}, part.reason)
                        if options and options.include_usage:
                            yield reply.usage_chunk(part)
                    else:
                        yield reply.chunk({"content": part}) if part else b": waiting\n\n"
        except Exception as error:  # the status is sent: all that is left is to say it inside the stream
            yield event({"error": problem_of(error).error})
            raise
        yield b"data: [DONE]\n\n"


async def _parts(order: _Order, tally: Tally, idle_s: float = 10.0) -> AsyncGenerator[str | Ended, None]:
    parts = answer(order.engine, order.prompt, order.drawing, order.body.stops, idle_s, tally.drawn)
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, Ended):
                tally.outcome = part.reason
            elif part:
                tally.said()
            yield part


async def _prepend(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for item in rest:
            yield item


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _refusals(service: Service) -> Iterator[None]:
    """Counts a request for an answer that cannot be begun."""
    try:
        yield
    except Exception as error:
        service.counts.not_begun(problem_of(error).status)
        raise


def _check_model(service: Service, name: str) -> None:
    if name not in {"", service.model}:
        raise Problem(404, f"There is no model {name!r} here, but {service.model!r}.", "model_not_found", "model")


def _tokens(engine: Engine, body: TokenizeRequest) -> list[int]:
    if body.messages is not None:
        return engine.render([message.plain() for message in body.messages], answer=body.add_generation_prompt)
    return engine.encode(body.prompt or "")
