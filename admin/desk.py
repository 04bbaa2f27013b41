"""What the console works with: its stores, its clock, and how long things last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from admin.passwords import Passwords
from core.loop.ports import Accounts, Links, Sessions, Tokens, Trail
from core.loop.throttling import Throttle

if TYPE_CHECKING:
    from admin.provider import Provider

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Lasting:
    """A session ends after `idle_s` without a request, and `session_s` after its beginning whatever happens."""

    idle_s: float = 4 * HOUR_S
    session_s: float = 16 * HOUR_S
    link_s: float = DAY_S
    token_days: int = 90
    longest_token_days: int = 366


@dataclass(frozen=True, slots=True)
class Desk:
    """Handed to every page. `provider` is None where nobody signs in through one."""

    accounts: Accounts
    sessions: Sessions
    tokens: Tokens
    links: Links
    trail: Trail
    throttle: Throttle
    passwords: Passwords
    provider: Provider | None = None
    lasting: Lasting = Lasting()
    now: Callable[[], float] = time.time
