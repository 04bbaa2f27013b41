"""What is known of the way of each message: when it was said, asked of the model, first and last visible."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field

TOKENS = 40
END = "end."
_KEY = re.compile(r"trip(\d+)")


@dataclass(slots=True)
class Trip:
    """One message; times are `time.perf_counter` seconds, 0.0 until they come. `steps` counts what people see."""

    number: int
    said: float = 0.0
    asked: float = 0.0
    first_token: float = 0.0
    first_visible: float = 0.0
    steps: int = 0
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    def mark_said(self) -> None:
        """The message goes out now."""
        self.said = time.perf_counter()

    @property
    def question(self) -> str:
        """A question that names its trip."""
        return f"What is to be said of trip{self.number}, in forty words or fewer?"

    @property
    def pieces(self) -> list[str]:
        """The model's answer in tokens; the first one names the trip, so that each visible text does."""
        return [f"trip{self.number} ", *(f"word{index} " for index in range(TOKENS - 2)), END]

    @property
    def to_host_ms(self) -> float:
        """From the wire to the model host."""
        return (self.asked - self.said) * 1000

    @property
    def to_eyes_ms(self) -> float:
        """From the model's first token to the first visible text."""
        return (self.first_visible - self.first_token) * 1000

    @property
    def added_ms(self) -> float:
        """What the way adds in all."""
        return self.to_host_ms + self.to_eyes_ms


class Trips:
    """All trips that are under way, found by the words that name them."""

    def __init__(self) -> None:
        self._by_number: dict[int, Trip] = {}
        self._last = 0

    def begin(self) -> Trip:
        """A new trip."""
        self._last += 1
        trip = self._by_number[self._last] = Trip(self._last)
        return trip

    def end(self, trip: Trip) -> None:
        """Forgets a trip that is over."""
        self._by_number.pop(trip.number, None)

    def named_in(self, text: str) -> Trip | None:
        """The trip that `text` names, while it is under way."""
        found = _KEY.search(text)
        return self._by_number.get(int(found[1])) if found else None

    def seen(self, text: str) -> None:
        """A platform was given `text` to show."""
        trip = self.named_in(text)
        if trip is None:
            return
        trip.steps += 1
        trip.first_visible = trip.first_visible or time.perf_counter()
        if text.rstrip().endswith(END):
            trip.whole.set()
