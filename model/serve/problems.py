"""Errors as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}` with every status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from model.serve.errors import BadPrompt, ContextOverflow, TooManyTexts


class Problem(Exception):
    """A request that gets no answer."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        figures: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
        self.error: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
        self.error |= figures or {}

    def response(self) -> JSONResponse:
        """The problem as the client gets it."""
        return JSONResponse({"error": self.error}, self.status, self.headers)


def problem_of(error: Exception) -> Problem:
    """Translates an error of the host."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ContextOverflow):
        figures = {"prompt_tokens": error.prompt_tokens, "context_tokens": error.context_tokens}
        return Problem(400, str(error), "context_length_exceeded", "messages", figures=figures)
    if isinstance(error, ValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail), headers=error.headers)
    return _of_engine(error)


def install_problems(app: FastAPI) -> None:
    """Lets every error of `app` leave as a problem."""

    async def respond(_: Request, error: Exception) -> JSONResponse:
        return problem_of(error).response()

    for kind in (Problem, ContextOverflow, BadPrompt, TooManyTexts, ValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, respond)


def _of_engine(error: Exception) -> Problem:
    if isinstance(error, BadPrompt):
        return Problem(400, str(error), "invalid_prompt", "messages")
    if isinstance(error, TooManyTexts):
        return Problem(429, str(error), "too_many_waiting", headers={"Retry-After": "1"})
    # What happened inside is for the log, not for clients.
    return Problem(500, "Something went wrong in the model host; its log says what.", "internal_error")


def _invalid(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(place) for place in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error" and not where and ":" in message:
        where = message.partition(":")[0]  # raised by a check of several fields, which names the first
        return Problem(400, message, "invalid_value", where)
    return Problem(400, f"{where}: {message}" if where else message, "invalid_value", where or None)
