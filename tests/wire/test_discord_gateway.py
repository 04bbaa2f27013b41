"""The gateway over a real socket: what it hears, how it reads it, and how it stays connected."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from bots.discord.errors import DiscordSetupError
from bots.discord.gateway import DiscordGateway, GatewaySettings
from core.chat.message import Address, Conversation
from tests.support.discord_harness import listening, quick_settings, until
from tests.support.discord_room import Ear, room
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.limits import CUT, Fault
from tests.support.fake_discord.world import PIN_MESSAGE
from tests.support.memory_store import MemoryStore


async def run_until_error(settings: GatewaySettings) -> None:
    async with asyncio.timeout(10):
        await DiscordGateway(settings, Ear(), MemoryStore()).run(asyncio.Event())


# ── what is heard ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_mention_begins_a_conversation_named_after_the_message() -> None:
    async with room() as there:
        native_id = await there.ask("what is a monad?")

        [message] = await there.ear.wait_for(1)

        guild, channel = there.fake.world.guild_id, there.general.id
        assert message.conversation == Conversation("discord", guild, channel, native_id)
        assert message.id == f"discord:{guild}:{channel}:{native_id}"
        assert (message.text, message.address, message.shared) == ("what is a monad?", Address.MENTION, True)
        assert (message.person.id, message.person.name) == (there.fake.world.user("ada").id, "ada")
        assert message.reply_to == {"channel_id": channel, "message_id": native_id, "guild_id": guild}


async def test_time_of_a_message_is_discords_own() -> None:
    async with room() as there:
        native_id = await there.ask()

        [message] = await there.ear.wait_for(1)

        assert message.sent_at == pytest.approx(((int(native_id) >> 22) + 1_420_070_400_000) / 1000)


async def test_redelivered_event_has_the_same_id() -> None:
    async with room() as there:
        native_id = await there.ask()
        await there.fake.redeliver(native_id)

        first, second = await there.ear.wait_for(2)

        assert (first.id, first.conversation) == (second.id, second.conversation)


async def test_direct_message_is_one_private_conversation() -> None:
    async with room() as there:
        await there.fake.say_direct("ada", "hello")
        await there.fake.say_direct("ada", "more")
        await there.fake.say_direct("bob", "hello")

        first, second, other = await there.ear.wait_for(3)

        assert first.conversation == second.conversation != other.conversation
        assert (first.conversation.workspace, first.conversation.thread) == ("dm", "")
        assert (first.text, first.address, first.shared) == ("hello", Address.DIRECT, False)


async def test_mention_of_the_managed_role_counts_as_a_mention() -> None:
    async with room(message_content=True) as there:
        await there.fake.say("ada", f"<@&{there.fake.world.bot_role_id}> hi", there.general)

        [message] = await there.ear.wait_for(1)

        assert (message.text, message.address) == ("hi", Address.MENTION)


async def test_other_ids_in_the_text_become_names() -> None:
    async with room() as there:
        bob, channel = there.fake.world.user("bob"), there.general
        await there.ask(f"ask <@{bob.id}> in <#{channel.id}> <:wave:123> at <t:1700000000:R>")

        [message] = await there.ear.wait_for(1)

        assert message.text == "ask @bob in #general :wave: at 2023-11-14 22:13 UTC"


async def test_bots_webhooks_and_announcements_are_not_heard() -> None:
    async with room() as there:
        await there.fake.say("other-bot", f"{there.fake.mention} hi", there.general, bot=True)
        await there.fake.say("hook", f"{there.fake.mention} hi", there.general, webhook=True)
        await there.fake.say("ada", f"{there.fake.mention} pinned", there.general, type_=PIN_MESSAGE)
        await there.fake.say("ada", "not to the bot", there.general)
        await there.ask("to the bot")

        await there.ear.wait_for(1)

        assert [message.text for message in there.ear.heard] == ["to the bot"]


# ── which conversation goes on ──────────────────────────────────────────────────────────────────────────────────────


async def test_reply_to_a_known_post_goes_on_in_its_conversation() -> None:
    async with room() as there:
        known = Conversation("discord", there.fake.world.guild_id, there.general.id, "42")
        post = there.answer("the answer", await there.ask())
        there.store._posts["discord", post] = known
        await there.ask("and why?", reply_to=post)

        _, reply = await there.ear.wait_for(2)

        assert (reply.conversation, reply.address, reply.text) == (known, Address.REPLY, "and why?")


async def test_reply_to_an_answer_that_still_grows_goes_on_in_its_conversation() -> None:
    async with room() as there:
        question = await there.ask()
        await there.ask("and why?", reply_to=there.answer("growing", question))

        first, reply = await there.ear.wait_for(2)

        assert (reply.conversation, reply.address) == (first.conversation, Address.REPLY)


async def test_reply_to_a_post_in_another_channels_conversation_does_not_cross_over() -> None:
    async with room() as there:
        post = there.answer("the answer", await there.ask())
        there.store._posts["discord", post] = Conversation("discord", there.fake.world.guild_id, "777", "42")
        await there.ask("and why?", reply_to=post)

        _, reply = await there.ear.wait_for(2)

        assert reply.conversation.channel == there.general.id
        assert reply.conversation.thread == reply.reply_to["message_id"]


async def test_reply_to_a_forgotten_post_begins_a_new_conversation() -> None:
    async with room() as there:
        world = there.fake.world
        question = await there.fake.say("ada", "before the bot came", there.general)
        forgotten = there.answer("long ago", question)
        reply_id = await there.ask("and why?", reply_to=forgotten)

        [reply] = await there.ear.wait_for(1)

        assert reply.conversation == Conversation("discord", world.guild_id, there.general.id, reply_id)
        assert reply.address is Address.REPLY


async def test_reply_to_another_person_is_not_for_us() -> None:
    async with room() as there:
        bobs = await there.fake.say("bob", "hi all", there.general)
        await there.fake.say("ada", "hi bob", there.general, reply_to=bobs)
        await there.ask("to the bot")

        await there.ear.wait_for(1)

        assert [message.text for message in there.ear.heard] == ["to the bot"]


async def test_thread_is_one_conversation_of_its_parent_channel() -> None:
    async with room() as there:
        thread = await there.fake.open_thread("talk", there.general)
        await there.fake.say("ada", f"{there.fake.mention} one", thread)
        await there.fake.say("bob", f"{there.fake.mention} two", thread)

        first, second = await there.ear.wait_for(2)

        place = Conversation("discord", there.fake.world.guild_id, there.general.id, thread.id)
        assert first.conversation == second.conversation == place
        assert first.reply_to["channel_id"] == thread.id


async def test_thread_opened_on_a_question_goes_on_in_its_conversation() -> None:
    async with room() as there:
        root = await there.ask("question")
        thread = await there.fake.open_thread("talk", there.general, root)
        await there.fake.say("bob", f"{there.fake.mention} more", thread)

        first, second = await there.ear.wait_for(2)

        assert first.conversation == second.conversation


async def test_thread_that_the_gateway_never_told_of_is_still_a_thread() -> None:
    async with room() as there:
        thread = await there.fake.open_thread("talk", there.general, told=False)
        await there.fake.say("ada", f"{there.fake.mention} one", thread)

        [message] = await there.ear.wait_for(1)

        assert (message.conversation.channel, message.conversation.thread) == (there.general.id, thread.id)


@pytest.mark.parametrize("status", [503, 429, CUT])
async def test_thread_that_cannot_be_looked_up_now_is_looked_up_again(status: int) -> None:
    async with room() as there:
        thread = await there.fake.open_thread("talk", there.general, told=False)
        there.fake.befall(Fault("GET", f"/channels/{thread.id}", status=status, times=2))
        await there.fake.say("ada", f"{there.fake.mention} one", thread)

        [message] = await there.ear.wait_for(1)

        assert message.conversation.thread == thread.id


async def test_thread_is_followed_without_mention_when_content_is_allowed() -> None:
    async with room(message_content=True) as there:
        thread = await there.fake.open_thread("talk", there.general)
        await there.fake.say("ada", "what about this?", thread)
        await there.fake.say("ada", "outside of threads", there.general)
        await there.ask("to the bot")

        overheard, asked = await there.ear.wait_for(2)

        assert (overheard.text, overheard.address) == ("what about this?", Address.OVERHEARD)
        assert asked.text == "to the bot"


async def test_thread_is_not_followed_without_the_intent() -> None:
    async with room() as there:
        thread = await there.fake.open_thread("talk", there.general)
        await there.fake.say("ada", "what about this?", thread)
        await there.ask("to the bot")

        await there.ear.wait_for(1)

        assert [message.text for message in there.ear.heard] == ["to the bot"]


# ── while the mailbox is away ───────────────────────────────────────────────────────────────────────────────────────


async def test_message_waits_in_order_while_the_mailbox_is_away() -> None:
    async with room() as there:
        there.ear.away = 5
        for number in range(4):
            await there.ask(f"number {number}")

        await there.ear.wait_for(4)

        assert [message.text for message in there.ear.heard] == [f"number {number}" for number in range(4)]


async def test_stopping_lets_heard_messages_reach_the_mailbox() -> None:
    async with room() as there:
        there.ear.away = 3
        await there.ask("just before the end")
        await until(lambda: there.ear.away < 3)

    assert [message.text for message in there.ear.heard] == ["just before the end"]


async def test_stopping_ends_although_the_mailbox_stays_away() -> None:
    async with room() as there:
        there.ear.away = 1_000_000
        await there.ask("never kept")
        await until(lambda: there.ear.away < 1_000_000)

    assert there.ear.heard == []


# ── the connection ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_events_during_a_broken_connection_are_replayed() -> None:
    async with room() as there:
        there.fake.sessions.abort_all()
        await there.ask("while away")

        await there.fake.wait_until_connected(resumed=1)
        [message] = await there.ear.wait_for(1)

        assert message.text == "while away"


async def test_reconnect_request_is_followed() -> None:
    async with room() as there:
        await there.fake.sessions.send_op(7)

        await there.fake.wait_until_connected(resumed=1)
        await there.ask("after")

        [message] = await there.ear.wait_for(1)
        assert message.text == "after"


async def test_invalid_session_is_begun_anew() -> None:
    async with room() as there:
        await there.fake.sessions.invalidate()

        await there.fake.wait_until_connected(identified=2)
        await there.ask("after")

        [message] = await there.ear.wait_for(1)
        assert message.text == "after"


async def test_failed_first_connect_is_tried_with_a_fresh_client() -> None:
    async with FakeDiscord() as fake:
        fake.befall(Fault("GET", "/users/@me", status=503))
        fake.befall(Fault("GET", "/oauth2/applications/@me", status=503))
        fake.befall(Fault("GET", "/gateway/bot", status=503))
        ear = Ear()
        gateway = DiscordGateway(quick_settings(fake), ear, MemoryStore())

        async with listening(gateway, fake):
            await fake.say_direct("ada", "hello")
            await ear.wait_for(1)

        assert fake.calls("GET", "/users/@me") >= 4


async def test_client_without_a_session_in_time_is_replaced() -> None:
    async with FakeDiscord() as fake:
        fake.sessions.hang_up_at_hello = 1
        settings = replace(quick_settings(fake), connect_s=0.3)
        ear = Ear()

        async with listening(DiscordGateway(settings, ear, MemoryStore()), fake):
            await fake.say_direct("ada", "hello")
            await ear.wait_for(1)

        assert fake.calls("GET", "/users/@me") >= 2


async def test_pauses_between_clients_grow_up_to_a_bound() -> None:
    async with FakeDiscord() as fake:
        fake.befall(Fault("GET", "/users/@me", status=503, times=4))

        with capture_logs() as logs:
            async with listening(DiscordGateway(quick_settings(fake), Ear(), MemoryStore()), fake):
                pass

    pauses = [entry["pause_s"] for entry in logs if entry["event"] == "discord_connection_lost"]
    assert pauses[:4] == [0.02, 0.04, 0.05, 0.05]


async def test_sessions_that_are_short_lived_are_begun_ever_more_slowly() -> None:
    async with FakeDiscord() as fake:
        fake.sessions.short_lived = 4
        settings = replace(quick_settings(fake), longest_pause_s=30.0)

        with capture_logs() as logs:
            async with listening(DiscordGateway(settings, Ear(), MemoryStore()), fake):
                await fake.wait_until_connected(identified=5)

    pauses = [entry["pause_s"] for entry in logs if entry["event"] == "discord_connection_lost"]
    assert pauses[:4] == [0.02, 0.04, 0.08, 0.16]


async def test_client_whose_session_stays_lost_is_replaced() -> None:
    async with room() as there:
        await there.fake.disconnect()
        await until(lambda: there.fake.calls("GET", "/users/@me") >= 2)
        await there.fake.reconnect()
        await there.ask("after")

        [message] = await there.ear.wait_for(1)
        assert message.text == "after"


async def test_session_that_discord_ends_for_good_is_replaced_by_a_fresh_client() -> None:
    async with room() as there:
        for socket in list(there.fake.sessions.sockets):
            await socket.close(code=4011)

        await there.fake.wait_until_connected(identified=2)
        await there.ask("after")

        [message] = await there.ear.wait_for(1)
        assert message.text == "after"


async def test_log_holds_nothing_of_what_people_say(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with room() as there:
        await there.ask("my secret words")

        await there.ear.wait_for(1)

    assert "discord" in caplog.text
    assert "my secret words" not in caplog.text
    assert there.fake.token not in caplog.text


async def test_wrong_token_is_named() -> None:
    async with FakeDiscord() as fake:
        settings = replace(quick_settings(fake), token="wrong")

        with pytest.raises(DiscordSetupError, match="DISCORD_TOKEN"):
            await run_until_error(settings)


async def test_token_revoked_before_identify_is_named() -> None:
    async with FakeDiscord() as fake:
        fake.sessions.close_code = 4004

        with pytest.raises(DiscordSetupError, match="DISCORD_TOKEN"):
            await run_until_error(quick_settings(fake))


async def test_missing_intent_is_named() -> None:
    async with FakeDiscord(message_content=False) as fake:
        settings = quick_settings(fake, message_content=True)

        with pytest.raises(DiscordSetupError, match="Message Content Intent"):
            await run_until_error(settings)
