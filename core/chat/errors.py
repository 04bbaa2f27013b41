"""Everything that can go wrong in core and at its ports.

ParleyError
├── BadConversationId      a conversation id that does not parse
├── BadEntry               a stored entry that cannot be read
├── Fenced                 another worker holds the conversation now
├── StoreUnavailable       the mailbox or the ledger cannot be reached, or refuses to write
├── DeliveryFailed         a platform did not take a post
└── HostError              the model host
    ├── HostUnavailable    not reachable, loading, or overloaded: worth another try
    ├── HostRefused        the request was refused: another try would be refused as well
    │   └── PromptTooLong  the prompt does not fit the context
    └── AnswerBroken       the stream ended without a proper end, or stalled
"""

from __future__ import annotations


class ParleyError(Exception):
    """The root of all errors that Parley raises on purpose."""


class BadConversationId(ParleyError):
    """A text that names no conversation."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not a conversation id; expected platform:workspace:channel:thread.")


class BadEntry(ParleyError):
    """A stored entry that this version cannot read."""


class Fenced(ParleyError):
    """The claim's epoch is over: another worker took the conversation. Nothing was written."""


class StoreUnavailable(ParleyError):
    """The store cannot be reached, or refuses to write; nothing was acknowledged."""


class DeliveryFailed(ParleyError):
    """The platform did not take a post.

    `retryable` is false where no further try can succeed: the channel is gone, or the bot may not write there.
    """

    def __init__(self, reason: str, *, retryable: bool = True) -> None:
        super().__init__(reason)
        self.retryable = retryable


class HostError(ParleyError):
    """The model host did not give an answer."""


class HostUnavailable(HostError):
    """The host is not reachable, still loading, or overloaded."""


class HostRefused(HostError):
    """The host refused the request itself."""


class PromptTooLong(HostRefused):
    """The prompt does not fit the model's context; figures in tokens, 0 where the host gave none."""

    def __init__(self, prompt_tokens: int, context_tokens: int) -> None:
        super().__init__(f"The prompt has {prompt_tokens} tokens, the context holds {context_tokens}.")
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class AnswerBroken(HostError):
    """The stream of an answer stalled, was aborted, or ended without its closing mark."""
