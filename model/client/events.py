"""Reads an answer's event stream: pure, from bytes to text and one proper end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from core.chat.errors import AnswerBroken
from core.chat.ports import Finish

# vLLM may end an aborted answer as HTTP 200 with finish_reason "abort" and [DONE]: only these two are success.
PROPER_ENDS = frozenset({"stop", "length"})
MAX_LINE_BYTES = 1_000_000


@dataclass(slots=True)
class AnswerReader:
    """Takes the stream as it arrives with `take`, until it is `done`, and says with `finish` how it ended."""

    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    fingerprint: str = ""
    done: bool = False
    _fault: AnswerBroken | None = None
    _rest: bytes = b""

    def take(self, arrived: bytes) -> str:
        """The text in what arrived, which may hold many lines and end within one.

        Nothing more is read after a fault, which `finish` raises: what was said before it counts.
        """
        *lines, self._rest = (self._rest + arrived).split(b"\n")
        texts: list[str] = []
        try:
            if len(self._rest) > MAX_LINE_BYTES:
                raise AnswerBroken(f"The host sent a line of more than {MAX_LINE_BYTES} bytes.")
            for line in lines:
                texts.append(self._take_line(line))
                if self.done:
                    break
        except AnswerBroken as error:
            self._fault, self.done = error, True
        return "".join(texts)

    def finish(self) -> Finish:
        """The end of a stream that has been read to its last line. Raises AnswerBroken."""
        if self._fault is not None:
            raise self._fault
        if not self.done:
            raise AnswerBroken("The host's answer ended without its closing mark.")
        if self.reason not in PROPER_ENDS:
            raise AnswerBroken(f"The host ended its answer with the reason {self.reason!r}.")
        return Finish(str(self.reason), self.prompt_tokens, self.completion_tokens)

    def _take_line(self, line: bytes) -> str:
        if not line.startswith(b"data:"):
            return ""  # comments keep the connection alive; names and ids of events carry nothing here
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
            return ""
        chunk = _chunk(data)
        if chunk.get("error"):
            raise AnswerBroken(f"The host broke off its answer: {_reason(chunk['error'])}")
        self.fingerprint = str(chunk.get("system_fingerprint") or self.fingerprint)
        self._take_usage(chunk.get("usage"))
        return self._take_choice(_first(chunk.get("choices")))

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
            self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)

    def _take_choice(self, choice: dict[str, Any]) -> str:
        if choice.get("finish_reason"):
            self.reason = str(choice["finish_reason"])
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else None
        return text if isinstance(text, str) else ""


def _chunk(data: bytes) -> dict[str, Any]:
    try:
        chunk = json.loads(data.decode(errors="replace"))
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
