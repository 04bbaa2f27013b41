"""The requests that the host takes, checked: what would change the answer and is not ours to do is refused by name."""

from __future__ import annotations

import secrets
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from model.serve.engine import ChatMessage, Drawing

_UNBOUNDED = 2**31 - 1
MAX_TEXTS = 2048  # to embed with one request, as at OpenAI


class Part(BaseModel):
    """A part of a message's content; only text is taken."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message as OpenAI's clients send it. Other fields (such as `name`) are ignored."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    def plain(self) -> ChatMessage:
        """The message as engines take it."""
        role = "system" if self.role == "developer" else self.role
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return ChatMessage(role, text)


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """`POST /v1/chat/completions`."""

    model_config = ConfigDict(extra="allow")

    model: str = ""
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None

    @model_validator(mode="after")
    def _only_what_we_do(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            if name in _NEUTRAL and value not in _NEUTRAL[name]:
                raise ValueError(f"{name}: this host does not do that; leave it out")
        if len(self.stops) > 4:
            raise ValueError("stop: at most 4 strings")
        return self

    @property
    def stops(self) -> list[str]:
        """The stop strings, empty ones left out."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [stop for stop in stops if stop]

    def drawing(self) -> Drawing:
        """How to draw tokens; OpenAI's defaults, and a seed of its own where none is given."""
        return Drawing(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens or _UNBOUNDED,
            seed=secrets.randbits(32) if self.seed is None else self.seed % 2**63,
        )


class TokenizeRequest(BaseModel):
    """`POST /tokenize` in vLLM's shape: either `prompt` or `messages`."""

    model: str = ""
    prompt: str | None = None
    messages: list[Message] | None = None
    add_generation_prompt: bool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("prompt: give either prompt or messages")
        return self


class EmbeddingRequest(BaseModel):
    """`POST /v1/embeddings`: one text or a list of them."""

    model: str = ""
    input: list[str] = Field(min_length=1, max_length=MAX_TEXTS)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        if isinstance(given, str):
            return [given]
        if isinstance(given, list) and any(isinstance(item, int | list) for item in given):
            raise ValueError("this host embeds texts, not tokens")
        return given

    @field_validator("input")
    @classmethod
    def _none_is_empty(cls, texts: list[str]) -> list[str]:
        for place, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"the text at {place} is empty")
        return texts


# Fields that would change the answer, with the values that change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "echo": (None, False),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "top_k": (None, -1, 0),
    "min_p": (None, 0),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
}
