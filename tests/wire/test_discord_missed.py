"""Missed time over real sockets: what was said while no gateway listened, and how a gateway knows since when."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import discord
import pytest

from bots.discord.backfill import BackfillSettings
from bots.discord.gateway import DiscordGateway, GatewaySettings
from core.chat.message import Address, Conversation, Message, Person
from core.chat.ports import Change
from tests.support.counting_meter import CountingMeter
from tests.support.discord_harness import QUICK_RETRIES, listening, quick_settings, until
from tests.support.discord_room import Ear
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.limits import Fault
from tests.support.fake_discord.world import Channel, Post
from tests.support.memory_store import MemoryStore

HOUR_S = 3600.0
MARK = "discord"
QUICKLY = BackfillSettings(mark_s=0.02)


@dataclass(slots=True)
class Town:
    """A Discord with one store of marks, where gateways come and go."""

    fake: FakeDiscord
    ear: Ear = field(default_factory=lambda: Ear(once=True))
    store: MemoryStore = field(default_factory=MemoryStore)
    meter: CountingMeter = field(default_factory=CountingMeter)

    @asynccontextmanager
    async def gateway(
        self, backfill: BackfillSettings = QUICKLY, *, message_content: bool = False
    ) -> AsyncIterator[None]:
        settings = replace(quick_settings(self.fake, message_content=message_content), backfill=backfill)
        async with self.started(settings):
            yield

    @asynccontextmanager
    async def started(self, settings: GatewaySettings) -> AsyncIterator[None]:
        gateway = DiscordGateway(settings, self.ear, self.store, self.store, self.meter)
        before = self.fake.sessions.identified
        async with listening(gateway, self.fake):
            await self.fake.wait_until_connected(identified=before + 1)
            yield

    @property
    def general(self) -> Channel:
        return self.fake.world.channel("general")

    @property
    def mark(self) -> float:
        return self.store._alive.get(MARK, 0.0)

    async def ask(self, text: str, channel: Channel | None = None) -> str:
        return await self.fake.say("ada", f"{self.fake.mention} {text}", channel or self.general)

    def said(self, text: str, ago_s: float) -> Post:
        """A question that was asked some time ago."""
        world, at = self.fake.world, datetime.fromtimestamp(time.time() - ago_s, UTC)
        post = Post(str(discord.utils.time_snowflake(at)), self.general, world.user("ada"), "")
        post.content, post.mentions = f"{self.fake.mention} {text}", [world.bot]
        return world.add(post)

    async def was_here(self) -> None:
        """A gateway was there for a moment, and went away."""
        async with self.gateway():
            await until(lambda: self.mark > 0.0)

    async def heard_of(self, person: str) -> None:
        """`person` has spoken to the bot alone before."""
        world = self.fake.world
        place = Conversation("discord", "dm", world.direct(world.user(person)).id)
        earlier = Person(world.user(person).id, person)
        await self.store.accept(Message(place.message_id("1"), place, earlier, "hi", Address.DIRECT, time.time()))

    def looks(self) -> int:
        """How often a history was read."""
        return self.fake.calls("GET", "/messages")


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with FakeDiscord() as fake:
        yield Town(fake)


# ── what is read ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_first_start_reads_nothing_of_the_past(town: Town) -> None:
    await town.ask("before the bot came")

    async with town.gateway():
        await until(lambda: town.mark > 0.0)
        await town.ask("after")
        await town.ear.wait_for(1)

    assert town.ear.texts() == ["after"]
    assert town.looks() == 0


async def test_what_was_said_meanwhile_is_heard_once_and_in_order(town: Town) -> None:
    await town.heard_of("bob")
    thread = await town.fake.open_thread("talk", town.general)
    async with town.gateway():
        await town.ask("before")
        await town.ear.wait_for(1)
        await until(lambda: town.mark > 0.0)
    for number in range(3):
        await town.ask(f"room {number}")
        await town.ask(f"thread {number}", thread)
        await town.fake.say_direct("bob", f"direct {number}")

    async with town.gateway():
        await town.ask("after")
        await town.ear.wait_for(11)

    heard = town.ear.texts()
    assert sorted(heard) == sorted(
        ["before", "after", *(f"{place} {n}" for place in ("room", "thread", "direct") for n in range(3))]
    )
    for place in ("room", "thread", "direct"):
        assert [text for text in heard if text.startswith(place)] == [f"{place} {n}" for n in range(3)]
    assert heard.index("room 2") < heard.index("after")
    assert sum(messages for _, messages in town.meter.missed) in (9, 10)  # the last one is told and read


async def test_what_is_read_is_like_what_is_heard(town: Town) -> None:
    await town.was_here()
    native_id = await town.ask("what is a monad?")

    async with town.gateway():
        [message] = await town.ear.wait_for(1)

    guild, channel = town.fake.world.guild_id, town.general.id
    assert message.conversation == Conversation("discord", guild, channel, native_id)
    assert message.id == f"discord:{guild}:{channel}:{native_id}"
    assert (message.text, message.address, message.person.name) == ("what is a monad?", Address.MENTION, "ada")
    assert message.reply_to == {"channel_id": channel, "message_id": native_id, "guild_id": guild}


async def test_what_is_said_while_the_past_is_read_waits_behind_it(town: Town) -> None:
    await town.was_here()
    other = town.fake.world.channel("other")
    for number in range(3):
        await town.ask(f"missed {number}")
    town.fake.befall(Fault("GET", f"{town.general.id}/messages", status=503, times=12))

    async with town.gateway():
        await town.ask("live")
        await town.ask("elsewhere", other)
        await town.ear.wait_for(5)

    assert town.ear.texts() == ["elsewhere", "missed 0", "missed 1", "missed 2", "live"]


async def test_only_what_may_be_for_us_is_handed_on(town: Town) -> None:
    await town.was_here()
    await town.fake.say("bob", "to nobody", town.general)
    await town.fake.say("other-bot", f"{town.fake.mention} hi", town.general, bot=True)
    await town.ask("to the bot")

    async with town.gateway():
        await town.ask("the last")
        await town.ear.wait_for(2)

    assert town.ear.texts() == ["to the bot", "the last"]


async def test_thread_that_is_followed_is_read_whole(town: Town) -> None:
    async with FakeDiscord(message_content=True) as fake:
        there = Town(fake)
        await there.was_here()
        thread = await fake.open_thread("talk", there.general)
        await fake.say("ada", "what about this?", thread)

        async with there.gateway(message_content=True):
            [overheard] = await there.ear.wait_for(1)

    assert (overheard.text, overheard.address) == ("what about this?", Address.OVERHEARD)


async def test_channels_without_news_or_without_leave_cost_no_call(town: Town) -> None:
    world = town.fake.world
    quiet, hidden, closed = world.channel("quiet"), world.channel("hidden"), world.channel("closed")
    await town.ask("before", quiet)
    town.said("long ago", 2 * HOUR_S)
    async with town.gateway():
        await until(lambda: town.mark > 0.0)
    hidden.hidden = closed.unreadable = True
    for place in (town.general, hidden, closed):
        await town.ask("missed", place)

    async with town.gateway(BackfillSettings(overlap_s=0.0, mark_s=0.02)):
        await town.ear.wait_for(1)

    assert [message.conversation.channel for message in town.ear.heard] == [town.general.id]
    assert town.looks() == 1


async def test_channel_that_is_closed_to_us_keeps_nothing_else_from_being_read(town: Town) -> None:
    await town.was_here()
    first, second = town.fake.world.channel("first"), town.fake.world.channel("second")
    await town.ask("one", first)
    await town.ask("two", second)
    town.fake.befall(Fault("GET", f"{first.id}/messages", status=403))
    before = town.mark

    async with town.gateway():
        await town.ask("three", first)
        await town.ear.wait_for(2)
        await until(lambda: town.mark > before)

    assert sorted(town.ear.texts()) == ["three", "two"]


# ── how far ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_older_than_a_day_is_read(town: Town) -> None:
    await town.store.mark_alive(MARK, time.time() - 72 * HOUR_S)
    town.said("yesterday", 24.1 * HOUR_S)
    town.said("today", 23 * HOUR_S)

    async with town.gateway():
        await town.ask("now")
        await town.ear.wait_for(2)

    assert town.ear.texts() == ["today", "now"]


async def test_no_more_is_read_than_allowed_and_that_is_the_newest(town: Town) -> None:
    await town.store.mark_alive(MARK, time.time() - HOUR_S)
    for number in range(300):
        town.said(f"number {number}", 1000.0 - number)

    async with town.gateway(BackfillSettings(most_messages=150, mark_s=0.02)):
        await town.ask("live")
        await until(lambda: "live" in town.ear.texts())

    read = [text for text in town.ear.texts() if text != "live"]
    assert read == [f"number {number}" for number in range(300 - len(read), 300)]
    assert 90 <= len(read) <= 150


async def test_what_lies_shortly_before_the_mark_is_read_too(town: Town) -> None:
    await town.store.mark_alive(MARK, time.time() - 100.0)
    town.said("told late", 110.0)

    async with town.gateway():
        await town.ear.wait_for(1)

    assert town.ear.texts() == ["told late"]


# ── when ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_session_that_was_lost_is_caught_up_with(town: Town) -> None:
    async with town.gateway():
        await until(lambda: town.mark > 0.0)
        await town.fake.disconnect()
        await town.ask("missed")
        await town.fake.reconnect()
        await town.ask("live")
        await town.ear.wait_for(2)

    assert town.ear.texts() == ["missed", "live"]


async def test_invalid_session_is_caught_up_with(town: Town) -> None:
    async with town.gateway():
        await until(lambda: town.mark > 0.0)
        await town.fake.sessions.invalidate()
        await town.ask("missed")
        await town.fake.wait_until_connected(identified=2)
        await town.ear.wait_for(1)

    assert town.ear.texts() == ["missed"]


async def test_server_that_is_told_late_is_caught_up_with(town: Town) -> None:
    await town.was_here()
    await town.ask("missed")
    town.fake.sessions.servers_late = True

    async with town.gateway():
        await town.heard_of("bob")
        await town.fake.say_direct("bob", "is known")
        await town.ear.wait_for(1)
        await town.fake.sessions.tell_server()
        await town.ask("live")
        await town.ear.wait_for(3)
        await town.fake.sessions.tell_server()
        await town.ask("the last")
        await town.ear.wait_for(4)

    assert town.ear.texts() == ["is known", "missed", "live", "the last"]
    assert town.fake.calls("GET", f"{town.general.id}/messages") == 1


async def test_session_that_is_resumed_needs_no_reading(town: Town) -> None:
    async with town.gateway():
        await until(lambda: town.mark > 0.0)
        town.fake.sessions.abort_all()
        await town.ask("while away")
        await town.fake.wait_until_connected(resumed=1)
        await town.ear.wait_for(1)

    assert town.looks() == 0


async def test_discord_that_limits_our_reading_is_waited_for(town: Town) -> None:
    await town.was_here()
    await town.ask("missed")
    town.fake.befall(Fault("GET", "/messages", status=429, retry_after_s=0.1))

    async with town.gateway():
        await town.ear.wait_for(1)

    assert town.looks() == 2


async def test_marks_that_are_away_are_waited_for(town: Town) -> None:
    await town.was_here()
    await town.ask("missed")
    town.store.down = True

    async with town.gateway():
        await town.ask("live")
        town.store.down = False
        await town.ear.wait_for(2)

    assert town.ear.texts() == ["missed", "live"]


async def test_what_did_not_fit_in_memory_is_read_later(town: Town) -> None:
    settings = replace(
        quick_settings(town.fake),
        backfill=BackfillSettings(mark_s=0.02),
        retries=replace(QUICK_RETRIES, most_waiting=2),
    )
    async with town.started(settings):
        await until(lambda: town.mark > 0.0)
        town.ear.away = 20
        for number in range(6):
            await town.ask(f"number {number}")
        await town.ear.wait_for(6)

    assert town.ear.texts() == [f"number {number}" for number in range(6)]


# ── what was done to it meanwhile ───────────────────────────────────────────────────────────────────────────────────


async def test_question_that_was_edited_meanwhile_is_revised(town: Town) -> None:
    town.ear.change = Change.WAITING
    async with town.gateway():
        native_id = await town.ask("wat?")
        await town.ear.wait_for(1)
        await until(lambda: town.mark > 0.0)
    await town.fake.edit(native_id, f"{town.fake.mention} what?")

    async with town.gateway():
        await town.ear.wait_for_steps(2)

    assert town.ear.steps == [("said", "wat?"), ("revised", "what?")]


async def test_stop_that_has_had_its_time_stops_nothing(town: Town) -> None:
    await town.heard_of("ada")
    await town.heard_of("bob")
    await town.was_here()
    for person, words in (("ada", ("one", "stop", "two")), ("bob", ("three", "Stop"))):
        for text in words:
            await town.fake.say_direct(person, text)

    async with town.gateway():
        await town.ear.wait_for(4)

    assert sorted(town.ear.texts()) == ["Stop", "one", "three", "two"]


# ── the mark ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_mark_moves_while_the_heart_beats(town: Town) -> None:
    town.fake.sessions.heartbeat_interval_ms = 50

    async with town.gateway():
        for _ in range(3):
            before = town.mark
            await until(lambda before=before: town.mark > before)  # type: ignore[misc]

    assert time.time() - 5.0 < town.mark <= time.time()


async def test_mark_is_set_at_once_at_the_first_start(town: Town) -> None:
    async with town.gateway(BackfillSettings(mark_s=3600.0)):
        await until(lambda: town.mark > 0.0)

    assert time.time() - 5.0 < town.mark <= time.time()


async def test_mark_stays_while_the_connection_is_silent(town: Town) -> None:
    town.fake.sessions.heartbeat_interval_ms = 50
    async with town.gateway():
        first = town.mark
        await until(lambda: town.mark > first)
        town.fake.sessions.mute = True
        silent_since = time.time()
        await town.ask("told to nobody")
        beats = town.fake.sessions.heartbeats
        await until(lambda: town.fake.sessions.heartbeats >= beats + 5)
        assert town.mark <= silent_since

    town.fake.sessions.mute = False
    async with town.gateway(BackfillSettings(overlap_s=0.0, mark_s=0.02)):
        await town.ear.wait_for(1)

    assert town.ear.texts() == ["told to nobody"]


async def test_mark_stays_until_what_was_missed_is_read(town: Town) -> None:
    town.fake.sessions.heartbeat_interval_ms = 50
    await town.was_here()
    await town.ask("missed")
    before = town.mark
    unreadable = Fault("GET", "/messages", status=503, times=1_000_000)
    town.fake.befall(unreadable)
    async with town.gateway():
        beats = town.fake.sessions.heartbeats
        await until(lambda: town.fake.sessions.heartbeats >= beats + 5 and town.looks() > 0)
    assert town.mark == before

    unreadable.times = 0
    async with town.gateway(BackfillSettings(overlap_s=1.0, mark_s=0.02)):
        await town.ear.wait_for(1)

    assert town.ear.texts() == ["missed"]


async def test_mark_does_not_pass_what_waits_for_the_mailbox(town: Town) -> None:
    town.fake.sessions.heartbeat_interval_ms = 50
    async with town.gateway():
        await until(lambda: town.mark > 0.0)
        town.ear.away = 1_000_000
        await town.ask("kept in memory")
        await until(lambda: town.ear.away < 1_000_000)
        waiting_since = time.time()
        beats = town.fake.sessions.heartbeats
        await until(lambda: town.fake.sessions.heartbeats >= beats + 5)

    town.ear.away = 0
    assert town.mark <= waiting_since
    async with town.gateway(BackfillSettings(overlap_s=1.0, mark_s=0.02)):
        await town.ear.wait_for(1)

    assert town.ear.texts() == ["kept in memory"]


async def test_mark_moves_on_when_somebody_speaks(town: Town) -> None:
    async with town.gateway():
        await until(lambda: town.mark > 0.0)
        before = town.mark
        await town.fake.say("ada", "to nobody", town.general)
        await until(lambda: town.mark > before)
