"""All scenarios in two sizes: short for `make test`; long, with the figures of the promise, for `make faults`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tests.faults.scenarios import platforms, processes, servers
from tests.faults.scenarios.theatre import Report, Size, Theatre

BOTH = ("slack", "discord")


@dataclass(frozen=True, slots=True)
class Scenario:
    """`number` is that of the promise; one number may have several scenarios. `brief` are the platforms of the short
    form where those of the long one would be too many."""

    number: int
    name: str
    play: Callable[[Theatre, Size], Awaitable[Report]]
    short: Size
    long: Size
    platforms: Sequence[str] = BOTH
    brief: Sequence[str] = ()

    def id(self, platform: str) -> str:
        return f"{self.number:02}-{self.name}-{platform}"


def _at_points() -> list[Scenario]:
    """Kills and freezes at each point; the short forms take turns at the platforms."""
    made = []
    for turn, point in enumerate(processes.POINTS):
        killed = partial(processes.killed_at, point=point)
        frozen = partial(processes.frozen_at, point=point)
        one, other = BOTH[turn % 2], BOTH[1 - turn % 2]
        short, long = Size(4, 2, harms=2), Size(4, 2, harms=50)
        made.append(Scenario(2, f"killed-at-{point}", killed, short, long, brief=(one,)))
        made.append(Scenario(3, f"frozen-at-{point}", frozen, Size(4, 1), Size(4, 1, harms=25), brief=(other,)))
    return made


SCENARIOS = (
    Scenario(1, "workers-killed", processes.workers_killed, Size(8, 10, 0.3), Size(12, 100, 0.6)),
    Scenario(1, "killed-mid-answer", processes.killed_mid_answer, Size(4, 1), Size(8, 25)),
    *_at_points(),
    Scenario(4, "gateways-killed", processes.gateways_killed, Size(6, 10, 0.4), Size(8, 100, 0.7)),
    Scenario(4, "killed-before-the-write", processes.killed_before_the_write, Size(6, 2), Size(12, 10), ("slack",)),
    Scenario(5, "server-killed", servers.server_killed, Size(6, 12, 0.3, span_s=1.0), Size(12, 200, 0.3, span_s=3.0)),
    Scenario(6, "server-stopped", servers.server_stopped, Size(6, 2, span_s=2.0), Size(12, 10, span_s=20.0)),
    Scenario(7, "packets-reset", servers.packets_reset, Size(6, 6), Size(12, 100)),
    Scenario(8, "replies-lost", servers.replies_lost, Size(6, 6), Size(12, 100)),
    Scenario(9, "server-full", servers.server_full, Size(6, 2), Size(12, 10, span_s=20.0)),
    Scenario(14, "delivered-again", platforms.delivered_again, Size(6, 4), Size(12, 100)),
    Scenario(14, "delivered-late", platforms.delivered_late, Size(6, 2), Size(12, 100)),
    Scenario(17, "responses-lost", platforms.responses_lost, Size(6, 3, harms=6), Size(12, 100, harms=200)),
)
