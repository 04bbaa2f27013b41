"""Everything that can go wrong in the model host.

ServeError
├── HostStartError   the host cannot start; one line that names the setting and the remedy
├── BadPrompt        the chat template does not take these messages
├── ContextOverflow  the prompt leaves no room for an answer
├── TooManyTexts     more texts wait to be embedded than may
└── EngineFailed     the engine broke while it answered
"""

from __future__ import annotations


class ServeError(Exception):
    """The root of the model host's errors."""


class HostStartError(ServeError):
    """The host cannot start."""


class BadPrompt(ServeError):
    """The chat template does not take these messages."""


class ContextOverflow(ServeError):
    """The prompt leaves no room for an answer; figures in tokens."""

    def __init__(self, prompt_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"This model's maximum context length is {context_tokens} tokens. "
            f"However, your prompt has {prompt_tokens} tokens. Please shorten it."
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class TooManyTexts(ServeError):
    """More texts would wait to be embedded than `limit`."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"More than {limit:,} texts are waiting to be embedded; ask again later, or for fewer.")
        self.limit = limit


class EngineFailed(ServeError):
    """The engine broke while it answered."""
