"""Reads an answer's event stream: pure, from lines of text to pieces and one proper end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from core.chat.errors import AnswerBroken
from core.chat.ports import Finish, Piece

# vLLM may end an aborted answer as HTTP 200 with finish_reason "abort" and [DONE]: only these two are success.
PROPER_ENDS = frozenset({"stop", "length"})


@dataclass(slots=True)
class AnswerReader:
    """Takes the stream line by line with `take`, and says with `finish` how it ended."""

    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    fingerprint: str = ""
    done: bool = False

    def take(self, line: str) -> Piece | None:
        """The text in one line of the stream, if it holds any. Raises AnswerBroken."""
        if not line.startswith("data:"):
            return None  # comments keep the connection alive; names and ids of events carry nothing here
        data = line[5:].strip()
        if data == "[DONE]":
            self.done = True
            return None
        chunk = _chunk(data)
        if chunk.get("error"):
            raise AnswerBroken(f"The host broke off its answer: {_reason(chunk['error'])}")
        self.fingerprint = str(chunk.get("system_fingerprint") or self.fingerprint)
        self._take_usage(chunk.get("usage"))
        return self._take_choice(_first(chunk.get("choices")))

    def finish(self) -> Finish:
        """The end of a stream that has been read to its last line. Raises AnswerBroken."""
        if not self.done:
            raise AnswerBroken("The host's answer ended without its closing mark.")
        if self.reason not in PROPER_ENDS:
            raise AnswerBroken(f"The host ended its answer with the reason {self.reason!r}.")
        return Finish(str(self.reason), self.prompt_tokens, self.completion_tokens)

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
            self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)

    def _take_choice(self, choice: dict[str, Any]) -> Piece | None:
        if choice.get("finish_reason"):
            self.reason = str(choice["finish_reason"])
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else None
        return Piece(text) if text and isinstance(text, str) else None


def _chunk(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        raise AnswerBroken("The host sent a line that is no JSON object.")
    return chunk


def _first(choices: Any) -> dict[str, Any]:
    """The first choice; empty in a chunk that carries counts only, or something that we do not know."""
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _count(tokens: Any, otherwise: int | None) -> int | None:
    return tokens if isinstance(tokens, int) and tokens >= 0 else otherwise


def _reason(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)
