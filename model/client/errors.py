"""What the client tells apart beside core's errors: is a host gone, does it ask for time, or is it stuck?

HostUnavailable
├── Unreachable   no connection, or it was lost before anything came back
└── Overloaded    the host asks for time: full, loading, or a proxy without a host behind it
HostRefused
└── UnknownModel  the host does not serve the model that it was asked for
AnswerBroken
└── Stalled       nothing came within its time
"""

from __future__ import annotations

from core.chat.errors import AnswerBroken, HostRefused, HostUnavailable


class Unreachable(HostUnavailable):
    """No connection to the host, or it was lost before anything came back."""


class Overloaded(HostUnavailable):
    """The host asks for time: `retry_after_s` seconds, None where it does not say how long."""

    def __init__(self, reason: str, retry_after_s: float | None, *, full: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.full = full  # well, and busy with others' answers


class UnknownModel(HostRefused):
    """The host does not serve the model that it was asked for."""


class Stalled(AnswerBroken):
    """Nothing came within its time."""
