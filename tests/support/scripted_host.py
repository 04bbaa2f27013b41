"""A model host in memory that answers what a test tells it to: a working `ModelHost`, one token a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from core.chat.errors import HostError, PromptTooLong
from core.chat.interaction import PromptMessage, Sampling
from core.chat.ports import Finish, ModelInfo, Piece

MESSAGE_OVERHEAD = 4
PROMPT_OVERHEAD = 2


def echo(messages: Sequence[PromptMessage]) -> list[str]:
    """Repeats the question, word by word."""
    return [f"{word} " for word in f"you said: {messages[-1].content}".split(" ")]


@dataclass
class ScriptedHost:
    """Streams `reply(messages)`; after `fail_after` pieces raises `error`. `gate` holds back each piece if set.

    `answers_as` is the model that answers, where it is another than `describe` says.
    """

    reply: Callable[[Sequence[PromptMessage]], list[str]] = echo
    error: HostError | Exception | None = None
    fail_after: int = 0
    context_tokens: int = 1000
    counts_wrong_by: int = 0
    gate: asyncio.Semaphore | None = None
    answers_as: ModelInfo | None = None
    prompts: list[list[PromptMessage]] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    open_streams: int = 0

    async def describe(self) -> ModelInfo:
        return ModelInfo("scripted", "v1", self.context_tokens, MESSAGE_OVERHEAD, PROMPT_OVERHEAD, exact=True)

    async def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def stream(
        self, messages: Sequence[PromptMessage], sampling: Sampling, session: str, trace: str = ""
    ) -> AsyncIterator[ModelInfo | Piece | Finish]:
        self.prompts.append(list(messages))
        self.samplings.append(sampling)
        self.sessions.append(session)
        self.traces.append(trace)
        used = PROMPT_OVERHEAD + sum(len(m.content.split()) + MESSAGE_OVERHEAD for m in messages)
        if used + self.counts_wrong_by > self.context_tokens:
            raise PromptTooLong(used + self.counts_wrong_by, self.context_tokens)
        self.open_streams += 1
        try:
            if self.answers_as is not None:
                yield self.answers_as
            pieces = self.reply(messages)
            for number, piece in enumerate(pieces):
                self._fail_at(number)
                if self.gate is not None:
                    await self.gate.acquire()
                yield Piece(piece)
            self._fail_at(len(pieces))
            yield Finish("stop", used, len(pieces))
        finally:
            self.open_streams -= 1

    def _fail_at(self, number: int) -> None:
        if self.error is not None and number >= self.fail_after:
            raise self.error
