"""Buttons, forms and reactions on Discord, by the real SDK against a fake Discord that keeps Discord's rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from core.chat.interaction import PromptMessage, Sampling
from core.chat.kit import Answerer
from core.chat.logbook import LogWriter
from core.chat.persona import Persona
from core.chat.worker import Pace, Worker
from core.loop import listening
from core.loop.feedback import Feedback, Reason, Source, Verdict, last_words
from tests.support.discord_harness import DiscordHarness, discord_harness, until
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.interactions import buttons
from tests.support.fake_discord.world import Post
from tests.support.memory_store import MemoryLedger, MemoryStore
from tests.support.scripted_host import ScriptedHost

ROW = ["parley:helpful", "parley:not_helpful", "parley:again", "parley:why"]


def rephrasing() -> ScriptedHost:
    host = ScriptedHost()

    def reply(messages: Sequence[PromptMessage]) -> list[str]:
        return [f"{messages[-1].content} ", f"({len(host.prompts)})"]

    host.reply = reply
    return host


@dataclass
class House:
    """Discord with core's worker and log writer behind it."""

    harness: DiscordHarness
    host: ScriptedHost = field(default_factory=rephrasing)
    store: MemoryStore = field(default_factory=MemoryStore)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    @property
    def discord(self) -> FakeDiscord:
        return self.harness.discord

    async def asked(self, person: str = "ada", text: str = "one", *, room: bool = False) -> Post:
        """The post that answers `text`, once it is closed."""
        before = len(self.ledger.rows)
        await (self.harness.say_in_room(person, text) if room else self.harness.say_direct(person, text))
        await until(lambda: len(self.ledger.rows) > before)
        return self.discord.posts()[-1]

    async def judged(self, count: int) -> list[Feedback]:
        await until(lambda: len(self.ledger.feedback) >= count)
        return list(self.ledger.feedback.values())


@pytest.fixture
async def house() -> AsyncIterator[House]:
    store, ledger = MemoryStore(), MemoryLedger()
    async with discord_harness(store, verdicts=store, log=ledger) as harness:
        here = House(harness, store=store, ledger=ledger)
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=100, seed=0)
        kit = Answerer(here.host, {"discord": harness.courier}, Persona(), sampling, "worker-1")
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(Worker(store, kit, stopping, Pace(take_wait_s=0.05)).run())
            group.create_task(LogWriter(store, ledger, "writer", stopping, wait_s=0.02).run())
            try:
                yield here
            finally:
                stopping.set()


async def test_buttons_come_with_the_last_text_of_an_answer_and_not_before(house: House) -> None:
    house.host.reply = lambda _messages: [f"{'x' * 99} "] * 30  # two posts

    await house.asked()

    first, last = house.discord.posts()
    assert (buttons(first), buttons(last)) == ([], ROW)


async def test_a_line_that_is_no_answer_has_no_buttons(house: House) -> None:
    await house.harness.say_direct("ada", "reset")
    await until(lambda: len(house.discord.posts()) == 1)

    assert buttons(house.discord.posts()[0]) == []


async def test_a_click_is_noted_and_a_second_takes_it_back(house: House) -> None:
    post = await house.asked(room=True)

    first = await house.discord.click("bob", post, "helpful")
    await house.judged(1)
    second = await house.discord.click("bob", post, "helpful")
    said = await house.judged(2)

    assert first.told == [listening.THANKS[Verdict.HELPFUL]]
    assert second.told == [listening.THANKS[Verdict.TAKEN_BACK]]
    assert first.ephemeral
    assert [(each.verdict, each.source) for each in said] == [
        (Verdict.HELPFUL, Source.BUTTON),
        (Verdict.TAKEN_BACK, Source.BUTTON),
    ]
    assert last_words(said) == {}
    assert said[0].person_id == house.discord.world.user("bob").id


async def test_not_helpful_counts_at_once_and_its_form_adds_the_reason(house: House) -> None:
    post = await house.asked()

    opened = await house.discord.click("ada", post, "not_helpful")
    [at_once] = await house.judged(1)
    sent = await house.discord.submit(opened, reason="wrong", note="no", better="Two.")
    said = await house.judged(2)

    assert (at_once.verdict, at_once.reason) == (Verdict.NOT_HELPFUL, Reason.NONE)
    [last] = last_words(said).values()
    assert (last.reason, last.note, last.better, last.source) == (Reason.WRONG, "no", "Two.", Source.MODAL)
    assert sent.told == [listening.THANKS[Verdict.NOT_HELPFUL]]


async def test_an_empty_form_is_no_reason(house: House) -> None:
    post = await house.asked()

    await house.discord.submit(await house.discord.click("ada", post, "not_helpful"))

    said = await house.judged(2)
    assert [each.reason for each in said] == [Reason.NONE, Reason.NONE]


async def test_thumbs_below_an_answer_count_and_taking_one_away_takes_it_back(house: House) -> None:
    post = await house.asked(room=True)
    other = house.discord.world.posts[next(iter(house.discord.world.posts))]

    await house.discord.react("bob", post, "👍🏽")
    await house.discord.react("bot", post, "👎", bot=True)
    await house.discord.react("bob", post, "🎉")
    await house.discord.react("bob", other, "👎")
    await house.judged(1)
    await house.discord.react("bob", post, "👎")
    await house.discord.react("bob", post, "👍", added=False)
    said = await house.judged(2)
    await house.discord.react("bob", post, "👎", added=False)

    assert [each.verdict for each in await house.judged(3)] == [
        Verdict.HELPFUL,
        Verdict.NOT_HELPFUL,
        Verdict.TAKEN_BACK,
    ]
    assert {each.source for each in said} == {Source.REACTION}


async def test_thumbs_in_direct_messages_are_heard_except_our_own(house: House) -> None:
    post = await house.asked()

    await house.discord.sessions.tell_reaction(post, house.discord.world.bot, "👍", added=True)
    await house.discord.react("ada", post, "👎")

    assert [each.verdict for each in await house.judged(1)] == [Verdict.NOT_HELPFUL]


async def test_a_reaction_waits_while_the_memory_is_away(house: House) -> None:
    post = await house.asked()
    house.store.down = True
    await house.discord.react("ada", post, "👍")
    line = await house.discord.click("ada", post, "again")
    house.store.down = False

    assert [each.verdict for each in await house.judged(1)] == [Verdict.HELPFUL]
    assert line.told == [listening.AWAY]


async def test_another_answer_takes_the_place_of_the_first_for_who_asked(house: House) -> None:
    post = await house.asked(room=True)

    refused = await house.discord.click("bob", post, "again")
    taken = await house.discord.click("ada", post, "again")
    await until(lambda: len(house.ledger.rows) == 2)

    assert (refused.told, taken.told) == ([listening.NOT_YOURS], [listening.AGAIN])
    assert [each.id for each in house.discord.posts()] == [post.id]
    assert post.content.endswith("(2)")
    assert buttons(post) == ROW


async def test_a_longer_answer_moves_the_buttons_to_its_new_end(house: House) -> None:
    post = await house.asked()
    house.host.reply = lambda _messages: [f"{'x' * 99} "] * 30

    await house.discord.click("ada", post, "again")
    await until(lambda: len(house.ledger.rows) == 2)

    first, last = house.discord.posts()
    assert (first.id, buttons(first), buttons(last)) == (post.id, [], ROW)


async def test_why_is_told_only_to_who_asked(house: House) -> None:
    post = await house.asked(room=True)

    told = await house.discord.click("ada", post, "why")
    refused = await house.discord.click("bob", post, "why")

    assert told.told[0].startswith("Model: scripted, version v1\n")
    assert told.ephemeral
    assert refused.told == [listening.NOT_YOURS]
    assert len(house.discord.posts()) == 1


async def test_buttons_outlive_a_restart(house: House) -> None:
    post = await house.asked()

    await house.discord.disconnect()
    await house.discord.reconnect()
    told = await house.discord.click("ada", post, "helpful")

    assert told.told == [listening.THANKS[Verdict.HELPFUL]]


async def test_a_click_that_is_too_old_is_no_fault(house: House) -> None:
    post = await house.asked()
    interactions = house.discord.rest.interactions
    interactions.slow_s = 5.0
    _, event = interactions.click(house.discord.world.user("ada"), post, "parley:why")

    await house.discord.sessions.tell_interaction(event)
    await until(lambda: interactions.refused == ["Unknown interaction"])
    interactions.slow_s = 0.0

    assert (await house.discord.click("ada", post, "helpful")).told == [listening.THANKS[Verdict.HELPFUL]]
