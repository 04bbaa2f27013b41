"""How often and how long a call to Discord is tried, where the SDK itself gives up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import discord
import structlog

from bots.discord.errors import wrong_token
from core.chat.errors import DeliveryFailed

_log = structlog.get_logger(__name__)
T = TypeVar("T")

PASSING = (aiohttp.ClientError, OSError, TimeoutError)


def is_passing(error: Exception) -> bool:
    """Whether another try may succeed: Discord is away, overloaded, or asks to wait."""
    if isinstance(error, discord.HTTPException):
        return error.status == 429 or error.status >= 500
    return isinstance(error, (discord.RateLimited, *PASSING))


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds of one call: its tries, the pauses between them (doubling), and the seconds that one try may take.

    A try includes the SDK's own waiting for a rate limit and its retries of 500, 502 and 504.
    """

    tries: int = 5
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    try_s: float = 60.0


class Calls:
    """Makes calls with patience. A global rate limit holds all of them, any other only the call it met."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._held_until = 0.0

    async def make(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, which must be safe to repeat.

        Raises:
            DeliveryFailed: Discord refused for good, or all tries are used up; `what` names the call.
        """
        for number in range(1, self._patience.tries + 1):
            await asyncio.sleep(max(0.0, self._held_until - time.monotonic()))
            try:
                async with asyncio.timeout(self._patience.try_s):
                    return await call()
            except (discord.DiscordException, *PASSING) as error:
                pause_s = self._pause_after(error, what, number)
                if number == self._patience.tries or pause_s > self._patience.longest_pause_s:
                    raise DeliveryFailed(f"Discord does not take {what} now ({_name(error)}).") from error
                _log.info("discord_call_tried_again", call=what, reason=_name(error), pause_s=round(pause_s, 2))
            await asyncio.sleep(pause_s)
        raise DeliveryFailed(f"No try was made at {what}: Patience.tries is {self._patience.tries}.")

    def _pause_after(self, error: Exception, what: str, number: int) -> float:
        """Seconds until the next try; raises DeliveryFailed where none can succeed."""
        backoff_s = self._patience.first_pause_s * float(2 ** (number - 1))
        if isinstance(error, PASSING):
            return backoff_s
        if isinstance(error, discord.RateLimited):
            return float(error.retry_after)
        if isinstance(error, discord.HTTPException):
            if error.status == 429:
                # The SDK retries a 429 only when a `Via` header says that Discord, not its shield, has sent it.
                return self._after_limit(error)
            if error.status >= 500:
                return backoff_s
        if isinstance(error, discord.LoginFailure) or getattr(error, "status", 0) == 401:
            raise DeliveryFailed(str(wrong_token()), retryable=False) from error
        raise DeliveryFailed(f"Discord refuses {what} ({_name(error)}).", retryable=False) from error

    def _after_limit(self, error: discord.HTTPException) -> float:
        headers = error.response.headers
        try:
            pause_s = max(0.0, float(headers.get("Retry-After", "1")))
        except ValueError:
            pause_s = 1.0
        if headers.get("X-RateLimit-Global"):
            self._held_until = time.monotonic() + pause_s
        return pause_s


def _name(error: Exception) -> str:
    if isinstance(error, discord.HTTPException):
        return f"HTTP {error.status}, code {error.code}"
    return type(error).__name__
