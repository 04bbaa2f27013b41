"""The goals, and the figures as tables that a person can read; the same text stands in docs/bench.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.figures import Figures, Goal, Load, Stored
from bench.load import CONVERSATIONS
from bench.stored import IN_ONE, OVER_ALL

MOST_ADDED_MS = 5.0
LEAST_SHARE = 0.8
FLAT = 1.25  # the dearest message may cost so many times the cheapest: what medians on a busy machine differ by
# From so many turns on a conversation's prompt is full; before that each turn is more to send to the model.
FULL_TURNS = 1_000
MARKS = ("<!-- figures -->", "<!-- end of figures -->")
_PLATFORMS = ("slack", "discord")
_SIDES = ("parley", "floor")


def goals_of(figures: Figures) -> list[Goal]:
    """All goals for which there are figures."""
    return [*_latency_goals(figures), *_load_goals(figures), *_flat_goals(figures)]


def _latency_goals(figures: Figures) -> Iterator[Goal]:
    for platform in _PLATFORMS:
        ours, floor = (figures.latency(platform, side).added_p50 for side in _SIDES)
        name = f"{platform}: added time at most {MOST_ADDED_MS:g} ms above the floor (p50)"
        yield Goal(name, f"{ours - floor:.1f} ms", passed=ours - floor <= MOST_ADDED_MS)


def _load_goals(figures: Figures) -> Iterator[Goal]:
    for platform in _PLATFORMS:
        for conversations in CONVERSATIONS:
            ours, floor = (figures.load(platform, side, conversations) for side in _SIDES)
            share = share_of(ours, floor)
            people = "1 conversation" if conversations == 1 else f"{conversations:,} conversations"
            name = f"{platform}: at least {LEAST_SHARE:g} of the floor's throughput, {people}"
            yield Goal(name, f"{share:.2f}", passed=share >= LEAST_SHARE)


def share_of(ours: Load, floor: Load) -> float:
    """Our throughput as a share of the floor's, by messages that came out and by the CPU they took: the lesser.

    A single person waits for each answer, and the core is idle most of the time: there only what came out counts.
    """
    came_out = ours.rate / floor.rate
    return came_out if ours.conversations == 1 else min(came_out, ours.core_rate / floor.core_rate)


def _flat_goals(figures: Figures) -> Iterator[Goal]:
    over_all = [row for row in figures.stored if row.series == OVER_ALL]
    full = [row for row in figures.stored if row.series == IN_ONE and row.turns >= FULL_TURNS]
    for rows, where in ((over_all, "in all"), (full, "in one conversation")):
        costs = [row.message_ms for row in rows]
        name = f"mailbox: cost of a message flat from {rows[0].turns:,} to {rows[-1].turns:,} turns {where}"
        yield Goal(name, f"{max(costs) / min(costs):.2f} x", passed=max(costs) / min(costs) <= FLAT)
    for platform in _PLATFORMS:
        costs = [figures.load(platform, "parley", conversations).cpu_ms for conversations in CONVERSATIONS[1:]]
        name = f"{platform}: cost of a message flat from {CONVERSATIONS[1]:,} to {CONVERSATIONS[2]:,} conversations"
        yield Goal(name, f"{costs[1] / costs[0]:.2f} x", passed=costs[1] / costs[0] <= FLAT)


def tables(figures: Figures, goals: Sequence[Goal]) -> str:
    """All figures as Markdown tables."""
    about = "; ".join(f"{name} {value}" for name, value in figures.about.items()) + "."
    parts = [about, _latency_table(figures), _load_table(figures), _stored_table(figures.stored), _goal_table(goals)]
    return "\n\n".join(parts) + "\n"


def with_tables(document: str, figures: str) -> str:
    """`document` with `figures` in the place of those that stand between its marks."""
    before, _, rest = document.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n\n{figures}\n{MARKS[1]}{after}"


def _latency_table(figures: Figures) -> str:
    rows = [
        [
            *(row.platform, row.side, str(row.messages)),
            *(f"{value:.1f}" for value in (row.to_host_p50, row.to_host_p99, row.to_eyes_p50, row.to_eyes_p99)),
            *(f"{value:.1f}" for value in (row.added_p50, row.added_p99, row.steps)),
        ]
        for row in figures.latencies
    ]
    head = ["added time, ms", "", "messages", "to host p50", "p99", "to eyes p50", "p99", "in all p50", "p99", "steps"]
    return _table(head, rows)


def _load_table(figures: Figures) -> str:
    rows = [
        [
            *(row.platform, row.side, f"{row.conversations:,}"),
            *(f"{row.rate:.0f}", f"{100 * row.busy:.0f} %", f"{row.core_rate:.0f}"),
            *(f"{row.cpu_ms:.2f}", f"{row.beside_ms:.2f}", f"{row.steps:.1f}"),
        ]
        for row in figures.loads
    ]
    head = ["throughput", "", "conversations", "messages/s", "core busy", "messages/s of a whole core", "CPU ms"]
    return _table([*head, "CPU ms of gateway and mailbox", "steps"], rows)


def _stored_table(stored: Sequence[Stored]) -> str:
    rows = [
        [
            *(row.series, f"{row.turns:,}", str(row.held)),
            *(f"{value:.2f}" for value in (row.accept_ms, row.head_ms, row.commit_ms, row.message_ms)),
            f"{row.bytes_per_turn:.0f}",
        ]
        for row in stored
    ]
    head = ["mailbox, ms", "turns", "in history", "accept", "head", "commit", "all steps", "bytes a turn"]
    return _table(head, rows)


def _goal_table(goals: Sequence[Goal]) -> str:
    rows = [[goal.name, goal.reached, "passed" if goal.passed else "missed"] for goal in goals]
    return _table(["goal", "reached", ""], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
