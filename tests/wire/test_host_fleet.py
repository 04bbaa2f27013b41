"""One, two and three hosts as one, over real sockets: who answers whom, and what becomes of answers when hosts fail."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from core.chat import lines
from core.chat.answer import answer
from core.chat.errors import AnswerBroken, HostRefused, HostUnavailable
from core.chat.kit import Answerer, Attempt
from core.chat.message import Outcome
from core.chat.persona import Persona
from core.chat.ports import Mail, ModelInfo, Piece
from model.client import BackOff, HostFleet, Retries, Timeouts, open_fleet
from model.client.rendezvous import ranked
from tests.support.asking import MESSAGES, PATIENT, SAMPLING, Ticking, client, fleet, read, sessions_at
from tests.support.stub_host import Fault, StubHost
from tests.support.wall import Wall, said

CONVERSATIONS = [f"slack:T1:C{number % 7}:1718{number:06}.000100" for number in range(300)]

# What is worth asking again, while nothing was seen.
ASKED_AGAIN = [Fault.BUSY, Fault.LOADING, Fault.BAD_GATEWAY, Fault.HANG_UP, Fault.LOST, Fault.ODD]
# What ends the answer, for something was seen, or the answer has had its time.
BROKEN = [Fault.STALL, Fault.CUT, Fault.NO_DONE, Fault.RESET, Fault.ABORT, Fault.ERROR_EVENT, Fault.GARBAGE]
TIMED_OUT = [Fault.SILENT, Fault.MURMUR, Fault.FROZEN]
REFUSED = [Fault.TOO_LONG, Fault.UNAUTHORIZED, Fault.UNKNOWN_MODEL, Fault.REDIRECT]
MAIL = Mail(said("Hello?"), (), intended=False, stop_requested=False)
SHORT = Timeouts(connect_s=2.0, first_token_s=0.4, between_tokens_s=0.4, total_s=30.0, ask_s=10.0)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@asynccontextmanager
async def three(reply: Any = "Hello there.", **options: Any) -> AsyncIterator[list[StubHost]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(StubHost(reply, **options)) for _ in range(3)]


def session_of(hosts: list[StubHost], wanted: StubHost) -> str:
    """A conversation whose first choice is `wanted`."""
    return next(name for name in CONVERSATIONS if first_of(hosts, name) is wanted)


def first_of(hosts: list[StubHost], session: str) -> StubHost:
    roots = {host.url.removesuffix("/v1"): host for host in hosts}
    return roots[ranked(session, list(roots))[0]]


async def eventually(condition: Any, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


# ── every fault, with one host and with three ───────────────────────────────────────────────────────────────────────


def test_every_fault_has_its_place() -> None:
    assert sorted([*ASKED_AGAIN, *BROKEN, *TIMED_OUT, *REFUSED, Fault.CRASHED]) == sorted(Fault)


@pytest.mark.parametrize("fault", ASKED_AGAIN)
async def test_host_with_a_passing_trouble_is_asked_again_before_any_text(
    http: aiohttp.ClientSession, fault: Fault
) -> None:
    async with StubHost("There.", faults=[fault]) as host:
        answer = await read(fleet([host], http))

        assert answer.text == "There."
        assert len(host.chats) == 2


@pytest.mark.parametrize("fault", ASKED_AGAIN)
async def test_of_three_hosts_another_answers_for_the_one_in_trouble(http: aiohttp.ClientSession, fault: Fault) -> None:
    async with three("There.") as hosts:
        hosts[1].always = fault
        hosts[1].retry_after = "30"

        answer = await read(fleet(hosts, http), session_of(hosts, hosts[1]))

        assert answer.text == "There."
        assert sorted(len(host.chats) for host in hosts) == [0, 1, 1]


@pytest.mark.parametrize("fault", [*BROKEN, *TIMED_OUT])
@pytest.mark.parametrize("count", [1, 3])
async def test_broken_answer_is_never_a_success_nor_said_twice(
    http: aiohttp.ClientSession, fault: Fault, count: int
) -> None:
    async with three("One two.") as hosts:
        ours = fleet(hosts[:count], http, timeouts=SHORT)
        for host in hosts:
            host.always = fault

        with pytest.raises(AnswerBroken):
            await read(ours)

        assert sum(len(host.chats) for host in hosts) == 1
        for host in hosts:
            await host.wait_streams(0)


@pytest.mark.parametrize("fault", REFUSED)
@pytest.mark.parametrize("count", [1, 3])
async def test_refusal_is_final_and_no_failure_of_the_host(
    http: aiohttp.ClientSession, fault: Fault, count: int
) -> None:
    async with three() as hosts:
        ours = fleet(hosts[:count], http)
        for host in hosts:
            host.always = fault

        for _ in range(4):
            with pytest.raises(HostRefused):
                await read(ours)

        assert sum(len(host.chats) for host in hosts) == 4
        assert all(standing.well for standing in ours.standings)


@pytest.mark.parametrize("count", [1, 3])
async def test_prompt_that_crashes_a_host_is_not_taken_to_the_next(http: aiohttp.ClientSession, count: int) -> None:
    async with three() as hosts:
        for host in hosts:
            host.always = Fault.CRASHED

        with pytest.raises(HostUnavailable, match="500"):
            await read(fleet(hosts[:count], http))

        assert sum(len(host.chats) for host in hosts) == 1


async def test_prompt_that_breaks_hosts_does_not_go_round_all_of_them(http: aiohttp.ClientSession) -> None:
    async with three() as hosts:
        for host in hosts:
            host.always = Fault.LOST

        with pytest.raises(AnswerBroken):
            await read(fleet(hosts, http))

        assert sum(len(host.chats) for host in hosts) == 2


async def test_host_that_stays_busy_is_unavailable_after_three_tries(http: aiohttp.ClientSession) -> None:
    async with StubHost(always=Fault.BUSY) as host:
        with pytest.raises(HostUnavailable, match="429"):
            await read(fleet([host], http))

        assert len(host.chats) == 3


async def test_retries_of_all_answers_share_one_budget(http: aiohttp.ClientSession) -> None:
    retries = Retries(share=0.2, per_minute=0.0, burst=2.0)
    async with StubHost(always=Fault.BUSY) as host:
        ours = fleet([host], http, retries=retries, back_off=BackOff(failures=10**6, pause_s=0.0))

        for _ in range(50):
            with pytest.raises(HostUnavailable):
                await read(ours)

        assert 50 + 10 <= len(host.chats) <= 50 + 12


async def test_retry_after_is_honoured(http: aiohttp.ClientSession) -> None:
    async with StubHost(faults=[Fault.BUSY], retry_after="0.4") as host:
        begun = time.monotonic()
        await read(fleet([host], http))

    assert time.monotonic() - begun >= 0.4


async def test_retry_after_of_one_answer_holds_for_all(http: aiohttp.ClientSession) -> None:
    async with StubHost(faults=[Fault.BUSY], retry_after="60") as host:
        ours = fleet([host], http)

        for _ in range(5):
            with pytest.raises(HostUnavailable, match="429"):
                await read(ours)

        assert len(host.chats) == 1


# ── who answers whom ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_conversation_stays_with_its_host(http: aiohttp.ClientSession) -> None:
    async with three() as hosts:
        ours = fleet(hosts, http)

        for _ in range(2):
            for session in CONVERSATIONS[:30]:
                await read(ours, session)

        for host in hosts:
            first, again = sessions_at(host)[: len(host.chats) // 2], sessions_at(host, len(host.chats) // 2)
            assert first == again


async def test_when_one_of_three_dies_only_its_third_moves_and_comes_back(http: aiohttp.ClientSession) -> None:
    async with three() as hosts:
        ours = fleet(hosts, http)
        before = await where_each_goes(ours, hosts)

        await hosts[0].kill()
        without = await where_each_goes(ours, hosts)
        await hosts[0].revive()
        await eventually_well(ours, hosts[0], session_of(hosts, hosts[0]))
        after = await where_each_goes(ours, hosts)

    shares = Counter(before.values())
    assert all(60 <= shares[host] <= 140 for host in range(3))  # standard deviation: 8
    moved = {session for session in CONVERSATIONS if before[session] != without[session]}
    assert moved == {session for session in CONVERSATIONS if before[session] == 0}
    takers = Counter(without[session] for session in moved)
    assert min(takers[1], takers[2]) > len(moved) / 4
    assert after == before


async def where_each_goes(ours: HostFleet, hosts: list[StubHost]) -> dict[str, int]:
    """The host that answered each conversation; every one of them is answered."""
    met = [len(host.chats) for host in hosts]
    for session in CONVERSATIONS:
        assert (await read(ours, session)).text == "Hello there."
    return {session: place for place, host in enumerate(hosts) for session in sessions_at(host, met[place])}


async def eventually_well(ours: HostFleet, host: StubHost, session: str) -> None:
    place = next(place for place, standing in enumerate(ours.standings) if standing.url in host.url)
    async with asyncio.timeout(10.0):
        while not ours.standings[place].well:
            await read(ours, session)


async def test_answers_under_way_spill_over_when_their_host_has_more_than_its_share(
    http: aiohttp.ClientSession,
) -> None:
    async with three() as hosts, asyncio.TaskGroup() as group:
        for host in hosts:
            host.gate.clear()
        ours = fleet(hosts, http)
        mine = [name for name in CONVERSATIONS if first_of(hosts, name) is hosts[0]][:12]

        for number, session in enumerate(mine, 1):
            group.create_task(read(ours, session))
            await eventually(lambda wanted=number: sum(host.open_streams for host in hosts) == wanted)

        # Of 12, the mean is 4: one host takes 5, the others share the rest.
        assert hosts[0].open_streams == 5
        assert min(host.open_streams for host in hosts) >= 2
        for host in hosts:
            host.gate.set()


async def test_version_logged_is_that_of_the_host_that_answered(http: aiohttp.ClientSession) -> None:
    async with three() as hosts:
        for number, host in enumerate(hosts):
            host.version = f"v{number}"
        ours = fleet(hosts, http)

        versions = [(await read(ours, session_of(hosts, host))).info.version for host in hosts]

    assert versions == ["v0", "v1", "v2"]


async def test_model_and_tokens_are_told_by_whoever_is_well(http: aiohttp.ClientSession) -> None:
    async with three() as hosts:
        ours = fleet(hosts, http)
        for host in hosts[:2]:
            await host.kill()

        for text in ("one", "one two", "one two three", "one two three four"):
            assert (await ours.describe()).id == "stub-model"
            assert await ours.count_tokens(text) == len(text.split())


async def test_frozen_host_costs_one_small_question_its_patience_and_no_answer(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with three() as hosts:
        ours = fleet(hosts, http, clock=clock, timeouts=replace(PATIENT, ask_s=0.3))
        for host in hosts:
            await read(ours, session_of(hosts, host))
        hosts[0].thaw.clear()
        met = len(hosts[0].requests)

        for number in range(30):
            assert await ours.count_tokens(f"text {number}") == 2
            clock.tick(1.0)  # longer than its back-off
        asked = [request.path for request in hosts[0].requests[met:]]
        text = (await read(ours, session_of(hosts, hosts[0]))).text

        assert not ours.standings[0].well
        assert asked == ["/tokenize"]
        assert (text, len(hosts[0].chats)) == ("Hello there.", 1)


# ── hosts that come back ────────────────────────────────────────────────────────────────────────────────────────────


async def test_question_asked_while_the_only_host_restarts_is_answered(http: aiohttp.ClientSession) -> None:
    async with StubHost("Back again.") as host:
        ours = fleet([host], http)
        await read(ours)
        await host.kill()
        asking = [asyncio.ensure_future(ask(ours, f"s{number}")) for number in range(20)]
        await eventually(lambda: not ours.standings[0].well)

        await host.revive()

        answers = await asyncio.gather(*asking)
    assert answers == ["Back again."] * 20


async def ask(ours: HostFleet, session: str) -> str:
    """All that core asks of a host for one answer."""
    await ours.describe()
    await ours.count_tokens("Hello?")
    return (await read(ours, session)).text


async def test_host_that_stays_away_is_given_up_in_time(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        ours = fleet([host], http, retries=Retries(wait_s=0.3))
        await read(ours)
    begun = time.monotonic()

    for question in (read(ours), ours.describe(), ours.count_tokens("Hello?")):
        with pytest.raises(HostUnavailable, match="MODEL_URL"):
            await question

    assert time.monotonic() - begun < 30


async def test_count_of_tokens_shows_that_a_host_is_back(http: aiohttp.ClientSession) -> None:
    async with StubHost() as host:
        ours = fleet([host], http, retries=Retries(wait_s=0.0))
        await host.kill()
        with pytest.raises(HostUnavailable):
            await ours.count_tokens("Hello?")
        gone = ours.standings[0]
        await host.revive()

        async with asyncio.timeout(10.0):
            while not ours.standings[0].well:
                with suppress(HostUnavailable):
                    await ours.count_tokens("Hello?")

        assert not gone.well
        assert "MODEL_URL" in gone.reason
        assert ours.standings[0].reason == ""


async def test_host_that_was_set_aside_is_tried_by_one_answer_alone(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with three("Hi.") as hosts, asyncio.TaskGroup() as group:
        ours = fleet(hosts, http, clock=clock)
        mine = [name for name in CONVERSATIONS if first_of(hosts, name) is hosts[0]]
        hosts[0].faults.append(Fault.HANG_UP)
        await read(ours, mine[0])
        clock.tick(1.0)
        for host in hosts:
            host.gate.clear()

        for session in mine[1:6]:
            group.create_task(read(ours, session))
        await eventually(lambda: sum(host.open_streams for host in hosts) == 5)
        while_probed = [host.open_streams for host in hosts]
        hosts[0].gate.set()
        await eventually(lambda: ours.standings[0].well)
        await read(ours, mine[6])

        assert while_probed[0] == 1
        assert sessions_at(hosts[0], 2) == [mine[6]]
        for host in hosts:
            host.gate.set()


async def test_questions_wait_behind_the_probe_of_the_only_host(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with StubHost("Hi.", faults=[Fault.LOST, Fault.HANG_UP]) as host:
        ours = fleet([host], http, clock=clock, retries=Retries(tries=1))
        with pytest.raises(AnswerBroken):
            await read(ours)
        clock.tick(1.0)
        with pytest.raises(HostUnavailable):
            await read(ours)
        clock.tick(1.0)
        host.gate.clear()

        asking = [asyncio.ensure_future(read(ours, f"s{number}")) for number in range(5)]
        await host.wait_streams(1)
        await eventually(lambda: ours.waiting == 4)
        met = len(host.chats)
        host.gate.set()
        answers = await asyncio.gather(*asking)

        assert met == 3
        assert [answer.text for answer in answers] == ["Hi."] * 5


async def test_person_who_leaves_the_probe_leaves_it_to_the_next(http: aiohttp.ClientSession) -> None:
    clock = Ticking()
    async with StubHost("Hi.", faults=[Fault.HANG_UP]) as host:
        ours = fleet([host], http, clock=clock, retries=Retries(tries=1))
        with pytest.raises(HostUnavailable):
            await read(ours)
        clock.tick(1.0)
        host.gate.clear()
        probing = asyncio.ensure_future(read(ours))
        await host.wait_streams(1)

        probing.cancel()
        await host.wait_streams(0)
        host.gate.set()

        assert (await read(ours)).text == "Hi."


# ── at most so many at once ─────────────────────────────────────────────────────────────────────────────────────────


async def test_host_at_its_cap_leaves_the_next_to_another(http: aiohttp.ClientSession) -> None:
    async with three() as hosts, asyncio.TaskGroup() as group:
        for host in hosts:
            host.gate.clear()
        ours = fleet(hosts, http, max_underway=1)
        session = session_of(hosts, hosts[2])

        for number in range(1, 4):
            group.create_task(read(ours, session))
            await eventually(lambda wanted=number: sum(host.open_streams for host in hosts) == wanted)

        assert [host.open_streams for host in hosts] == [1, 1, 1]
        assert [standing.underway for standing in ours.standings] == [1, 1, 1]
        for host in hosts:
            host.gate.set()


async def test_more_than_all_may_take_wait_in_line_and_go_first_come_first(http: aiohttp.ClientSession) -> None:
    async with StubHost("Hi.") as host, asyncio.TaskGroup() as group:
        host.gate.clear()
        ours = fleet([host], http, max_underway=1)

        for number in range(6):
            group.create_task(read(ours, f"s{number}"))
            await eventually(lambda wanted=number: (len(host.chats), ours.waiting) == (1, wanted))
        host.gate.set()
        await eventually(lambda: len(host.chats) == 6 and not host.open_streams)

        assert sessions_at(host) == [f"s{number}" for number in range(6)]


async def test_line_that_does_not_move_ends_in_unavailable(http: aiohttp.ClientSession) -> None:
    async with StubHost("Hi.") as host:
        host.gate.clear()
        patient = client(host, http, timeouts=PATIENT)
        ours = HostFleet([patient], max_underway=1, timeouts=replace(PATIENT, first_token_s=0.3))
        first = asyncio.ensure_future(read(ours, "s0"))
        await host.wait_streams(1)

        with pytest.raises(HostUnavailable, match="line"):
            await read(ours)

        assert ours.waiting == 0
        assert len(host.chats) == 1
        host.gate.set()
        await first


async def test_whoever_leaves_the_line_holds_nobody_up(http: aiohttp.ClientSession) -> None:
    async with StubHost("Hi.") as host:
        host.gate.clear()
        ours = fleet([host], http, max_underway=1)
        asking = [asyncio.ensure_future(read(ours, f"s{number}")) for number in range(3)]
        await eventually(lambda: (host.open_streams, ours.waiting) == (1, 2))

        asking[1].cancel()
        await eventually(lambda: ours.waiting == 1)
        host.gate.set()

        assert [(await asking[place]).text for place in (0, 2)] == ["Hi.", "Hi."]
        assert ours.standings[0].underway == 0


async def test_seat_given_to_somebody_who_just_left_is_free_again(http: aiohttp.ClientSession) -> None:
    async with StubHost("Hi.") as host:
        host.gate.clear()
        ours = fleet([host], http, max_underway=1)
        first = asyncio.ensure_future(read(ours, "s0"))
        await host.wait_streams(1)
        leaving = asyncio.ensure_future(read(ours, "s1"))
        await eventually(lambda: ours.waiting == 1)

        first.cancel()
        while ours.waiting:
            await asyncio.sleep(0)
        leaving.cancel()  # it was seated, and has not run since
        await asyncio.wait({first, leaving})
        host.gate.set()

        assert len(host.chats) == 1
        assert (await read(ours, "s2")).text == "Hi."


# ── whoever leaves frees the slot ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 3])
async def test_closing_the_answer_frees_the_slot(http: aiohttp.ClientSession, count: int) -> None:
    async with three("One two three.") as hosts:
        ours = fleet(hosts[:count], http)
        parts = ours.stream(MESSAGES, SAMPLING, "s")
        assert isinstance(await anext(parts), ModelInfo)
        assert await anext(parts) == Piece("One ")
        for host in hosts:
            host.gate.clear()

        await parts.aclose()

        for host in hosts:
            await host.wait_streams(0, timeout_s=2.0)
        assert not any(standing.underway for standing in ours.standings)


@pytest.mark.parametrize("fault", [Fault.FROZEN, Fault.SILENT, Fault.MURMUR, Fault.STALL])
async def test_stopped_question_frees_the_slot_of_a_stuck_host(http: aiohttp.ClientSession, fault: Fault) -> None:
    async with StubHost(always=fault) as host:
        kit = Answerer(fleet([host], http), {"wall": Wall()}, Persona(), SAMPLING, "worker-1")
        attempt = Attempt()
        answering = asyncio.ensure_future(answer(MAIL, kit, attempt))
        await host.wait_streams(1)

        attempt.halt.ask("stop")

        await host.wait_streams(0, timeout_s=2.0)
        commit = await answering
    assert commit.interaction is not None
    assert commit.interaction.outcome is Outcome.STOPPED


# ── what becomes of it for the person, and in the log ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", [*BROKEN, *TIMED_OUT, Fault.LOST])
async def test_broken_answer_is_logged_as_failed_with_a_line_to_act_on(
    http: aiohttp.ClientSession, fault: Fault
) -> None:
    wall = Wall()
    async with StubHost("One two.", always=fault) as host:
        kit = Answerer(fleet([host], http, timeouts=SHORT), {"wall": wall}, Persona(), SAMPLING, "worker-1")

        commit = await answer(MAIL, kit, Attempt())

    row = commit.interaction
    assert row is not None
    assert (row.outcome, row.finish_reason) == (Outcome.FAILED, "")
    assert row.answer in {"", "One", "One two."}
    assert wall.texts[-1].endswith(lines.BROKE_OFF if row.answer else lines.HOST_AWAY)
    assert commit.append == ()


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_fleet_is_opened_from_addresses_and_knows_no_limit_but_its_own() -> None:
    async with StubHost("Hi.", api_key="k") as host:
        host.gate.clear()
        async with open_fleet([host.url], "k") as ours, asyncio.TaskGroup() as group:
            for number in range(120):
                group.create_task(read(ours, f"s{number}"))

            await host.wait_streams(120, timeout_s=20.0)
            host.gate.set()


def test_fleet_without_a_host_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        HostFleet([])
