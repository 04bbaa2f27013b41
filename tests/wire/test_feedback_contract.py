"""One contract for all platforms: judge an answer, change one's mind, have another answer, be told why, alone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import pytest

from bots.slack.buttons import AGAIN, JUDGE, MORE, WHY
from core.chat.interaction import Interaction, Sampling
from core.chat.kit import Answerer
from core.chat.logbook import LogWriter
from core.chat.persona import Persona
from core.chat.ports import Courier
from core.chat.worker import Pace, Worker
from core.loop import listening
from core.loop.feedback import Feedback, Reason, Verdict, last_words
from storage.connections import open_redis
from storage.engine import open_engine
from storage.feed import RedisFeed
from storage.ledger import SqlLedger
from storage.log_stream import RedisLogStream
from storage.mailbox import RedisMailbox
from storage.migrate import migrate
from storage.verdicts import RedisVerdicts
from tests.support.discord_harness import DiscordHarness, discord_harness, until
from tests.support.fake_discord.world import Post
from tests.support.scripted_host import ScriptedHost
from tests.support.slack_harness import SlackHarness, slack_harness
from tests.support.web_harness import WebHarness, web_harness

PLATFORMS = ("web", "discord", "slack")


class Hands(Protocol):
    """What people do with the newest answer on one platform; each returns what that person alone is told."""

    @property
    def courier(self) -> Courier:
        """What the worker answers with."""

    async def ask(self, person: str, text: str) -> None:
        """Asks where others may see the answer, if the platform has such a place."""

    async def judge(self, person: str, verdict: Verdict) -> str:
        """One click."""

    async def correct(self, person: str, reason: Reason, better: str) -> str:
        """A reason and a better answer."""

    async def again(self, person: str) -> str:
        """Asks for another answer."""

    async def why(self, person: str) -> str:
        """Asks why the answer is as it is."""

    def visible(self) -> list[str]:
        """The bot's texts that everybody sees who sees the conversation."""


@dataclass
class WebHands:
    harness: WebHarness
    native: str = ""
    asker: str = ""

    @property
    def courier(self) -> Courier:
        return self.harness.courier

    async def ask(self, person: str, text: str) -> None:
        self.native, self.asker = await self.harness.say_direct(person, text), person

    async def judge(self, person: str, verdict: Verdict, **more: str) -> str:
        return await self._post(person, "feedback", id=secrets.token_hex(16), verdict=verdict.value, **more)

    async def correct(self, person: str, reason: Reason, better: str) -> str:
        return await self.judge(person, Verdict.NOT_HELPFUL, reason=reason.value, better=better)

    async def again(self, person: str) -> str:
        return await self._post(person, "again")

    async def why(self, person: str) -> str:
        browser = await self.harness.person(person)
        address = f"{await self._base()}/answers/{self.native}/why"
        async with browser.session.get(address, headers={"Accept": "application/json"}) as response:
            reply = await response.json()
        return "\n".join(reply.get("lines") or [reply["line"]])

    def visible(self) -> list[str]:
        return self.harness.visible()

    async def _post(self, person: str, what: str, **fields: str) -> str:
        browser = await self.harness.person(person)
        headers = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin"}
        address = f"{await self._base()}/answers/{self.native}/{what}"
        async with browser.session.post(address, data=fields, headers=headers) as response:
            line: str = (await response.json())["line"]
        return line

    async def _base(self) -> str:
        return (await self.harness.person(self.asker)).base


@dataclass
class SlackHands:
    harness: SlackHarness

    @property
    def courier(self) -> Courier:
        return self.harness.courier

    async def ask(self, person: str, text: str) -> None:
        await self.harness.say_in_room(person, text)

    async def judge(self, person: str, verdict: Verdict) -> str:
        if verdict is not Verdict.TAKEN_BACK:
            return await self._click(person, JUDGE, verdict.value)
        # Slack's own thumbs tell nobody that they were taken back; a reaction does.
        slack, post = self.harness.slack, self.harness.slack.workspace.of_bot()[-1]
        slack.react(person, post, "+1", added=False)
        return listening.THANKS[verdict]

    async def correct(self, person: str, reason: Reason, better: str) -> str:
        workspace = self.harness.slack.workspace
        self._press(person, MORE)
        await until(lambda: bool(workspace.views))
        before = len(workspace.whispers)
        self.harness.slack.submit(person, reason=reason.value, better=better)
        return await self._whispered(person, before)

    async def again(self, person: str) -> str:
        return await self._click(person, AGAIN)

    async def why(self, person: str) -> str:
        return await self._click(person, WHY)

    def visible(self) -> list[str]:
        return self.harness.visible()

    async def _click(self, person: str, action_id: str, value: str = "") -> str:
        before = len(self.harness.slack.workspace.whispers)
        self._press(person, action_id, value)
        return await self._whispered(person, before)

    def _press(self, person: str, action_id: str, value: str = "") -> None:
        self.harness.slack.click(person, self.harness.slack.workspace.of_bot()[-1], action_id, value)

    async def _whispered(self, person: str, before: int) -> str:
        workspace = self.harness.slack.workspace
        await until(lambda: len(workspace.whispers) > before)
        who, line = workspace.whispers[-1]
        assert who == person
        return line


@dataclass
class DiscordHands:
    harness: DiscordHarness

    @property
    def courier(self) -> Courier:
        return self.harness.courier

    @property
    def post(self) -> Post:
        return self.harness.discord.posts()[-1]

    async def ask(self, person: str, text: str) -> None:
        await self.harness.say_in_room(person, text)

    async def judge(self, person: str, verdict: Verdict) -> str:
        word = verdict.value
        if verdict is Verdict.TAKEN_BACK:  # a second click on what was said last
            word = Verdict.HELPFUL.value
        told = await self.harness.discord.click(person, self.post, word)
        return told.told[0] if told.told else listening.THANKS[verdict]

    async def correct(self, person: str, reason: Reason, better: str) -> str:
        opened = await self.harness.discord.click(person, self.post, "not_helpful")
        return (await self.harness.discord.submit(opened, reason=reason.value, better=better)).told[0]

    async def again(self, person: str) -> str:
        return (await self.harness.discord.click(person, self.post, "again")).told[0]

    async def why(self, person: str) -> str:
        told = await self.harness.discord.click(person, self.post, "why")
        assert told.ephemeral
        return told.told[0]

    def visible(self) -> list[str]:
        return self.harness.visible()


class KeptLedger(SqlLedger):
    """The SQL ledger, which also remembers the rows of answers in their order."""

    def __init__(self, url: str) -> None:
        super().__init__(open_engine(url))
        self.rows: list[Interaction] = []

    async def record(self, interactions: Sequence[Interaction]) -> None:
        await super().record(interactions)
        self.rows += interactions


@dataclass
class House:
    """One platform with everything behind it: a real Valkey, a real database, core's worker and log writer."""

    hands: Hands
    ledger: KeptLedger
    host: ScriptedHost

    async def logged(self, count: int) -> list[Interaction]:
        """The rows of all answers, oldest first, once there are `count`."""
        async with asyncio.timeout(20.0):
            while len(self.ledger.rows) < count:
                await asyncio.sleep(0.02)
        return self.ledger.rows

    async def said(self, turn_id: str, count: int) -> list[Feedback]:
        """What was said of an answer, once that is `count` things."""
        async with asyncio.timeout(20.0):
            while len(found := await self.ledger.feedback_on(turn_id)) < count:
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def living(platform: str, redis_url: str, sqlite_url: str) -> AsyncIterator[House]:
    await migrate(sqlite_url)
    client, blocking = open_redis(redis_url), open_redis(redis_url, blocking=True)
    mailbox, feed = RedisMailbox(client, blocking), RedisFeed(client)
    ledger, host = KeptLedger(sqlite_url), ScriptedHost()
    host.reply = lambda messages: [f"{messages[-1].content} ", f"({len(host.prompts)})"]
    await mailbox.open()
    try:
        async with hands(platform, mailbox, feed, RedisVerdicts(client), ledger) as people:
            sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=100, seed=0)
            kit = Answerer(host, {platform: people.courier}, Persona(), sampling, "worker-1")
            stopping = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(Worker(mailbox, kit, stopping, Pace(take_wait_s=0.1)).run())
                log = RedisLogStream(client, blocking)
                group.create_task(LogWriter(log, ledger, "writer", stopping, wait_s=0.05).run())
                try:
                    yield House(people, ledger, host)
                finally:
                    stopping.set()
    finally:
        for each in (mailbox, feed, ledger, client, blocking):
            await each.aclose()


@asynccontextmanager
async def hands(
    platform: str, mailbox: RedisMailbox, feed: RedisFeed, verdicts: RedisVerdicts, ledger: KeptLedger
) -> AsyncIterator[Hands]:
    if platform == "web":
        async with web_harness(mailbox, feed, mailbox, verdicts=verdicts, log=ledger) as web:
            yield WebHands(web)
    elif platform == "slack":
        async with slack_harness(mailbox, verdicts=verdicts, log=ledger) as slack:
            yield SlackHands(slack)
    else:
        async with discord_harness(mailbox, verdicts=verdicts, log=ledger) as discord:
            yield DiscordHands(discord)


@pytest.fixture(params=PLATFORMS)
async def house(request: pytest.FixtureRequest, redis_url: str, sqlite_url: str) -> AsyncIterator[House]:
    async with living(request.param, redis_url, sqlite_url) as living_house:
        yield living_house


async def test_people_judge_change_their_minds_and_the_last_word_counts(house: House) -> None:
    await house.hands.ask("ada", "one")
    [row] = await house.logged(1)

    helpful = await house.hands.judge("ada", Verdict.HELPFUL)
    await house.said(row.turn_id, 1)
    corrected = await house.hands.correct("ada", Reason.WRONG, "Two.")

    # Where the form opens behind a button, that click is a word of its own.
    said = await house.said(row.turn_id, 2)
    async with asyncio.timeout(20.0):
        while not (last := last_words(said).get(row.person_id)) or not last.better:
            said = await house.said(row.turn_id, len(said))
            await asyncio.sleep(0.02)
    assert helpful == listening.THANKS[Verdict.HELPFUL]
    assert corrected == listening.THANKS[Verdict.NOT_HELPFUL]
    assert (last.verdict, last.reason, last.better) == (Verdict.NOT_HELPFUL, Reason.WRONG, "Two.")
    assert (last.conversation, last.day) == (row.conversation, row.day)


async def test_what_was_said_can_be_taken_back(house: House) -> None:
    await house.hands.ask("ada", "one")
    [row] = await house.logged(1)

    await house.hands.judge("ada", Verdict.HELPFUL)
    line = await house.hands.judge("ada", Verdict.TAKEN_BACK)

    assert line == listening.THANKS[Verdict.TAKEN_BACK]
    assert last_words(await house.said(row.turn_id, 2)) == {}


async def test_another_answer_takes_the_place_of_the_first_and_is_judged_by_itself(house: House) -> None:
    await house.hands.ask("ada", "one")
    [first] = await house.logged(1)
    before = house.hands.visible()
    await house.hands.judge("ada", Verdict.HELPFUL)

    line = await house.hands.again("ada")
    second = (await house.logged(2))[1]
    async with asyncio.timeout(20.0):
        while house.hands.visible() == before:
            await asyncio.sleep(0.02)
    await house.hands.judge("ada", Verdict.HELPFUL)

    assert line == listening.AGAIN
    assert (before[-1][-3:], [text[-3:] for text in house.hands.visible()]) == ("(1)", ["(2)"])
    assert (second.replaces, second.question) == (first.turn_id, first.question)
    assert second.sampling.seed != first.sampling.seed
    assert len(await house.said(first.turn_id, 1)) == len(await house.said(second.turn_id, 1)) == 1


async def test_why_and_another_answer_are_for_who_asked(house: House) -> None:
    await house.hands.ask("ada", "one")
    await house.logged(1)
    seen = house.hands.visible()

    told = await house.hands.why("ada")
    refused = [await house.hands.why("bob"), await house.hands.again("bob")]

    assert told.startswith("Model: scripted, version v1\nPersona: default, version ")
    assert not any("scripted" in line or line == listening.AGAIN for line in refused)
    assert house.hands.visible() == seen
    assert len(house.host.prompts) == 1
