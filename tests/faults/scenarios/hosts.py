"""Scenarios 19 and 20: what befalls the hosts of the model."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from core.chat.message import Outcome
from tests.faults.scenarios.theatre import Report, Size, Theatre, chance, finish
from tests.support.fleet import Fleet
from tests.support.history_checker import Fate
from tests.support.logged import logged_rows
from tests.support.stub_host import Fault

# Before the first piece a request may be made again; after it people have seen something.
BEFORE_TEXT = (Fault.BUSY, Fault.LOADING, Fault.CRASHED, Fault.BAD_GATEWAY)
AFTER_TEXT = (Fault.ABORT, Fault.CUT, Fault.RESET, Fault.ERROR_EVENT)


async def host_falters(theatre: Theatre, size: Size) -> Report:
    """19: answers abort, are cut off and break; none of these is logged as an answer, and its person is told."""
    async with theatre.fleet() as running:
        host, dice = running.hosts[0], chance()
        for _ in range(size.rounds):
            host.faults.extend(dice.choice((*BEFORE_TEXT, *AFTER_TEXT)) for _ in range(size.people // 2))
            for name in size.names:
                await running.ask(name, Fate.ANSWERED_OR_FAILED)
            await asyncio.sleep(size.pause_s)

        report = await finish(running)
        rows = await asyncio.to_thread(logged_rows, running.database)
        report.said["failed"] = failed = sum(row.outcome is Outcome.FAILED for row in rows)
        if not failed:
            report.harm.note("broken", "none of the faults was seen")
        return report


async def host_stalls(theatre: Theatre, size: Size) -> Report:
    """19: a host says the first word and then nothing more: its slot and its person are set free in time."""
    async with theatre.fleet() as running:
        running.hosts[0].faults.extend([Fault.STALL] * size.people)
        for name in size.names:
            await running.ask(name, Fate.FAILED)

        report = await finish(running)
        if running.hosts[0].open_streams:
            report.harm.note("broken", f"{running.hosts[0].open_streams} slots are still taken")
        return report


async def one_host_dies(theatre: Theatre, size: Size) -> Report:
    """20: one of three hosts dies: only its third of the conversations moves, and each to one other host."""
    async with theatre.fleet(hosts=3) as running:
        await _one_by_one(running, size)
        before = _hosts_by_conversation(running)
        victim = 0
        await running.hosts[victim].__aexit__()
        for host in running.hosts:
            host.requests.clear()
        await _one_by_one(running, size)
        after = _hosts_by_conversation(running)

        report = await finish(running)
        report.said["of the dead host"] = sum(hosts == {victim} for hosts in before.values())
        for conversation, hosts in before.items():
            if hosts != {victim} and after[conversation] != hosts:
                report.harm.note("broken", f"{conversation} moved from {hosts} to {after[conversation]}")
        return report


async def _one_by_one(running: Fleet, size: Size) -> None:
    """Everybody asks; nobody while another is being answered, so that no host is fuller than another."""
    for name in size.names:
        await running.ask(name)
        await running.settled(20.0)


def _hosts_by_conversation(running: Fleet) -> dict[str, set[int]]:
    """Which hosts answered each conversation, by the session that a request names."""
    found: dict[str, set[int]] = defaultdict(set)
    for number, host in enumerate(running.hosts):
        for request in host.requests:
            if request.path == "/v1/chat/completions":
                found[request.headers["x-session-id"]].add(number)
    return found
