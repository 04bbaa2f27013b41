"""Edits and deletions over a real socket: what the gateway makes of what people do to what they said."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import discord
import pytest

from bots.discord.courier import CourierSettings, discord_courier
from bots.discord.gateway import DiscordGateway
from core.chat.intake import MailboxIntake
from core.chat.message import Address, Conversation
from core.chat.ports import Change, Commit
from tests.support.discord_harness import listening, quick_settings, until
from tests.support.discord_room import Ear, Room, room
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.world import Post
from tests.support.memory_store import MemoryStore


async def the_rest(there: Room) -> None:
    """Until all that happened so far was handed on, or passed over."""
    before = len(there.ear.heard)
    await there.ask("and then?")
    await there.ear.wait_for(before + 1)


# ── edits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_edited_question_is_revised_under_its_own_id() -> None:
    async with room() as there:
        native_id = await there.ask("wat is a monad?")
        await there.fake.edit(native_id, f"{there.fake.mention} what is a monad?")

        await there.ear.wait_for_steps(2)

        [asked], [edited] = there.ear.heard, there.ear.revised
        assert edited.text == "what is a monad?"
        assert (edited.id, edited.conversation, edited.sent_at) == (asked.id, asked.conversation, asked.sent_at)
        assert edited.reply_to == asked.reply_to


async def test_edits_and_deletions_keep_their_order_among_messages() -> None:
    async with room() as there:
        there.ear.away = 3
        first = await there.ask("one")
        await there.fake.edit(first, f"{there.fake.mention} one more")
        await there.ask("two")
        await there.fake.delete(first)
        await there.ask("three")

        steps = await there.ear.wait_for_steps(5)

        turn_id = there.ear.heard[0].id
        assert steps == [
            ("said", "one"),
            ("revised", "one more"),
            ("said", "two"),
            ("withdrawn", turn_id),
            ("said", "three"),
        ]


async def test_what_discord_shows_below_a_message_is_no_edit() -> None:
    async with room() as there:
        native_id = await there.ask("see https://example.org")
        await there.fake.decorate(native_id, embeds=1)
        await there.fake.decorate(native_id, pinned=True)
        await there.fake.edit(native_id, f"{there.fake.mention} see https://example.com")
        await there.fake.decorate(native_id, pinned=True, embeds=2)

        await the_rest(there)

        assert [message.text for message in there.ear.revised] == ["see https://example.com"]


async def test_what_discord_shows_below_a_message_that_another_gateway_heard_is_no_edit() -> None:
    async with room() as there:
        world = there.fake.world
        words = f"{there.fake.mention} see https://example.org"
        unheard = world.add(Post(world.new_id(), there.general, world.user("ada"), words, mentions=[world.bot]))
        await there.fake.decorate(unheard.id, embeds=1)

        await the_rest(there)

        assert there.ear.steps == [("said", "and then?")]


@pytest.mark.parametrize("place", ["room", "thread"])
async def test_mention_that_is_added_later_asks_a_question(place: str) -> None:
    async with room() as there:
        there.ear.change = Change.LATE
        where = there.general if place == "room" else await there.fake.open_thread("talk", there.general)
        native_id = await there.fake.say("ada", "what is a monad?", where)
        await there.fake.edit(native_id, f"{there.fake.mention} what is a monad?")

        [message] = await there.ear.wait_for(1)

        thread = native_id if place == "room" else where.id
        assert message.conversation == Conversation("discord", there.fake.world.guild_id, there.general.id, thread)
        assert (message.text, message.address) == ("what is a monad?", Address.MENTION)


async def test_mention_that_is_added_after_a_day_asks_nothing() -> None:
    async with room() as there:
        there.ear.change = Change.LATE
        world, yesterday = there.fake.world, datetime.fromtimestamp(time.time() - 24 * 3600, UTC)
        old = Post(str(discord.utils.time_snowflake(yesterday)), there.general, world.user("ada"), "what is a monad?")
        world.add(old)
        await there.fake.edit(old.id, f"{there.fake.mention} what is a monad?")

        await the_rest(there)

        assert [message.text for message in there.ear.heard] == ["and then?"]


@pytest.mark.parametrize("message_content", [True, False])
async def test_mention_that_is_taken_away_takes_the_question_back(message_content: bool) -> None:  # noqa: FBT001
    async with room(message_content=message_content) as there:
        native_id = await there.ask("what is a monad?")
        await there.fake.edit(native_id, "what is a monad?")

        await there.ear.wait_for_steps(2)

        [asked] = there.ear.heard
        assert there.ear.withdrawn == [(asked.conversation, asked.id)]


async def test_reply_stays_in_its_conversation_although_the_post_is_gone() -> None:
    async with room(message_content=True) as there:
        known = Conversation("discord", there.fake.world.guild_id, there.general.id, "42")
        post = there.answer("the answer", await there.ask())
        there.store._posts["discord", post] = known
        reply_id = await there.ask("and wy?", reply_to=post)
        await there.ear.wait_for(2)
        there.store._posts.clear()
        there.fake.world.posts[reply_id].quoted = None
        await there.fake.edit(reply_id, "and why?")

        await there.ear.wait_for_steps(3)

        [edited] = there.ear.revised
        assert (edited.conversation, edited.address, edited.text) == (known, Address.REPLY, "and why?")


async def test_reply_whose_new_text_is_hidden_from_us_keeps_the_old_one() -> None:
    async with room() as there:
        reply_id = await there.ask("and wy?", reply_to=there.answer("growing", await there.ask()))
        await there.ear.wait_for(2)
        there.fake.world.posts[reply_id].quoted = None
        await there.fake.edit(reply_id, "and why?")

        await the_rest(there)

        assert (there.ear.revised, there.ear.withdrawn) == ([], [])


async def test_edits_of_bots_and_of_our_own_posts_are_passed_over() -> None:
    async with room(message_content=True) as there:
        own = there.answer("growing", await there.ask())
        other = await there.fake.say("other-bot", "hi", there.general, bot=True)
        await there.fake.edit(own, f"growing {there.fake.mention}")
        await there.fake.edit(other, f"hi {there.fake.mention}")

        await the_rest(there)

        assert there.ear.revised == []
        assert [message.text for message in there.ear.heard] == ["hello", "and then?"]


async def test_edit_that_is_told_in_part_ends_nothing_for_long() -> None:
    async with room() as there:
        native_id = await there.ask()
        part = {"id": native_id, "channel_id": there.general.id, "guild_id": there.fake.world.guild_id, "embeds": []}
        await there.fake.sessions.tell_all("MESSAGE_UPDATE", part)
        await there.fake.wait_until_connected(identified=2)

        await the_rest(there)

        assert there.ear.revised == []


# ── deletions ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", ["direct", "room", "thread", "reply"])
async def test_deleted_message_is_withdrawn_from_its_conversation(place: str) -> None:
    async with room() as there:
        where = there.general
        if place == "direct":
            native_id = await there.fake.say_direct("ada", "hello")
        elif place == "thread":
            where = await there.fake.open_thread("talk", there.general)
            native_id = await there.fake.say("ada", f"{there.fake.mention} hello", where)
        elif place == "reply":
            native_id = await there.ask("hello", reply_to=there.answer("growing", await there.ask()))
        else:
            native_id = await there.ask()
        await there.fake.delete(native_id)

        await until(lambda: bool(there.ear.withdrawn))

        asked = there.ear.heard[-1]
        assert there.ear.withdrawn == [(asked.conversation, asked.id)]


async def test_messages_that_are_deleted_at_once_are_all_withdrawn() -> None:
    async with room() as there:
        ids = [await there.ask(f"number {number}") for number in range(3)]
        await there.fake.delete(*ids[:2])

        await until(lambda: len(there.ear.withdrawn) == 2)

        assert [turn_id for _, turn_id in there.ear.withdrawn] == [message.id for message in there.ear.heard[:2]]


@pytest.mark.parametrize("place", ["direct", "room", "thread"])
async def test_message_that_another_gateway_heard_is_withdrawn_by_its_place(place: str) -> None:
    async with room() as there:
        world = there.fake.world
        thread = await there.fake.open_thread("talk", there.general)
        where = {"direct": world.direct(world.user("ada")), "room": there.general, "thread": thread}[place]
        unheard = world.add(Post(world.new_id(), where, world.user("ada"), "hello"))
        await there.fake.delete(unheard.id)

        await until(lambda: bool(there.ear.withdrawn))

        in_guild = (world.guild_id, there.general.id)
        workspace, channel = ("dm", where.id) if place == "direct" else in_guild
        names = {"direct": "", "room": unheard.id, "thread": thread.id}
        conversation = Conversation("discord", workspace, channel, names[place])
        assert there.ear.withdrawn == [(conversation, conversation.message_id(unheard.id))]


# ── with the mailbox behind it ──────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def office() -> AsyncIterator[Room]:
    """A room whose intake is core's own, over a store in memory."""
    async with FakeDiscord() as fake, discord_courier(CourierSettings(fake.token, fake.api_url)) as courier:
        store = MemoryStore()
        gateway = DiscordGateway(quick_settings(fake), MailboxIntake(store, courier), store)
        async with listening(gateway, fake):
            yield Room(fake, Ear(), store, fake.world.channel("general"))


async def waiting(there: Room) -> list[str]:
    """The texts of all waiting messages; each is answered."""
    texts = []
    while claim := await there.store.take("test", 0.5):
        while mail := await there.store.head(claim):
            texts.append(mail.message.text)
            await there.store.commit(claim, Commit(mail.message.id))
        await there.store.finish(claim)
    return texts


async def test_waiting_question_is_answered_as_edited_and_a_deleted_one_not_at_all() -> None:
    async with office() as there:
        edited, deleted = await there.ask("wat?"), await there.ask("never mind")
        await there.fake.edit(edited, f"{there.fake.mention} what?")
        await there.fake.delete(deleted)
        await there.ask("the last")

        await until(lambda: len(there.store._seen) == 3)
        assert await waiting(there) == ["what?", "the last"]


async def test_answered_question_is_not_answered_again_when_it_is_edited() -> None:
    async with office() as there:
        native_id = await there.ask("what?")
        assert await waiting(there) == ["what?"]
        await there.fake.edit(native_id, f"{there.fake.mention} what now?")
        await there.ask("the last")

        assert await waiting(there) == ["the last"]


async def test_question_that_got_its_mention_later_is_answered_once() -> None:
    async with office() as there:
        native_id = await there.fake.say("ada", "what?", there.general)
        await there.fake.edit(native_id, f"{there.fake.mention} what?")
        await there.fake.edit(native_id, f"{there.fake.mention} what now?")
        await there.ask("the last")

        await until(lambda: len(there.store._seen) == 2)
        assert await waiting(there) == ["what now?", "the last"]
