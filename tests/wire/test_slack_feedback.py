"""Buttons, forms and reactions in Slack, by the real SDK against a fake Slack that keeps Slack's rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from bots.slack.buttons import AGAIN, JUDGE, MORE, WHY
from core.chat.interaction import PromptMessage, Sampling
from core.chat.kit import Answerer
from core.chat.logbook import LogWriter
from core.chat.persona import Persona
from core.chat.worker import Pace, Worker
from core.loop import listening
from core.loop.feedback import Feedback, Reason, Source, Verdict, last_words
from tests.support.fake_slack import FakeSlack, Post
from tests.support.memory_store import MemoryLedger, MemoryStore
from tests.support.scripted_host import ScriptedHost
from tests.support.slack_harness import SlackHarness, slack_harness, until

ROW = [JUDGE, MORE, AGAIN, WHY]


def rephrasing() -> ScriptedHost:
    host = ScriptedHost()

    def reply(messages: Sequence[PromptMessage]) -> list[str]:
        return [f"{messages[-1].content} ", f"({len(host.prompts)})"]

    host.reply = reply
    return host


@dataclass
class House:
    """Slack with core's worker and log writer behind it."""

    harness: SlackHarness
    host: ScriptedHost = field(default_factory=rephrasing)
    store: MemoryStore = field(default_factory=MemoryStore)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    @property
    def slack(self) -> FakeSlack:
        return self.harness.slack

    async def asked(self, person: str = "U1", text: str = "one", *, room: bool = True) -> Post:
        """The post that answers `text`, once it is closed."""
        before = len(self.ledger.rows)
        await (self.harness.say_in_room(person, text) if room else self.harness.say_direct(person, text))
        await until(lambda: len(self.ledger.rows) > before)
        return self.slack.workspace.of_bot()[-1]

    async def click(self, person: str, post: Post, action_id: str, value: str = "") -> str:
        """Clicks, and waits for what that person alone is told."""
        whispers = self.slack.workspace.whispers
        before = len(whispers)
        self.slack.click(person, post, action_id, value)
        await until(lambda: len(whispers) > before)
        assert whispers[-1][0] == person
        return whispers[-1][1]

    async def judged(self, count: int) -> list[Feedback]:
        await until(lambda: len(self.ledger.feedback) >= count)
        return list(self.ledger.feedback.values())


@pytest.fixture
async def house() -> AsyncIterator[House]:
    store, ledger = MemoryStore(), MemoryLedger()
    async with slack_harness(store, verdicts=store, log=ledger) as harness:
        here = House(harness, store=store, ledger=ledger)
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=100, seed=0)
        kit = Answerer(here.host, {"slack": harness.courier}, Persona(), sampling, "worker-1")
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(Worker(store, kit, stopping, Pace(take_wait_s=0.05)).run())
            group.create_task(LogWriter(store, ledger, "writer", stopping, wait_s=0.02).run())
            try:
                yield here
            finally:
                stopping.set()


def below(post: Post) -> list[str]:
    return [each["action_id"] for block in post.blocks for each in block.get("elements", ())]


@pytest.mark.parametrize("room", [True, False])
async def test_buttons_come_with_the_end_of_an_answer_streamed_or_posted(house: House, *, room: bool) -> None:
    post = await house.asked(room=room)

    assert below(post) == ROW
    assert post.text == ("U1: one (1)" if room else "one (1)")
    assert post.streaming is False


async def test_a_line_that_is_no_answer_has_no_buttons(house: House) -> None:
    await house.harness.say_direct("U1", "reset")
    await until(lambda: len(house.slack.workspace.of_bot()) == 1)

    assert below(house.slack.workspace.of_bot()[0]) == []


async def test_thumbs_are_noted_and_the_last_one_counts(house: House) -> None:
    post = await house.asked()

    line = await house.click("U2", post, JUDGE, "helpful")
    await house.click("U2", post, JUDGE, "not_helpful")

    said = await house.judged(2)
    assert line == listening.THANKS[Verdict.HELPFUL]
    assert [(each.verdict, each.source, each.person_id) for each in said] == [
        (Verdict.HELPFUL, Source.BUTTON, "U2"),
        (Verdict.NOT_HELPFUL, Source.BUTTON, "U2"),
    ]
    assert last_words(said)["U2"].verdict is Verdict.NOT_HELPFUL


async def test_the_form_brings_a_reason_and_a_better_answer(house: House) -> None:
    post = await house.asked()

    house.slack.click("U1", post, MORE)
    await until(lambda: bool(house.slack.workspace.views))
    house.slack.submit("U1", reason="wrong", better="Two.")

    [said] = await house.judged(1)
    assert (said.verdict, said.reason, said.note, said.better) == (Verdict.NOT_HELPFUL, Reason.WRONG, "", "Two.")
    assert said.source is Source.MODAL
    await until(lambda: house.slack.workspace.whispers == [("U1", listening.THANKS[Verdict.NOT_HELPFUL])])


async def test_a_form_that_slack_does_not_open_any_more_is_no_fault(house: House) -> None:
    post = await house.asked()
    house.slack.refuse("views.open", status=200, error="expired_trigger_id")

    house.slack.click("U1", post, MORE)
    await until(lambda: house.slack.unacked() == 0)

    assert house.slack.workspace.views == []
    assert await house.click("U1", post, JUDGE, "helpful") == listening.THANKS[Verdict.HELPFUL]


async def test_reactions_count_and_taking_one_away_takes_it_back(house: House) -> None:
    post = await house.asked()
    question = next(each for each in house.slack.workspace.posts.values() if each.user == "U1")

    house.slack.react("U2", post, "+1::skin-tone-3")
    house.slack.react("U2", post, "tada")
    house.slack.react("U2", question, "-1")
    await house.judged(1)
    house.slack.react("U2", post, "thumbsup", added=False)
    said = await house.judged(2)

    assert [each.verdict for each in said] == [Verdict.HELPFUL, Verdict.TAKEN_BACK]
    assert {each.source for each in said} == {Source.REACTION}
    await until(lambda: house.slack.unacked() == 0)


async def test_a_reaction_is_told_again_while_the_memory_is_away(house: House) -> None:
    post = await house.asked()
    house.store.down = True
    house.slack.react("U2", post, "-1")
    await until(lambda: house.slack.sockets.envelopes[-1].attempts > 1)
    house.store.down = False

    assert [each.verdict for each in await house.judged(1)] == [Verdict.NOT_HELPFUL]


@pytest.mark.parametrize("room", [True, False])
async def test_another_answer_takes_the_place_of_the_first_for_who_asked(house: House, *, room: bool) -> None:
    post = await house.asked(room=room)

    refused = await house.click("U2", post, AGAIN)
    taken = await house.click("U1", post, AGAIN)
    await until(lambda: len(house.ledger.rows) == 2)

    assert (refused, taken) == (listening.NOT_YOURS, listening.AGAIN)
    assert [each.ts for each in house.slack.workspace.of_bot()] == [post.ts]
    assert post.text.endswith("one (2)")
    assert below(post) == ROW


async def test_why_is_told_only_to_who_asked(house: House) -> None:
    post = await house.asked()

    told = await house.click("U1", post, WHY)

    assert told.startswith("Model: scripted, version v1\n")
    assert await house.click("U2", post, WHY) == listening.NOT_YOURS
    assert len(house.slack.workspace.of_bot()) == 1


async def test_each_click_is_acknowledged_in_time(house: House) -> None:
    post = await house.asked()

    await house.click("U1", post, WHY)
    await until(lambda: house.slack.unacked() == 0)

    assert max(house.slack.sockets.acked_in_s) < 3.0
