"""`POST /v1/embeddings` in OpenAI's dialect: vectors of texts, whose dot product says how near they are in meaning."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from model.serve.asking import CLIENT_GONE, authorize, read_body, traceparent
from model.serve.bodies import EmbeddingRequest
from model.serve.disconnect import unless_gone
from model.serve.embedding_desk import EmbeddingDesk
from model.serve.problems import Problem
from model.serve.replies import embeddings
from model.serve.service import Embedding, Service


def install_embeddings(app: FastAPI, service: Service, api_key: str) -> None:
    """Adds the route to `app`."""

    @app.post("/v1/embeddings")
    async def embed(request: Request) -> Response:
        serving = service.embedding
        with service.counts.embedding() as tally, service.spans.span("embed", traceparent(request)):
            authorize(request, api_key)
            desk = serving.ready_desk()
            body = await read_body(request, EmbeddingRequest)
            _check(serving, desk, body)
            embedded = await unless_gone(request.receive, desk.embed(body.input))
            if embedded is None:
                return Response(status_code=CLIENT_GONE)
            tally.done(len(body.input), embedded.tokens)
        return JSONResponse(embeddings(serving.model, serving.version, embedded, body.encoding_format))


def embedder_cards(embedding: Embedding) -> list[dict[str, Any]]:
    """The embedding model as `/v1/models` lists it; none where none is ready."""
    if embedding.desk is None:
        return []
    info = embedding.desk.info
    card = {"id": embedding.model, "object": "model", "created": 0, "owned_by": "parley", "version": embedding.version}
    return [card | {"max_model_len": info.max_tokens, "dimensions": info.width}]


def _check(embedding: Embedding, desk: EmbeddingDesk, body: EmbeddingRequest) -> None:
    if body.model not in {"", embedding.model}:
        what = f"There is no embedding model {body.model!r} here, but {embedding.model!r}."
        raise Problem(404, what, "model_not_found", "model")
    if body.dimensions not in {None, desk.info.width}:
        raise Problem(400, f"dimensions: vectors here have {desk.info.width}.", "invalid_value", "dimensions")
