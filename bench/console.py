"""What the console's data costs: pages of the inbox under each filter, at the top and deep down, and the log's writing.

    python bench/console.py [--rows 1000000] [--database sqlite|postgres|both] [--markdown FILE]

Fills a database of its own, measures, and removes it. docs/bench-console.md has the figures and says how to read them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' fakes are installed nowhere

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bench.console_fill import BEGIN, TAGS, VERSIONS, WORDS, YEAR_S, World, fill
from bench.machine import load
from core.chat.interaction import Interaction
from core.chat.message import Outcome
from core.loop.inbox import Cursor, Filter, first_number
from core.loop.review import Draft, Opinion, State, Verdict
from storage.engine import open_engine
from storage.inbox import SqlInbox
from storage.ledger import SqlLedger
from storage.migrate import migrate
from storage.reviews import SqlReviews
from tests.support.postgres import PostgresServer

GOAL_MS = 100.0
PAGE = 50
SAMPLES = 40
DAY_S = 86_400.0
Draw = Callable[[random.Random, World], Filter]


@dataclass(frozen=True, slots=True)
class Line:
    """What one kind of page costs, in milliseconds."""

    database: str
    what: str
    p50: float
    p95: float


def _when(draw: random.Random) -> float:
    return BEGIN + draw.random() * YEAR_S


def _span(draw: random.Random, _: World) -> Filter:
    since = _when(draw)
    return Filter(since=since, until=since + 7 * DAY_S)


FILTERS: dict[str, Draw] = {
    "everything": lambda _, __: Filter(),
    "platform": lambda draw, _: Filter(platform=draw.choice(("slack", "web", "terminal"))),
    "workspace": lambda _, world: Filter(workspace=f"S{world.rank(20)}"),
    "channel": lambda _, world: Filter(channel=f"S0-C{world.rank(500)}"),
    "person": lambda _, world: Filter(person_id=f"S0-U{world.rank(5000)}"),
    "a week": _span,
    "model version": lambda draw, _: Filter(model_version=draw.choice(VERSIONS)),
    "outcome": lambda draw, _: Filter(outcome=draw.choice(list(Outcome))),
    "feedback": lambda draw, _: Filter(opinion=draw.choice(list(Opinion)[1:])),
    "state": lambda draw, _: Filter(state=draw.choice((State.APPROVED, State.SKIPPED, State.QUEUED, State.NEW))),
    "tag": lambda draw, _: Filter(tag=draw.choice(TAGS)),
    "slow": lambda _, __: Filter(slow=True),
    "long": lambda _, __: Filter(long=True),
    "a common word": lambda _, world: Filter(text=WORDS[world.rank(20)]),
    "any word": lambda draw, _: Filter(text=draw.choice(WORDS)),
    "two words": lambda _, world: Filter(text=f"{WORDS[world.rank(500)]} {WORDS[world.rank(500)]}"),
    "word and platform": lambda _, world: Filter(text=WORDS[world.rank(200)], platform="web"),
    "platform, version, outcome": lambda draw, _: Filter(
        platform="web", model_version=draw.choice(VERSIONS), outcome=Outcome.FAILED
    ),
    "workspace, slow, feedback": lambda _, __: Filter(workspace="S0", slow=True, opinion=Opinion.NOT_HELPFUL),
}


async def _timed(run: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    """p50 and p95 in milliseconds, after two rounds that are not counted."""
    took = []
    for number in range(SAMPLES + 2):
        began = time.perf_counter()
        await run(number)
        took.append((time.perf_counter() - began) * 1000)
    counted = sorted(took[2:])
    return counted[len(counted) // 2], counted[int(len(counted) * 0.95)]


async def measure_pages(database: str, engine: AsyncEngine) -> AsyncIterator[Line]:
    """Each filter, newest first and most instructive first, at the top and from a random depth on."""
    inbox, world = SqlInbox(engine), World(2)
    for name, make in FILTERS.items():
        for by_weight in (False, True):
            for deep in (False, True):
                draw = random.Random(3)

                async def run(
                    _: int, *, make: Draw = make, draw: random.Random = draw, deep: bool = deep, first: bool = by_weight
                ) -> None:
                    wanted = make(draw, world)
                    weight = draw.choice((1, 2, 5)) if first else None
                    after = Cursor(first_number(_when(draw)), weight) if deep else None
                    await inbox.page(wanted, PAGE, after, by_weight=first)

                order = "most instructive" if by_weight else "newest"
                yield Line(database, f"{name}: {order}, {'deep' if deep else 'top'}", *await _timed(run))


async def measure_steps(database: str, engine: AsyncEngine) -> AsyncIterator[Line]:
    """What a reviewer does with one item after another."""
    inbox, reviews, ledger = SqlInbox(engine), SqlReviews(engine), SqlLedger(engine)
    claimed: list[str] = []

    async def claim(_: int) -> None:
        item = await inbox.claim_next(Filter(platform="slack"), "ada")
        claimed.append(item.turn_id if item else "")

    async def read(number: int) -> None:
        turn_id = claimed[number]
        found = await ledger.find(turn_id)
        if found:
            await ledger.of_conversation(found.conversation, 20)
            await ledger.feedback_on(turn_id)
        await reviews.of_item(turn_id, "ada")

    async def judge(number: int) -> None:
        await reviews.judge(claimed[number], "ada", Draft(Verdict.APPROVED))

    async def undo(_: int) -> None:
        await reviews.undo("ada")

    steps: Sequence[tuple[str, Callable[[int], Awaitable[None]]]] = (
        ("claim the next", claim),
        ("read an item with its conversation", read),
        ("judge", judge),
        ("undo", undo),
    )
    for name, run in steps:
        yield Line(database, name, *await _timed(run))
    began = time.perf_counter()
    await reviews.stats()
    took = (time.perf_counter() - began) * 1000
    yield Line(database, "statistics of everything (once)", took, took)


class _BareLedger(SqlLedger):
    """The ledger as it was before there was an inbox."""

    @staticmethod
    async def add_items(connection: AsyncConnection, interactions: Sequence[Interaction]) -> None:
        """Makes none."""


async def measure_writing(engine: AsyncEngine, rows: int = 4000) -> tuple[float, float]:
    """Rows a second of the ledger in batches of 200: with the inbox, and as it was without. Best of three each."""
    world = World(4)
    best = {SqlLedger: 0.0, _BareLedger: 0.0}
    number = 10**9
    for _ in range(3):
        for kind in (SqlLedger, _BareLedger):
            ledger = kind(engine)
            new = [world.interaction(number + n, BEGIN + YEAR_S + number + n) for n in range(rows)]
            number += rows
            began = time.perf_counter()
            for start in range(0, rows, 200):
                await ledger.record(new[start : start + 200])
            best[kind] = max(best[kind], rows / (time.perf_counter() - began))
    return best[SqlLedger], best[_BareLedger]


@asynccontextmanager
async def opened(database: str) -> AsyncIterator[tuple[str, AsyncEngine]]:
    """An empty database with our tables, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        if database == "sqlite":
            url = f"sqlite:///{folder}/bench.db"
            await migrate(url)
            engine = open_engine(url)
            yield url, engine
            await engine.dispose()
            return
        with PostgresServer() as server:
            url = server.fresh_database()
            await migrate(url)
            engine = open_engine(url)
            yield url, engine
            await engine.dispose()


async def measure(database: str, rows: int) -> list[str]:
    """All lines of one database, as rows of a Markdown table."""
    async with opened(database) as (url, engine):
        began = time.monotonic()
        await fill(engine, url, rows)
        print(f"{database}: {rows:,} filled in {time.monotonic() - began:.0f} s; load {load()}", flush=True)
        lines = [
            f"\n## {database}, {rows:,} interactions\n",
            "| page or step | p50 ms | p95 ms | |",
            "|---|---|---|---|",
        ]
        for measured in (measure_pages(database, engine), measure_steps(database, engine)):
            async for line in measured:
                missed = "" if line.p95 <= GOAL_MS else f"over {GOAL_MS:.0f}"
                lines.append(f"| {line.what} | {line.p50:.1f} | {line.p95:.1f} | {missed} |")
                print(lines[-1], flush=True)
        with_items, without = await measure_writing(engine)
        lines.append(
            f"\nThe ledger writes {with_items:,.0f} rows/s with the inbox, {without:,.0f} without. Load {load()}."
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """The command. A missed goal is a finding, no failure."""
    parser = argparse.ArgumentParser(description="What the console's data costs.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    asked = parser.parse_args()
    databases = ("sqlite", "postgres") if asked.database == "both" else (asked.database,)
    lines = [line for database in databases for line in asyncio.run(measure(database, asked.rows))]
    if asked.markdown:
        asked.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
