"""Scenarios 21 to 24: what people do: change their minds, ask too much, and say what nobody expects."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from core.chat import lines
from tests.faults.scenarios.theatre import Report, Size, Theatre, finish, talk
from tests.support.fleet import Fleet
from tests.support.history_checker import Fate, Key
from tests.support.logged import logged_rows
from tests.support.platforms import SlackPlatform
from tests.support.running import until

FREE_S = 2.0  # within this time a host's slot is free again
# The short forms run among other tests, on a machine that is busy with those: they see only what is held up.
BUSY_S = 8.0
SLOW_S = 3.0  # between two pieces of an answer in which somebody changes their mind
MONSTERS = {
    "long": "word " * 2_000_000,
    "mentions": "<@U1>" * 50_000,
    "rtl": "\u202e\u0645\u0631\u062d\u0628\u0627\u200f " * 50,
    "zero width": "\u200b\u200d\u2060\ufeff" * 200,
    "controls": "a\x00b\x1b[31mc\ud83d d",
    "combining": "e" + "\u0301" * 3_000,
}
MALFORMED: tuple[dict[str, Any], ...] = (
    {},
    {"type": "message"},
    {"type": "message", "channel": "DADA0", "ts": "never", "user": "ADA0", "text": "x"},
    {"type": "message", "channel": 7, "ts": None, "user": ["ADA0"], "text": {"a": 1}},
    {"type": "app_mention", "channel": "C1", "user": "ADA0"},
    {"type": "message", "subtype": "message_changed", "channel": "C1"},
    {"type": "message", "subtype": "message_deleted", "channel": "C1", "previous_message": 3},
)


async def deleted_mid_answer(theatre: Theatre, size: Size) -> Report:
    """21: questions are deleted while they are being answered: the slots are free in 2 s, and nothing stays."""
    async with theatre.fleet() as running:
        keys = await _half_answered(running, size)
        for key in keys:
            await running.delete(key)
        freed_s = await _freed(running)
        await talk(running, size)

        return _in_time(await finish(running), freed_s, size)


async def edited_mid_answer(theatre: Theatre, size: Size) -> Report:
    """21: questions are edited while they are being answered: the answer in the same post is to the new words."""
    async with theatre.fleet() as running:
        keys = await _half_answered(running, size)
        running.hosts[0].delay_s = 0.01
        for key in keys:
            await running.edit(key)
        await talk(running, size)

        return await finish(running)


async def stopped_mid_answer(theatre: Theatre, size: Size) -> Report:
    """21: people say stop: the slots are free in 2 s, and what was said stays, marked."""
    async with theatre.fleet() as running:
        keys = await _half_answered(running, size)
        for key in keys:
            running.asked[key].fate = Fate.STOPPED
            await running.platform.say(key[0], "stop")
        freed_s = await _freed(running)
        await talk(running, size)

        return _in_time(await finish(running), freed_s, size)


async def one_floods(theatre: Theatre, size: Size) -> Report:
    """22: one person asks a thousand questions a minute; for the others it is as fast as it was before."""
    limits = {"PERSON_MESSAGES_PER_MINUTE": "20", "INBOX_LIMIT": "20"}
    async with theatre.fleet(settings=limits) as running:
        names = [f"ada{number}" for number in range(size.people)]
        before_s = await _p95_s(running, names)
        flooding = asyncio.create_task(_flood(running, size))
        beside_s = await _p95_s(running, names)
        await flooding
        await _tell_turned_away(running)

        report = await finish(running, before_s=round(before_s, 3), beside_s=round(beside_s, 3))
        if beside_s > max(1.5 * before_s, before_s + _aside_s(size, 1.0)):
            report.harm.note("broken", f"others waited {beside_s:.2f} s at p95, before {before_s:.2f} s")
        return report


async def monsters(theatre: Theatre, size: Size) -> Report:
    """23: what is far too long, unreadable or malformed ends no process, and delays nobody else."""
    async with theatre.fleet() as running:
        processes = [*running.workers, *running.gateways]
        said = {
            name: await running.platform.say(f"monster{number}", text) for number, (name, text) in _monsters(running)
        }
        running.unchecked.update(each.place for each in said.values())
        if isinstance(running.platform, SlackPlatform):
            for event in MALFORMED:
                running.platform.slack.send_event(event)
        await talk(running, size)

        report = await finish(running)
        answered = {seen.place for seen in running.platform.visible()}
        for name, each in said.items():
            if each.place not in answered:
                report.harm.note("broken", f"nobody answered {name!r}")
        for process in processes:
            if not process.alive:
                report.harm.note("broken", f"a process ended, see {process.log}")
        return report


async def canaries(theatre: Theatre, size: Size) -> Report:
    """24: whoever asks for others' words is given none: no prompt holds a word of another conversation."""
    async with theatre.fleet(gateways=2) as running:
        await talk(running, size)

        report = await finish(running)
        report.said["prompts"] = running.chats
        return report


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _half_answered(running: Fleet, size: Size) -> list[Key]:
    """Everybody has asked, and sees the beginning of an answer."""
    host = running.hosts[0]
    host.delay_s = SLOW_S
    keys = [await running.ask(name) for name in size.names]
    await until(lambda: len(running.platform.visible()) >= size.people, 30.0)
    return keys


async def _freed(running: Fleet) -> float:
    """Seconds until no answer is under way; the host is quick again then."""
    host, began = running.hosts[0], time.monotonic()
    await until(lambda: host.open_streams == 0, 30.0)
    host.delay_s = 0.01
    return time.monotonic() - began


def _aside_s(size: Size, alone_s: float) -> float:
    """What the machine may take beside what is promised; `alone_s` where nothing else runs on it, in the long form."""
    return alone_s if size.people >= 24 else BUSY_S


def _in_time(report: Report, freed_s: float, size: Size) -> Report:
    report.said["freed_s"] = round(freed_s, 2)
    if freed_s > FREE_S + _aside_s(size, 0.0):
        report.harm.note("broken", f"the slots were free after {freed_s:.2f} s")
    return report


async def _p95_s(running: Fleet, names: list[str]) -> float:
    """How long people wait for a whole answer, at p95, when all ask at once."""
    began = time.monotonic()
    keys = {answer: time.monotonic() for answer in [await running.ask(name) for name in names]}
    waited: list[float] = []
    while keys and time.monotonic() - began < 30.0:
        seen = [key for key in keys if running.sees(key)]
        waited += [time.monotonic() - keys.pop(key) for key in seen]
        await asyncio.sleep(0.01)
    return statistics.quantiles(waited, n=20)[18]


async def _flood(running: Fleet, size: Size) -> None:
    for _ in range(size.harms):
        await running.ask("flood")
        await asyncio.sleep(0.06)


async def _tell_turned_away(running: Fleet) -> None:
    """What was turned away of the flood: what is not in the log when nothing is under way any more."""
    flood = [question for key, question in running.asked.items() if key[0] == "flood"]
    for question in flood:
        question.fate = Fate.TURNED_AWAY
    await until(lambda: any(lines.LIMITED.split("{")[0] in seen.text for seen in running.platform.visible()), 30.0)
    while not await running.idle():
        await asyncio.sleep(0.1)
    logged = {row.turn_id for row in await asyncio.to_thread(logged_rows, running.database)}
    for question in flood:
        question.fate = Fate.ANSWERED if question.turn_id in logged else Fate.TURNED_AWAY


def _monsters(running: Fleet) -> list[tuple[int, tuple[str, str]]]:
    """Discord itself lets nobody say more than 4,000 characters."""
    limit = 10_000_000 if isinstance(running.platform, SlackPlatform) else 4_000
    return list(enumerate((name, text[:limit]) for name, text in MONSTERS.items()))
