"""Another answer to the same question: made anew, in the same place, once, and only for who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.chat import lines
from core.chat.again import ask_again
from core.chat.errors import DeliveryFailed, HostUnavailable
from core.chat.intake import Receipt
from core.chat.interaction import PromptMessage
from core.chat.message import Answered, Message, Outcome, Person
from core.chat.ports import Commit
from core.chat.settling import Patience, settle
from core.chat.worker import Pace
from core.loop import listening
from core.loop.feedback import Source, Verdict
from core.loop.listening import Listener, Said
from tests.support.house import House, eventually
from tests.support.memory_store import MemoryStore
from tests.support.scripted_host import ScriptedHost
from tests.support.wall import ROOM, Wall, said

NOW = 1_700_000_100.0
HASTY = Pace(take_wait_s=0.05, retry_s=0.01, lease_s=0.3, settling=Patience(at_most_s=5.0, look_s=0.01))
BEN = Person("p2", "Ben")


class Rephrasing:
    """Answers each time in other words."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, messages: Sequence[PromptMessage]) -> list[str]:
        self.count += 1
        return [f"{messages[-1].content} ", f"({self.count})"]


@pytest.fixture
def house() -> House:
    return House(host=ScriptedHost(reply=Rephrasing()))


def listener(house: House) -> Listener:
    return Listener("wall", house.store, house.ledger, house.intake, now=lambda: NOW)


async def answered(house: House, question: Message) -> str:
    """Asks `question`, waits for its row, and returns the post that shows the answer."""
    before = set(house.wall.posts)
    await house.hear(question)
    await house.logged(question)
    (post,) = set(house.wall.posts) - before
    return post


async def shown(house: House, post: str) -> Answered:
    found = await house.store.answer_of("wall", post)
    assert found is not None
    return found


async def test_another_answer_takes_the_place_of_the_first_before_people_and_in_the_history(house: House) -> None:
    first, second = said("one"), said("two")

    async with house.running():
        post = await answered(house, first)
        await answered(house, second)
        line = await listener(house).again(post, "p1")
        await eventually(lambda: len(house.ledger.rows) == 3)

    assert line == listening.AGAIN
    assert house.wall.texts == ["one (3)", "two (2)"]
    turns = await house.store.turns(ROOM)
    assert [turn.text for turn in turns] == ["one", "one (3)", "two", "two (2)"]
    again = next(row for row in house.ledger.rows.values() if row.replaces)
    assert (again.replaces, again.question, again.answer) == (first.id, "one", "one (3)")
    assert again.turn_id == turns[1].made_by != first.id
    assert (await house.ledger.find(first.id)) is not None
    # As it was asked the first time: nothing that was said later, and other tokens drawn.
    assert [[message.role for message in prompt] for prompt in house.host.prompts][2] == ["system", "user"]
    assert house.host.samplings[2].seed != house.host.samplings[0].seed
    assert (await shown(house, post)).turn_id == again.turn_id


async def test_the_new_answer_is_replaced_in_its_turn(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
        await listener(house).again(post, "p1")
        await eventually(lambda: len(house.ledger.rows) == 2)
        await listener(house).again(post, "p1")
        await eventually(lambda: len(house.ledger.rows) == 3)

    assert house.wall.texts == ["one (3)"]
    rows = list(house.ledger.rows.values())
    assert [row.replaces for row in rows] == ["", rows[0].turn_id, rows[1].turn_id]


async def test_a_double_click_asks_once(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
        shown_first = await shown(house, post)
        receipts = [await house.hear(ask_again(shown_first, NOW)) for _ in range(2)]
        await eventually(lambda: len(house.ledger.rows) == 2)
        late = await house.hear(ask_again(shown_first, NOW + 60.0))
        await eventually(lambda: len(house.ledger.rows) == 3)

    assert receipts == [Receipt.ACCEPTED, Receipt.DUPLICATE]
    assert late is Receipt.ACCEPTED
    assert house.wall.texts == ["one (2)"]
    assert house.wall.notices == [lines.FORGOTTEN]
    assert list(house.ledger.rows.values())[2].outcome is Outcome.REFUSED


async def test_only_who_asked_may_have_another_answer_or_be_told_why(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
        ours = listener(house)

        assert await ours.again(post, "p2") == listening.NOT_YOURS
        assert await ours.why(post, "p2") == [listening.NOT_YOURS]
        assert (await ours.why(post, "p1"))[0] == "Model: scripted, version v1"
        assert await ours.again("post-unknown", "p1") == listening.TOO_OLD
        forged = ask_again(replace(await shown(house, post), person_id="p2"), NOW)
        await house.hear(forged)
        await house.logged(forged)

    assert house.wall.texts == ["one (1)"]


async def test_a_shared_question_is_asked_again_without_a_second_label(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one", shared=True, person=BEN))
        await listener(house).again(post, "p2")
        await eventually(lambda: len(house.ledger.rows) == 2)

    assert [prompt[-1].content for prompt in house.host.prompts] == ["Ben: one", "Ben: one"]


async def test_when_no_other_answer_can_be_made_the_first_one_stays(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
        house.host.error = HostUnavailable("away")
        await listener(house).again(post, "p1")
        await eventually(lambda: len(house.ledger.rows) == 2)

    assert house.wall.texts == [f"one (1)\n\n({lines.NO_OTHER})"]
    assert [turn.text for turn in await house.store.turns(ROOM)] == ["one", "one (1)"]
    assert (await shown(house, post)).turn_id == next(iter(house.ledger.rows.values())).turn_id


async def test_after_a_reset_what_people_see_stays_and_they_are_told(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
        reset = said("reset")
        await house.hear(reset)
        await eventually(lambda: len(house.wall.posts) == 2)
        await listener(house).again(post, "p1")
        await eventually(lambda: len(house.ledger.rows) == 2)

    assert house.wall.texts == ["one (1)", lines.RESET]
    assert house.wall.notices == [lines.FORGOTTEN]


async def test_a_worker_that_takes_over_goes_on_in_the_same_post() -> None:
    house = House(host=ScriptedHost(reply=Rephrasing()))

    async with house.running():
        post = await answered(house, said("one"))
    again = ask_again(await shown(house, post), NOW)
    await house.hear(again)
    dead = await house.store.take("dead", 1.0)
    assert dead is not None
    await house.store.intend(dead, again.id)
    await house.store.release(dead)
    house.stopping = asyncio.Event()
    async with house.running(HASTY):
        await house.logged(again)

    assert house.wall.posts == {post: "one (2)"}


async def test_an_overtaken_worker_never_removes_the_post_of_the_first_answer() -> None:
    store, wall = MemoryStore(), Wall()
    wall.posts = {"post1": "one", "post2": "more"}
    again = ask_again(Answered("wall:w1:c1:m1", ROOM, "p1", "Ada", NOW, ("post1",)), NOW)
    await store.accept(again)
    claim = await store.take("w1", 1.0)
    assert claim is not None

    await store.commit(claim, Commit(again.id))

    await settle(again, ("post1", "post2"), store, wall, Patience(1.0, 0.01))

    assert wall.posts == {"post1": "one"}


async def test_a_platform_that_takes_no_edit_leaves_the_history_as_it_was(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
        house.wall.refuse = [DeliveryFailed("gone", retryable=False) for _ in range(9)]
        await listener(house).again(post, "p1")
        await eventually(lambda: len(house.ledger.rows) == 2)

    assert [turn.text for turn in await house.store.turns(ROOM)] == ["one", "one (1)"]


# ── verdicts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def click(verdict: Verdict, id_: str = "c1", person: str = "p1") -> Said:
    return Said(id_, person, verdict, Source.REACTION)


async def test_a_verdict_is_about_the_answer_that_the_post_shows_now(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
        ours = listener(house)
        line = await ours.judge(post, click(Verdict.NOT_HELPFUL))
        await ours.again(post, "p1")
        await eventually(lambda: len(house.ledger.rows) == 2)
        of_the_new = await ours.verdict(post, "p1")
        await ours.judge(post, click(Verdict.HELPFUL, "c2"))
        await eventually(lambda: len(house.ledger.feedback) == 2)

    assert line == listening.THANKS[Verdict.NOT_HELPFUL]
    assert of_the_new is None
    turns = [row.turn_id for row in house.ledger.rows.values()]
    assert [(each.turn_id, each.verdict) for each in house.ledger.feedback.values()] == [
        (turns[0], Verdict.NOT_HELPFUL),
        (turns[1], Verdict.HELPFUL),
    ]


async def test_removing_a_reaction_takes_back_its_own_word_and_no_later_one(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
        ours = Listener("wall", house.store, house.ledger, house.intake)
        await ours.judge(post, click(Verdict.HELPFUL, "c1"))
        await ours.judge(post, click(Verdict.NOT_HELPFUL, "c2"))
        ignored = await ours.take_back(post, click(Verdict.HELPFUL, "c3"))
        still = await ours.verdict(post, "p1")
        await ours.take_back(post, click(Verdict.NOT_HELPFUL, "c4"))

    assert (ignored, still) == ("", Verdict.NOT_HELPFUL)
    assert await ours.verdict(post, "p1") is None


async def test_a_memory_that_is_away_is_a_line_and_never_a_fault(house: House) -> None:
    async with house.running():
        post = await answered(house, said("one"))
    house.store.down = house.ledger.down = True
    ours = listener(house)

    assert await ours.judge(post, click(Verdict.HELPFUL)) == listening.AWAY
    assert await ours.again(post, "p1") == listening.AWAY
    assert await ours.why(post, "p1") == [listening.LOG_AWAY]
    assert await ours.verdict(post, "p1") is None
    house.store.down = False
    assert await ours.why(post, "p1") == [listening.LOG_AWAY]
