"""Translates a host's HTTP errors into core's, each with the setting to look at."""

from __future__ import annotations

import json
import re
from typing import Any

from core.chat.errors import HostError, HostRefused, HostUnavailable, PromptTooLong
from model.client.errors import Overloaded, UnknownModel
from model.client.timing import seconds_of

_ASKS_FOR_TIME = frozenset({429, 502, 503, 504})

_MAX_MESSAGE = 300

_CONTEXT = re.compile(r"(?:context length is|maximum context length of|context holds)\s+(\d+)")
_PROMPT = re.compile(r"(?:prompt has|resulted in|requested|passed|contains at least)\s+(\d+)")


def translate(status: int, body: str, url: str, retry_after: str | None = None, model: str = "") -> HostError:
    """The error for an answer with `status` and `body` from `url`; PromptTooLong carries the host's figures."""
    error = _error(body)
    message = str(error.get("message") or f"HTTP {status}")[:_MAX_MESSAGE]
    if status == 400 and _is_too_long(error, message):
        return PromptTooLong(_figure(error, "prompt_tokens", _PROMPT), _figure(error, "context_tokens", _CONTEXT))
    answered = f"The model host at {url} answered {status}: {message}"
    if status in _ASKS_FOR_TIME:
        return Overloaded(answered, seconds_of(retry_after), full=status == 429)
    if status >= 500:
        return HostUnavailable(answered)
    if status == 404:
        what = f"model {model!r}" if model else "such model"
        return UnknownModel(
            f"The model host at {url} knows no {what}, or is no OpenAI endpoint; check MODEL_URL and MODEL."
        )
    return HostRefused(_remedy(status, url) or f"The model host at {url} refused the request: {message}")


def _remedy(status: int, url: str) -> str:
    if 300 <= status < 400:
        return f"The model host at {url} redirects elsewhere; put the final address into MODEL_URL."
    if status in {401, 403}:
        return f"The model host at {url} does not accept the key; check MODEL_API_KEY."
    return ""


def _error(body: str) -> dict[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _is_too_long(error: dict[str, Any], message: str) -> bool:
    # vLLM has no code for it, only the sentence.
    return error.get("code") == "context_length_exceeded" or "maximum context length" in message


def _figure(error: dict[str, Any], name: str, pattern: re.Pattern[str]) -> int:
    if isinstance(error.get(name), int):
        return int(error[name])
    found = pattern.search(str(error.get("message", "")))
    return int(found[1]) if found else 0
