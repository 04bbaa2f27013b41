"""A meter that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.chat.interaction import Interaction


@dataclass
class CountingMeter:
    """Meter of `core.chat.ports`, as lists that a test can read."""

    receipts: list[tuple[str, str]] = field(default_factory=list)
    answers: list[Interaction] = field(default_factory=list)
    takeovers: list[str] = field(default_factory=list)
    fences: list[str] = field(default_factory=list)
    limited: list[tuple[str, str]] = field(default_factory=list)
    missed: list[tuple[str, int]] = field(default_factory=list)
    rows: list[tuple[int, float]] = field(default_factory=list)

    def received(self, platform: str, receipt: str) -> None:
        self.receipts.append((platform, receipt))

    def answered(self, interaction: Interaction) -> None:
        self.answers.append(interaction)

    def taken_over(self, platform: str) -> None:
        self.takeovers.append(platform)

    def fenced(self, platform: str) -> None:
        self.fences.append(platform)

    def platform_limited(self, platform: str, method: str) -> None:
        self.limited.append((platform, method))

    def backfilled(self, platform: str, messages: int) -> None:
        self.missed.append((platform, messages))

    def logged(self, rows: int, lag_s: float) -> None:
        self.rows.append((rows, lag_s))
