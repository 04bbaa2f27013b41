"""A meter and a tracer for when nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.chat.interaction import Interaction
from core.chat.ports import Meter, Tracer


class _NoMeter:
    def received(self, platform: str, receipt: str) -> None:
        """Not counted."""

    def answered(self, interaction: Interaction) -> None:
        """Not counted."""

    def taken_over(self, platform: str) -> None:
        """Not counted."""

    def fenced(self, platform: str) -> None:
        """Not counted."""

    def platform_limited(self, platform: str, method: str) -> None:
        """Not counted."""

    def backfilled(self, platform: str, messages: int) -> None:
        """Not counted."""

    def logged(self, rows: int, lag_s: float) -> None:
        """Not counted."""


class _NoTracer:
    @contextmanager
    def span(self, name: str, parent: str = "", **attributes: str | float) -> Iterator[str]:
        """Passes the parent on, so that a trace that began elsewhere is not cut here."""
        yield parent


NO_METER: Meter = _NoMeter()
NO_TRACER: Tracer = _NoTracer()
