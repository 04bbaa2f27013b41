"""What the bench finds, as plain figures: they make the table, the picture and the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Latency:
    """The time that the way of a message adds, in milliseconds.

    `to_host` runs from the message on the wire to the request at the model host, `to_eyes` from the model's first token
    to the first visible text, `added` is both together. `steps` is how often people saw a text appear or grow.
    """

    platform: str
    side: str
    messages: int
    to_host_p50: float
    to_host_p99: float
    to_eyes_p50: float
    to_eyes_p99: float
    added_p50: float
    added_p99: float
    steps: float


@dataclass(frozen=True, slots=True)
class Load:
    """What one process on one core answers.

    `rate` is messages a second as they came out, `busy` the share of its core that it used, `cpu_ms` its CPU time a
    message, `beside_ms` that of the gateway and the mailbox's server.
    """

    platform: str
    side: str
    conversations: int
    rate: float
    busy: float
    cpu_ms: float
    beside_ms: float
    steps: float

    @property
    def core_rate(self) -> float:
        """Messages a second that a whole core would answer."""
        return 1000.0 / self.cpu_ms


@dataclass(frozen=True, slots=True)
class Stored:
    """What a message costs in the mailbox beside `turns` stored turns; times in milliseconds a message.

    `held` is how many of them the conversation itself holds, `bytes_per_turn` what the server keeps for each of all.
    """

    series: str
    turns: int
    held: int
    accept_ms: float
    head_ms: float
    commit_ms: float
    message_ms: float
    bytes_per_turn: float


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, and what was reached."""

    name: str
    reached: str
    passed: bool


@dataclass(slots=True)
class Figures:
    """All figures of a run."""

    about: dict[str, str]
    latencies: list[Latency] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)

    def latency(self, platform: str, side: str) -> Latency:
        """The latency of one side."""
        return next(row for row in self.latencies if (row.platform, row.side) == (platform, side))

    def load(self, platform: str, side: str, conversations: int) -> Load:
        """The load of one side."""
        key = (platform, side, conversations)
        return next(row for row in self.loads if (row.platform, row.side, row.conversations) == key)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def middle(values: Sequence[float]) -> float:
    """The median."""
    return median(values)
