"""How long the client waits for a host, and how often it asks again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_token_s` holds from the request to the first text, `total_s` for the whole answer."""

    connect_s: float = 2.0
    first_token_s: float = 60.0
    between_tokens_s: float = 20.0
    total_s: float = 300.0
    ask_s: float = 10.0  # the small requests: models, tokenize


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """At most `tries` requests for one answer, with at most `wait_s` seconds spent between them in all."""

    tries: int = 3
    wait_s: float = 10.0
    first_pause_s: float = 0.25


def pause_before_retry(failures: int, retry_after: str | None, budget: RetryBudget) -> float:
    """Seconds to wait after the `failures`-th failure in a row: what the host asks for, else doubling with jitter."""
    asked = _seconds(retry_after)
    if asked is not None:
        return asked
    pause = budget.first_pause_s * 2.0 ** (failures - 1)
    return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret


def _seconds(retry_after: str | None) -> float | None:
    """RFC 9110, 10.2.3: a number of seconds or a date; None where it is neither."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until.tzinfo else None
