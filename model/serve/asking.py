"""What all of the host's requests have in common: the key, a body of bounded size, the trace that they belong to."""

from __future__ import annotations

import hmac
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel

from model.serve.problems import Problem

MAX_BODY_BYTES = 4 * 1024 * 1024
CLIENT_GONE = 499  # nobody reads it; the access log shows it

Body = TypeVar("Body", bound=BaseModel)


def authorize(request: Request, api_key: str) -> None:
    """Lets a request pass that brings `api_key`, where there is one. Raises Problem."""
    if not api_key:
        return
    given = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {api_key}".encode()):
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "Incorrect API key provided; check MODEL_API_KEY.", "invalid_api_key", headers=headers)


async def read_body(request: Request, kind: type[Body]) -> Body:
    """The body as a `kind`. Raises Problem where it is too large, ValidationError where it is none."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY_BYTES:
            raise Problem(413, f"The request is larger than {MAX_BODY_BYTES:,} bytes.", "too_large")
    return kind.model_validate_json(bytes(raw))


def traceparent(request: Request) -> str:
    """The trace that the request belongs to; "" where it names none."""
    return request.headers.get("traceparent", "")
