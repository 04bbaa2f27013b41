"""How long the client waits for a host, how often it asks again, and when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# A host that asks for more time than this is asked again sooner: a slip of its clock must not shut it out for hours.
MAX_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_token_s` holds from the request to the first text, `total_s` for the whole answer."""

    connect_s: float = 2.0
    first_token_s: float = 60.0
    between_tokens_s: float = 20.0
    total_s: float = 300.0
    ask_s: float = 10.0  # the small requests: models, tokenize


@dataclass(frozen=True, slots=True)
class Retries:
    """At most `tries` requests for one answer, which waits at most `wait_s` seconds for hosts that are away.

    Over all answers, at most `share` of them may be asked for again, and `per_minute` more: when hosts fail, asking
    again and again is what keeps them from coming back.
    """

    tries: int = 3
    wait_s: float = 10.0
    share: float = 0.2
    per_minute: float = 6.0
    burst: float = 10.0


class RetryBudget:
    """The account of retries that all answers share: each answer pays `share` in, time pays in, a retry takes 1."""

    def __init__(self, retries: Retries, clock: Callable[[], float] = time.monotonic) -> None:
        self._retries = retries
        self._clock = clock
        self._balance = retries.burst
        self._paid_at = clock()

    def asked(self) -> None:
        """An answer was asked for, for the first time."""
        self._pay(self._retries.share)

    def spend(self) -> bool:
        """Whether one more retry may be made; it is charged."""
        now = self._clock()
        self._pay((now - self._paid_at) * self._retries.per_minute / 60.0)
        self._paid_at = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True

    def _pay(self, amount: float) -> None:
        self._balance = min(self._retries.burst, self._balance + amount)


def seconds_of(retry_after: str | None, now: datetime | None = None) -> float | None:
    """The wait in a Retry-After header, 0 to 60 s; None where there is none. RFC 9110, 10.2.3: seconds or a date."""
    if not retry_after:
        return None
    try:
        return _bounded(float(retry_after))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    # A date in "-0000" comes without a zone; HTTP knows GMT only.
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return _bounded((until - (now or datetime.now(UTC))).total_seconds())


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), MAX_RETRY_AFTER_S)
