"""One contract for the adapters of platforms with rooms: edits, deletions, and what is said while nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.chat.message import Outcome
from tests.support.living import House, living, until

PLATFORMS = ("slack", "discord")


@pytest.fixture(params=PLATFORMS)
async def house(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[House]:
    async with living(request.param, redis_url) as living_house:
        yield living_house


def let_through(house: House, pieces: int) -> None:
    assert house.host.gate is not None
    for _ in range(pieces):
        house.host.gate.release()


async def growing(house: House, question: str) -> str:
    """Asks, and returns the question's id once a part of its answer is visible."""
    house.host.gate = asyncio.Semaphore(0)
    native = await house.harness.say_in_room("U1", question)
    let_through(house, 3)
    await until(lambda: any("you said:" in text for text in house.harness.visible()))
    return native


# ── edits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_question_edited_while_it_waits_is_answered_as_edited(house: House) -> None:
    house.host.gate = asyncio.Semaphore(0)
    await house.harness.say_direct("U1", "first")
    waiting = await house.harness.say_direct("U1", "secnod")
    await until(lambda: bool(house.host.prompts))

    await house.harness.edit(waiting, "second")
    await house.edited("second")
    let_through(house, 100)

    rows = await house.logged(2)
    assert [row.question for row in rows] == ["first", "second"]
    assert house.harness.visible() == ["you said: first", "you said: second"]


async def test_a_question_edited_while_it_is_answered_is_answered_anew_in_the_same_post(house: House) -> None:
    native = await growing(house, "one two three")

    await house.harness.edit(native, "four")
    await until(lambda: len(house.host.prompts) == 2)
    let_through(house, 100)

    (row,) = await house.logged(1)
    assert row.question == "four"
    (shown,) = house.harness.visible()
    assert shown.endswith("four")


async def test_an_edit_after_the_answer_is_not_answered_again(house: House) -> None:
    native = await house.harness.say_in_room("U1", "one")
    await house.logged(1)

    await house.harness.edit(native, "two")
    await house.harness.say_in_room("U1", "three")

    assert [row.question for row in await house.logged(2)] == ["one", "three"]


# ── deletions ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_question_deleted_while_it_waits_is_not_answered(house: House) -> None:
    house.host.gate = asyncio.Semaphore(0)
    await house.harness.say_direct("U1", "first")
    waiting = await house.harness.say_direct("U1", "second")
    await until(lambda: bool(house.host.prompts))

    await house.harness.delete(waiting)
    await house.waiting(1)
    await house.harness.say_direct("U1", "third")
    let_through(house, 100)

    assert [row.question for row in await house.logged(2)] == ["first", "third"]


async def test_the_answer_to_a_deleted_question_stops_and_goes(house: House) -> None:
    native = await growing(house, "one two three")

    await house.harness.delete(native)

    (row,) = await house.logged(1)
    assert (row.outcome, row.question, row.answer) == (Outcome.WITHDRAWN, "", "")
    await until(lambda: house.harness.visible() == [])
    assert house.host.open_streams == 0


# ── missed time ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_said_while_the_gateway_was_away_is_answered_once_and_in_order(house: House) -> None:
    root = await house.harness.say_in_room("U1", "before")
    await house.harness.say_direct("U2", "alone")
    await house.logged(2)
    await house.marked()

    await house.harness.disconnect()
    await house.harness.say_in_room("U1", "missed one", thread=root)
    await house.harness.say_direct("U2", "missed two")
    await house.harness.say_in_room("U1", "missed three", thread=root)
    await house.harness.say_in_room("U1", "not for the bot", mention=False)
    await house.harness.reconnect()

    rows = await house.logged(5)
    asked: dict[str, list[str]] = {}
    for row in rows:
        asked.setdefault(row.person_id, []).append(row.question)
    assert sorted(asked.values()) == [["alone", "missed two"], ["before", "missed one", "missed three"]]
    assert len({row.conversation for row in rows}) == 2
    await house.harness.say_in_room("U1", "after", thread=root)
    assert len(await house.logged(6)) == 6
