"""All scenarios in two sizes: short for `make test`; long, with the figures of the promise, for `make faults`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tests.faults.scenarios import hosts, log_database, people, platforms, processes, servers
from tests.faults.scenarios.theatre import Report, Size, Theatre

SLACK, DISCORD, BOTH = ("slack",), ("discord",), ("slack", "discord")


@dataclass(frozen=True, slots=True)
class Scenario:
    """`number` is that of the promise; one number may have several scenarios.

    `brief` are the platforms of the short form, where those of the long one would be too many.
    """

    number: int
    name: str
    play: Callable[[Theatre, Size], Awaitable[Report]]
    short: Size
    long: Size
    platforms: Sequence[str] = BOTH
    brief: Sequence[str] | None = None

    @property
    def short_platforms(self) -> Sequence[str]:
        return self.platforms if self.brief is None else self.brief

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
    Scenario(4, "killed-before-the-write", processes.killed_before_the_write, Size(6, 2), Size(12, 10), SLACK),
    Scenario(5, "server-killed", servers.server_killed, Size(6, 12, 0.3, span_s=1.0), Size(12, 200, 0.3, span_s=3.0)),
    Scenario(6, "server-stopped", servers.server_stopped, Size(6, 2, span_s=2.0), Size(12, 10, span_s=20.0)),
    Scenario(7, "packets-reset", servers.packets_reset, Size(6, 6), Size(12, 100)),
    Scenario(8, "replies-lost", servers.replies_lost, Size(6, 6), Size(12, 100)),
    Scenario(9, "server-full", servers.server_full, Size(6, 2), Size(12, 10, span_s=20.0)),
    Scenario(10, "failed-over", servers.failed_over, Size(6, 10, 0.2), Size(12, 100, 0.2)),
    Scenario(
        11,
        "database-killed",
        log_database.database_killed,
        Size(6, 12, 0.3),
        Size(12, 200, 0.3, span_s=3.0),
        BOTH,
        SLACK,
    ),
    Scenario(
        12, "database-down", log_database.database_down, Size(6, 1), Size(10, 1, 0.5, span_s=600.0), BOTH, DISCORD
    ),
    Scenario(
        13,
        "database-locked",
        log_database.database_locked,
        Size(6, 2, span_s=6.0),
        Size(12, 10, span_s=30.0),
        BOTH,
        SLACK,
    ),
    Scenario(14, "delivered-again", platforms.delivered_again, Size(6, 4), Size(12, 100)),
    Scenario(14, "delivered-late", platforms.delivered_late, Size(6, 2), Size(12, 100)),
    Scenario(15, "out-of-reach", platforms.out_of_reach, Size(6, 2), Size(12, 20, span_s=60.0)),
    Scenario(16, "session-invalid", platforms.session_invalid, Size(6, 1), Size(12, 2, harms=25), DISCORD),
    Scenario(17, "responses-lost", platforms.responses_lost, Size(6, 3, harms=6), Size(12, 100, harms=200)),
    Scenario(18, "limited", platforms.limited, Size(4, 1, span_s=4.0), Size(4, 1, span_s=300.0)),
    Scenario(19, "host-falters", hosts.host_falters, Size(6, 4), Size(12, 100)),
    Scenario(19, "host-stalls", hosts.host_stalls, Size(4, 1), Size(12, 1), BOTH, ()),
    Scenario(20, "one-host-dies", hosts.one_host_dies, Size(6, 1), Size(60, 1), BOTH, SLACK),
    Scenario(21, "deleted-mid-answer", people.deleted_mid_answer, Size(4, 1), Size(24, 1)),
    Scenario(21, "edited-mid-answer", people.edited_mid_answer, Size(4, 1), Size(24, 1)),
    Scenario(21, "stopped-mid-answer", people.stopped_mid_answer, Size(4, 1), Size(24, 1)),
    Scenario(22, "one-floods", people.one_floods, Size(20, 1, harms=60), Size(50, 1, harms=1000), BOTH, SLACK),
    Scenario(23, "monsters", people.monsters, Size(4, 3), Size(12, 20)),
    Scenario(24, "canaries", people.canaries, Size(12, 4, 0.0), Size(50, 40, 0.0), BOTH, DISCORD),
)
