"""What people and accidents do to a message while it is being answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from core.chat import lines
from core.chat.message import Message, Outcome
from core.chat.ports import Change, Claim, Commit
from core.chat.settling import Patience
from core.chat.worker import Pace
from tests.support.house import House, eventually
from tests.support.memory_store import MemoryStore
from tests.support.wall import ROOM, said

HASTY = Pace(take_wait_s=0.05, retry_s=0.01, lease_s=0.3, settling=Patience(at_most_s=5.0, look_s=0.01))


@pytest.fixture
def house() -> House:
    """A house whose model holds back all but what a test lets through."""
    made = House()
    made.host.gate = asyncio.Semaphore(0)
    return made


def let_through(house: House, pieces: int) -> None:
    assert house.host.gate is not None
    for _ in range(pieces):
        house.host.gate.release()


def edited(message: Message, text: str) -> Message:
    return replace(message, text=text)


# ── edits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_question_edited_before_its_answer_is_answered_as_edited(house: House) -> None:
    question = said("one")
    await house.hear(question)
    change = await house.intake.revise(edited(question, "two"))

    async with house.running(HASTY):
        let_through(house, 9)
        row = await house.logged(question)

    assert change is Change.WAITING
    assert (row.question, house.wall.texts) == ("two", ["you said: two"])


async def test_a_question_edited_while_it_is_answered_is_answered_anew_in_the_same_post(house: House) -> None:
    question = said("one")

    async with house.running(HASTY):
        await house.hear(question)
        let_through(house, 2)
        await eventually(lambda: house.wall.texts == ["you said:"])
        (post,) = house.wall.posts
        change = await house.intake.revise(edited(question, "two"))
        await eventually(lambda: len(house.host.prompts) == 2)
        let_through(house, 9)
        row = await house.logged(question)

    assert change is Change.ANSWERING
    assert house.wall.posts == {post: "you said: two"}
    assert row.question == "two"
    assert [turn.text for turn in await house.store.turns(ROOM)] == ["two", "you said: two"]


async def test_an_edit_after_the_answer_changes_nothing(house: House) -> None:
    question = said("one")

    async with house.running(HASTY):
        await house.hear(question)
        let_through(house, 9)
        await house.logged(question)
        change = await house.intake.revise(edited(question, "two"))

    assert (change, house.wall.texts) == (Change.LATE, ["you said: one"])


# ── deletions ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_question_deleted_before_its_answer_is_dropped(house: House) -> None:
    question, after = said("one"), said("two")
    await house.hear(question)
    await house.hear(after)
    change = await house.intake.withdraw(ROOM, question.id)

    async with house.running(HASTY):
        let_through(house, 9)
        await house.logged(after)

    assert (change, house.wall.texts) == (Change.WAITING, ["you said: two"])


async def test_the_answer_to_a_question_that_is_deleted_stops_and_goes(house: House) -> None:
    question = said("one two three")

    async with house.running(HASTY):
        await house.hear(question)
        let_through(house, 3)
        await eventually(lambda: bool(house.wall.texts))
        change = await house.intake.withdraw(ROOM, question.id)
        row = await house.logged(question)

    assert change is Change.ANSWERING
    assert (house.wall.texts, house.host.open_streams) == ([], 0)
    assert (row.outcome, row.question, row.answer, row.messages) == (Outcome.WITHDRAWN, "", "", ())
    assert await house.store.turns(ROOM) == ()


class DeletedAtLast(MemoryStore):
    """A store in which each question is deleted just before its answer is committed."""

    async def commit(self, claim: Claim, commit: Commit) -> bool:
        if not commit.withdrawn:
            await self.withdraw(claim.conversation, commit.turn_id)
        return await super().commit(claim, commit)


async def test_a_deletion_between_the_last_word_and_the_commit_still_takes_the_answer_back(house: House) -> None:
    house.store = DeletedAtLast()
    question = said("one")

    async with house.running(HASTY):
        await house.hear(question)
        let_through(house, 9)
        row = await house.logged(question)

    assert (house.wall.texts, row.outcome) == ([], Outcome.WITHDRAWN)
    assert [answer.outcome for answer in house.meter.answers] == [Outcome.WITHDRAWN]


async def test_what_a_dead_worker_showed_of_a_question_deleted_since_is_taken_back(house: House) -> None:
    question = said("one")
    await house.hear(question)
    async with house.running(replace(HASTY, drain_s=0.05)):
        let_through(house, 2)
        await eventually(lambda: house.wall.texts == ["you said:"])
        house.stopping.set()
    await house.intake.withdraw(ROOM, question.id)

    house.stopping = asyncio.Event()
    async with house.running(HASTY):
        row = await house.logged(question)

    assert (house.wall.texts, row.outcome) == ([], Outcome.WITHDRAWN)


async def test_a_message_whose_deletion_came_first_is_not_answered(house: House) -> None:
    question, after = said("one"), said("two")
    await house.intake.withdraw(ROOM, question.id)
    await house.hear(question)
    await house.hear(after)

    async with house.running(HASTY):
        let_through(house, 9)
        await house.logged(after)

    assert house.wall.texts == ["you said: two"]


# ── stop ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stop_that_pubsub_lost_comes_with_the_next_renewal(house: House) -> None:
    question = said("one two three")

    async with house.running(HASTY):
        await house.hear(question)
        let_through(house, 3)
        await eventually(lambda: bool(house.wall.texts))
        house.store._listeners.clear()
        await house.hear(said("stop"))
        row = await house.logged(question)

    assert row.outcome is Outcome.STOPPED
    assert house.wall.texts[0].endswith(lines.STOPPED)


# ── losing the lease ────────────────────────────────────────────────────────────────────────────────────────────────


async def overtake(house: House, now: list[float]) -> Claim:
    """A rival takes the conversation when its lease is long over."""
    now[0] += 60.0
    claim = await house.store.take("rival", 1.0)
    assert claim is not None
    assert claim.taken_over
    return claim


@pytest.mark.parametrize("named", [True, False])
async def test_an_overtaken_worker_takes_back_only_a_post_that_lost(house: House, *, named: bool) -> None:
    now = [1000.0]
    house.store = MemoryStore(lease_s=5.0, clock=lambda: now[0])
    question = said("one")

    async with house.running(replace(HASTY, slots=1)):
        await house.hear(question)
        let_through(house, 2)
        await eventually(lambda: house.wall.texts == ["you said:"])
        (post,) = house.wall.posts
        claim = await overtake(house, now)
        await eventually(lambda: house.host.open_streams == 0)
        await house.store.commit(claim, Commit(question.id, posts=(post if named else "another",)))
        await house.store.finish(claim)
        house.host.gate = None
        after = said("two")
        await house.hear(after)
        await house.logged(after)
        await eventually(lambda: len(house.wall.posts) == (2 if named else 1))

    assert (post in house.wall.posts) is named
    assert (house.meter.fences, house.meter.takeovers) == (["wall"], [])
    assert house.wall.texts[-1] == "you said: two"


async def test_a_worker_whose_lease_may_be_over_shows_nothing_more(house: House) -> None:
    clock = [0.0]
    house.store = MemoryStore(lease_s=0.3)
    question = said("one")

    async with house.running(replace(HASTY, clock=lambda: clock[0])):
        await house.hear(question)
        let_through(house, 2)
        await eventually(lambda: house.wall.texts == ["you said:"])
        house.store.down = True  # renewals fail from here on
        clock[0] += 60.0
        let_through(house, 9)
        await eventually(lambda: house.host.open_streams == 0)
        shown = list(house.wall.texts)
        house.store.down = False
        await house.logged(question)

    assert shown == ["you said:"]
    assert house.wall.texts == ["you said: one"]
