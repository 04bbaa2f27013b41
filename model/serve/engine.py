"""The contract of an engine: texts to tokens and back, and answers to several prompts at once, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

End = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a prompt; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """How tokens are drawn: temperature 0 takes the likeliest; `seed` repeats an answer, whatever runs beside it."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Step:
    """Some more tokens of an answer (a closing control token not among them), and with the last step, how it ended."""

    tokens: tuple[int, ...]
    end: End | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine runs. `template` is `own` or `plain`, see `model.fitness`; `running` answers go at once."""

    engine: str
    device: str
    context_tokens: int
    template: str
    running: int


class Engine(Protocol):
    """Runs one model. All methods may be called from any thread, and none of them waits for the model."""

    info: EngineInfo

    @property
    def failed(self) -> bool:
        """Whether the engine broke, or was closed, and answers no more."""

    def render(self, messages: Sequence[ChatMessage], *, answer: bool = True) -> list[int]:
        """The tokens of a prompt by the chat template, with the opening of an answer. Raises BadPrompt."""

    def encode(self, text: str) -> list[int]:
        """The tokens of `text` alone; control tokens written in it stay plain text."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, control tokens left out; U+FFFD where bytes of a character are missing."""

    def start(self, key: int, prompt: Sequence[int], drawing: Drawing, deliver: Callable[[Step], None]) -> None:
        """Begins an answer under `key`, unique in this engine.

        `deliver` is called from the engine's own thread and must not block. The last step has an `end`, `abort` where
        the engine broke or was closed. `prompt` and `max_tokens` together must fit the context.
        """

    def cancel(self, key: int) -> None:
        """Ends an answer and frees its slot; nothing more is delivered. Unknown and ended keys are ignored."""

    def close(self) -> None:
        """Ends all answers with `abort` and gives back the memory. Waits for the engine's thread."""
