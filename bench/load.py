"""Throughput: how many messages one process on one core answers while people in many conversations keep asking."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from bench.figures import Load, middle
from bench.fill import fill_histories
from bench.machine import all_cores, pin
from bench.stage import Side, Stage

CONVERSATIONS = (1, 100, 10_000)
ASKING = 100  # people who wait for an answer at any time, where there are so many
TURNS = 10  # that each conversation has behind it at the start
# Each token comes by itself, as from a model: tokens that come all at once would cost a bot next to nothing.
FIRST_TOKEN_S = 0.002
BETWEEN_TOKENS_S = 0.002
_STEP = 7919  # a prime: spreads the messages over the conversations


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is measured: rounds, and messages in each; few people ask less."""

    rounds: int
    messages: int
    messages_of_one: int


async def measure_load(stage: Stage, amount: Amount) -> list[Load]:
    """Ours and the floor in turn, round by round; medians of the rounds."""
    stage.host.first_s, stage.host.between_s = FIRST_TOKEN_S, BETWEEN_TOKENS_S
    for ours, _ in stage.sides.values():
        conversations = [ours.platform.conversation(number) for number in range(max(CONVERSATIONS))]
        await fill_histories(stage.valkey.url(), conversations, TURNS)
    _give_cores(stage)
    found: list[Load] = []
    for sides in stage.sides.values():
        for conversations_count in CONVERSATIONS:
            rounds: dict[str, list[Load]] = {side.name: [] for side in sides}
            for _ in range(amount.rounds):
                for side in sides:
                    rounds[side.name].append(await _round(stage, side, conversations_count, amount))
            found += [_middle(rounds[side.name]) for side in sides]
    return found


def _give_cores(stage: Stage) -> None:
    """The process that answers has the first core, all others share the last."""
    first, last = {all_cores()[0]}, {all_cores()[-1]}
    for side in (side for sides in stage.sides.values() for side in sides):
        pin(side.worker.process.pid, first)
        for other in side.others:
            pin(other.process.pid, last)
    pin(stage.valkey.pid, last)
    pin(os.getpid(), last)


async def _round(stage: Stage, side: Side, conversations: int, amount: Amount) -> Load:
    messages = amount.messages_of_one if conversations == 1 else amount.messages
    todo = iter(range(messages))
    seen: list[int] = []
    worker, beside = side.worker.cpu_s(), _beside_s(stage, side)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as people:
        for _ in range(min(ASKING, conversations)):
            people.create_task(_person(stage, side, todo, conversations, seen))
    took = time.perf_counter() - began
    cpu_s = side.worker.cpu_s() - worker
    return Load(
        platform=side.platform.name,
        side=side.name,
        conversations=conversations,
        rate=messages / took,
        busy=cpu_s / took,
        cpu_ms=1000 * cpu_s / messages,
        beside_ms=1000 * (_beside_s(stage, side) - beside) / messages,
        steps=sum(seen) / messages,
    )


async def _person(stage: Stage, side: Side, todo: Iterator[int], conversations: int, seen: list[int]) -> None:
    for number in todo:
        trip = await stage.ask(side, number * _STEP % conversations)
        seen.append(trip.steps)


def _beside_s(stage: Stage, side: Side) -> float:
    if not side.others:
        return 0.0
    times = psutil.Process(stage.valkey.pid).cpu_times()
    return float(times.user + times.system) + sum(other.cpu_s() for other in side.others)


def _middle(rounds: list[Load]) -> Load:
    first = rounds[0]
    return Load(
        platform=first.platform,
        side=first.side,
        conversations=first.conversations,
        rate=middle([row.rate for row in rounds]),
        busy=middle([row.busy for row in rounds]),
        cpu_ms=middle([row.cpu_ms for row in rounds]),
        beside_ms=middle([row.beside_ms for row in rounds]),
        steps=middle([row.steps for row in rounds]),
    )
