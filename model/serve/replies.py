"""The answers of the host as JSON, in OpenAI's shapes."""

from __future__ import annotations

import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from model.serve.answering import Ended
from model.serve.embedding_desk import Embedded, Vector


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class Reply:
    """Builds the parts of one answer; all carry the same id and time, and the version of the model."""

    model: str
    version: str
    id: str = field(default_factory=_new_id)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, ended: Ended) -> dict[str, Any]:
        """The answer in one piece."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": ended.reason}
        return self._head("chat.completion") | {"choices": [choice], "usage": usage(ended)}

    def chunk(self, delta: dict[str, str], reason: str | None = None) -> bytes:
        """One piece of a streamed answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event(self._head("chat.completion.chunk") | {"choices": [choice]})

    def usage_chunk(self, ended: Ended) -> bytes:
        """The piece that carries the counts."""
        return event(self._head("chat.completion.chunk") | {"choices": [], "usage": usage(ended)})

    def _head(self, kind: str) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return head | {"system_fingerprint": self.version}


def embeddings(model: str, version: str, embedded: Embedded, encoding: str) -> dict[str, Any]:
    """Vectors in OpenAI's shape, with what it has no words for: the model's version, and which texts were cut."""
    data = [
        {"object": "embedding", "index": place, "embedding": _encoded(vector, encoding)}
        for place, vector in enumerate(embedded.vectors)
    ]
    counts = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    head = {"object": "list", "model": model, "version": version, "truncated": embedded.cut}
    return head | {"data": data, "usage": counts}


def _encoded(vector: Vector, encoding: str) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(number) for number in vector]


def usage(ended: Ended) -> dict[str, int]:
    """The counts of an answer."""
    total = ended.prompt_tokens + ended.completion_tokens
    counts = {"prompt_tokens": ended.prompt_tokens, "completion_tokens": ended.completion_tokens}
    return counts | {"total_tokens": total}


def event(payload: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode(errors="replace") + b"\n\n"
