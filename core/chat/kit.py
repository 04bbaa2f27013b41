"""What an answer is made with: the parts that are put together once, and one attempt's own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from core.chat.errors import ParleyError
from core.chat.failpoints import Reach, passing
from core.chat.holding import Halt, Reason
from core.chat.interaction import Sampling
from core.chat.limits import Limits
from core.chat.persona import Persona
from core.chat.ports import Courier, Meter, ModelHost, Tracer
from core.chat.quiet import NO_METER, NO_TRACER


@dataclass(frozen=True, slots=True)
class Answerer:
    """All that an answer needs, put together once. `sampling.seed` is replaced by one that the turn id gives."""

    host: ModelHost
    couriers: Mapping[str, Courier]
    persona: Persona
    sampling: Sampling
    worker: str
    now: Callable[[], float] = time.time
    limits: Limits | None = None
    meter: Meter = NO_METER
    tracer: Tracer = NO_TRACER
    reach: Reach = passing


class Interrupted(ParleyError):
    """The answer was given up half way and must not be committed as it is."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"The answer was interrupted: {reason}.")
        self.reason = reason


def _always() -> None:
    """Nobody else could be answering."""


async def _at_once() -> None:
    """Nothing has to be noted."""


@dataclass(slots=True)
class Attempt:
    """One try at answering a message.

    `halt` tells it to end. `intend` is awaited before anything is visible, `check` called before each visible step;
    both raise Fenced. `posts` are the ids of what this attempt has posted, also when it failed.
    """

    halt: Halt = field(default_factory=Halt)
    intend: Callable[[], Awaitable[None]] = _at_once
    check: Callable[[], None] = _always
    posts: tuple[str, ...] = ()
