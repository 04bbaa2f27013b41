"""What can go wrong at the console's own doors; what its stores refuse is in `core/loop/errors.py`.

ConsoleError (a ParleyError)
├── Refused           somebody may not do this, or not now; has an HTTP status
└── ProviderFailed    the OIDC provider did not say who somebody is
"""

from __future__ import annotations

from collections.abc import Mapping

from core.chat.errors import ParleyError
from core.loop.errors import AccessError, BadName, BadPassword, NotFound


class ConsoleError(ParleyError):
    """The root of the console's own errors; the text is for the person."""


class Refused(ConsoleError):
    """Not allowed, or not now."""

    def __init__(self, status: int, line: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(line)
        self.status = status
        self.headers = dict(headers or {})


class ProviderFailed(ConsoleError):
    """Signing in through the provider failed. `reason` is for the operator's log, the text for the person."""

    def __init__(self, reason: str, line: str = "") -> None:
        super().__init__(line or "Signing in through the provider did not work. Please try again.")
        self.reason = reason


def status_of(error: AccessError) -> int:
    """The HTTP status that says what `error` says."""
    if isinstance(error, NotFound):
        return 404
    return 422 if isinstance(error, BadName | BadPassword) else 409
