"""Added time: one message after the other, ours and the floor's in turn, so that both meet the same machine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from bench.figures import Latency, middle, percentile
from bench.stage import Side, Stage
from bench.trips import Trip

# A model that thinks before its first token, as each does, and then streams.
FIRST_TOKEN_S = 0.02
BETWEEN_TOKENS_S = 0.001
PEOPLE = 20
_MOST_PAUSE_S = 0.01


async def measure_latency(stage: Stage, messages: int) -> list[Latency]:
    """`messages` on each side of each platform."""
    stage.host.first_s, stage.host.between_s = FIRST_TOKEN_S, BETWEEN_TOKENS_S
    found: list[Latency] = []
    chance = random.Random(1)
    for sides in stage.sides.values():
        trips: dict[str, list[Trip]] = {side.name: [] for side in sides}
        for number in range(messages):
            for side in chance.sample(sides, len(sides)):
                trips[side.name].append(await stage.ask(side, number % PEOPLE))
                # Not in step with anybody's timers.
                await asyncio.sleep(chance.uniform(0.0, _MOST_PAUSE_S))
        found += [_latency(side, trips[side.name]) for side in sides]
    return found


def _latency(side: Side, trips: Sequence[Trip]) -> Latency:
    to_host = [trip.to_host_ms for trip in trips]
    to_eyes = [trip.to_eyes_ms for trip in trips]
    added = [trip.added_ms for trip in trips]
    return Latency(
        platform=side.platform.name,
        side=side.name,
        messages=len(trips),
        to_host_p50=middle(to_host),
        to_host_p99=percentile(to_host, 0.99),
        to_eyes_p50=middle(to_eyes),
        to_eyes_p99=percentile(to_eyes, 0.99),
        added_p50=middle(added),
        added_p99=percentile(added, 0.99),
        steps=sum(trip.steps for trip in trips) / len(trips),
    )
