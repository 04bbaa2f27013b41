"""What the way of a message costs, beside the smallest bots that stream an answer (`floor_slack`, `floor_discord`).

    python bench/way.py [--quick] [--json FILE] [--picture FILE] [--doc FILE]

Everything runs on this machine and ends with the bench: a Valkey with every write on disk, `parley bot` and
`parley worker`, the floors, fake platforms without rate limits, and a stub of a model host. docs/bench.md explains it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' fakes are installed nowhere

from bench.figures import Figures
from bench.latency import measure_latency
from bench.load import Amount, measure_load
from bench.machine import BenchFailed, described, load
from bench.picture import picture_of
from bench.report import goals_of, tables, with_tables
from bench.stage import staged
from bench.stored import measure_stored


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured: messages a side, the load, messages a level of stored turns, turns of the longest life."""

    latency_messages: int
    load: Amount
    stored_messages: int
    life_turns: int


WHOLE = Extent(300, Amount(rounds=5, messages=600, messages_of_one=40), stored_messages=300, life_turns=100_000)
QUICK = Extent(30, Amount(rounds=1, messages=150, messages_of_one=10), stored_messages=40, life_turns=2_000)


async def measure(extent: Extent) -> Figures:
    """All figures. Raises BenchFailed."""
    figures = Figures(described())
    async with staged() as stage:
        figures.latencies = await measure_latency(stage, extent.latency_messages)
        figures.loads = await measure_load(stage, extent.load)
    figures.stored = await measure_stored(extent.stored_messages, extent.life_turns)
    figures.about["load after"] = load()
    return figures


def _first(failed: BaseException) -> BaseException:
    return _first(failed.exceptions[0]) if isinstance(failed, BaseExceptionGroup) else failed


def main() -> None:
    """The command. Exit code 1: it could not be measured. A missed goal is a finding, no failure."""
    parser = argparse.ArgumentParser(description="What the way of a message costs, beside the smallest bots.")
    parser.add_argument("--quick", action="store_true", help="in less than a minute, and less exact")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there, as SVG")
    parser.add_argument("--doc", type=Path, metavar="FILE", help="put the tables between the marks in this document")
    asked = parser.parse_args()
    began = time.monotonic()
    try:
        figures = asyncio.run(measure(QUICK if asked.quick else WHOLE))
    except* BenchFailed as failed:
        # Many may have waited for the answer that did not come.
        sys.exit(str(_first(failed)))
    goals = goals_of(figures)
    print(tables(figures, goals))
    print(f"measured in {time.monotonic() - began:.0f} s")
    if asked.json:
        found = asdict(figures) | {"goals": [asdict(goal) for goal in goals]}
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if asked.picture:
        asked.picture.write_text(picture_of(figures), encoding="utf-8")
    if asked.doc:
        asked.doc.write_text(with_tables(asked.doc.read_text("utf-8"), tables(figures, goals)), encoding="utf-8")


if __name__ == "__main__":
    main()
