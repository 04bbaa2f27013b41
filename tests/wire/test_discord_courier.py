"""The courier over real sockets: how an answer is posted, grown, found again, and what Discord may do to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from bots.discord.courier import CourierSettings, DiscordCourier, discord_courier
from bots.discord.patience import Patience
from core.chat.errors import DeliveryFailed
from core.chat.message import Address, Conversation, Message, Outcome, Person
from core.chat.ports import Draft
from core.chat.split import split_reply
from tests.support.discord_harness import QUICK, until
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.limits import CUT, SILENCE, Fault
from tests.support.fake_discord.world import Channel, Post

SUPPRESS_EMBEDS = 1 << 2
LONG = " ".join(f"word{number}" for number in range(600))  # three parts


@dataclass(frozen=True, slots=True)
class Desk:
    fake: FakeDiscord
    courier: DiscordCourier
    general: Channel

    async def question(self, text: str = "hi", channel: Channel | None = None) -> Message:
        place = channel or self.general
        native = await self.fake.say("ada", f"{self.fake.mention} {text}", place)
        conversation = Conversation("discord", self.fake.world.guild_id, place.id, native)
        return Message(
            id=conversation.message_id(native),
            conversation=conversation,
            person=Person(self.fake.world.user("ada").id, "ada"),
            text=text,
            address=Address.MENTION,
            sent_at=time.time(),
            shared=True,
            reply_to={"channel_id": place.id, "message_id": native, "guild_id": self.fake.world.guild_id},
        )

    async def draft(self, *, resumed: bool = False) -> Draft:
        return self.courier.draft(await self.question(), resumed=resumed)

    def texts(self) -> list[str]:
        return [post.content for post in self.fake.posts()]


@asynccontextmanager
async def desk(*, ring: bool = False, patience: Patience = QUICK, token: str | None = None) -> AsyncIterator[Desk]:
    async with FakeDiscord() as fake:
        settings = CourierSettings(token or fake.token, fake.api_url, ring=ring, patience=patience)
        async with discord_courier(settings) as courier:
            yield Desk(fake, courier, fake.world.channel("general"))


# ── how an answer looks ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_grows_in_one_reply_to_the_question() -> None:
    async with desk() as there:
        question = await there.question()
        draft = there.courier.draft(question, resumed=False)

        await draft.show("One")
        await draft.show("One two")
        ids = await draft.close("One two three.", Outcome.ANSWERED)

        [post] = there.fake.posts()
        assert (post.content, ids) == ("One two three.", (post.id,))
        assert post.quoted is not None
        assert post.quoted.id == question.reply_to["message_id"]
        assert (post.edits, post.flags & SUPPRESS_EMBEDS, post.rings) == (2, SUPPRESS_EMBEDS, [])


async def test_long_answer_is_split_and_all_its_parts_reply() -> None:
    async with desk() as there:
        draft = await there.draft()

        ids = await draft.close(LONG, Outcome.ANSWERED)

        posts = there.fake.posts()
        assert [post.content for post in posts] == split_reply(LONG, 2000)
        assert all(post.quoted is not None for post in posts)
        assert ids == tuple(post.id for post in posts)


async def test_answer_that_shrinks_takes_its_surplus_posts_back() -> None:
    async with desk() as there:
        draft = await there.draft()
        await draft.show(LONG)

        ids = await draft.close("Short.", Outcome.ANSWERED)

        assert there.texts() == ["Short."]
        assert len(ids) == 1


async def test_surplus_post_that_somebody_removed_is_fine() -> None:
    async with desk() as there:
        draft = await there.draft()
        await draft.show(LONG)
        del there.fake.world.posts[there.fake.posts()[-1].id]

        await draft.close("Short.", Outcome.ANSWERED)

        assert there.texts() == ["Short."]


async def test_nobody_is_notified_by_what_the_model_writes() -> None:
    async with desk() as there:
        bob = there.fake.world.user("bob")
        draft = await there.draft()

        await draft.show(f"@everyone @here <@{bob.id}> <@&{there.fake.world.bot_role_id}>")
        [growing] = there.texts()
        await draft.close(f"@everyone @Here <@{bob.id}> more", Outcome.ANSWERED)

        [post] = there.fake.posts()
        assert post.rings == []
        assert not [text for text in (growing, post.content) if "@everyone" in text or "@here" in text.lower()]


async def test_ring_notifies_the_asker_alone_and_once() -> None:
    async with desk(ring=True) as there:
        bob = there.fake.world.user("bob")

        await (await there.draft()).close(f"@everyone <@{bob.id}> {LONG}", Outcome.ANSWERED)

        assert [post.rings for post in there.fake.posts()] == [[there.fake.world.user("ada").id], [], []]


async def test_notice_replies_to_the_message() -> None:
    async with desk() as there:
        question = await there.question()

        await there.courier.notice(question, "Busy. @everyone")

        [post] = there.fake.posts()
        assert (post.content, post.rings) == ("Busy. \N{FULLWIDTH COMMERCIAL AT}everyone", [])
        assert post.quoted is not None
        assert post.quoted.id == question.reply_to["message_id"]


async def test_typing_shows_until_the_draft_is_closed() -> None:
    async with desk() as there:
        draft = await there.draft()

        await draft.begin()
        await until(lambda: there.fake.calls("POST", "/typing") == 1)
        await draft.close("Done.", Outcome.ANSWERED)

        await until(lambda: not there.courier._typing)


async def test_an_answer_that_is_there_at_once_needs_no_typing() -> None:
    async with desk() as there:
        draft = await there.draft()

        await draft.begin()
        await draft.close("Done.", Outcome.ANSWERED)
        await until(lambda: not there.courier._typing)

        assert there.fake.calls("POST", "/typing") == 0


async def test_typing_that_discord_refuses_disturbs_nothing() -> None:
    async with desk() as there:
        there.fake.befall(Fault("POST", "/typing", status=403, times=9))
        draft = await there.draft()

        await draft.begin()
        await until(lambda: there.fake.calls("POST", "/typing") == 1)
        await draft.close("Done.", Outcome.ANSWERED)

        assert there.texts() == ["Done."]


# ── an earlier attempt ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_resumed_answer_goes_on_in_the_earlier_post() -> None:
    async with desk() as there:
        question = await there.question()
        there.fake.rest.nonce_s = 0.0
        await there.courier.draft(question, resumed=False).show("Half an ans")

        await there.courier.draft(question, resumed=True).close("Half an answer, whole.", Outcome.ANSWERED)

        assert there.texts() == ["Half an answer, whole."]


async def test_resumed_answer_leaves_other_posts_alone() -> None:
    async with desk() as there:
        question, other = await there.question(), await there.question()
        await there.courier.draft(other, resumed=False).close("To another question.", Outcome.ANSWERED)
        world = there.fake.world
        stranger = Post(world.new_id(), there.general, world.user("bob"), "me too", quoted=world.posts[_id(question)])
        world.posts[stranger.id] = stranger

        await there.courier.draft(question, resumed=True).close("Mine.", Outcome.ANSWERED)

        assert there.texts() == ["To another question.", "Mine."]
        assert stranger.content == "me too"


@pytest.mark.parametrize("found_by", ["history", "nonce"])
async def test_parts_of_an_earlier_attempt_are_not_posted_twice(found_by: str) -> None:
    async with desk() as there:
        there.fake.rest.limits.calls = 100
        question = await there.question()
        await there.courier.draft(question, resumed=False).show(LONG[:3000])
        there.general.unreadable = found_by == "nonce"
        if found_by == "history":
            there.fake.rest.nonce_s = 0.0

        await there.courier.draft(question, resumed=True).close(LONG, Outcome.ANSWERED)

        assert there.texts() == split_reply(LONG, 2000)


async def test_resumed_answer_without_the_right_to_read_the_history_is_still_posted_once() -> None:
    async with desk() as there:
        question = await there.question()
        await there.courier.draft(question, resumed=False).show("Half")
        there.general.unreadable = True

        await there.courier.draft(question, resumed=True).close("Half and half.", Outcome.ANSWERED)

        assert there.texts() == ["Half and half."]


async def test_earlier_post_is_found_although_the_channel_went_on() -> None:
    async with desk() as there:
        world = there.fake.world
        there.fake.rest.nonce_s = 0.0
        question = await there.question()
        for number in range(120):
            world.add(Post(world.new_id(), there.general, world.user("bob"), f"chatter {number}"))
        await there.courier.draft(question, resumed=False).show("Half")
        for number in range(120):
            world.add(Post(world.new_id(), there.general, world.user("bob"), f"more chatter {number}"))

        await there.courier.draft(question, resumed=True).close("Half and half.", Outcome.ANSWERED)

        assert there.texts() == ["Half and half."]


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_part_that_was_posted_unheard_of_is_not_posted_twice(part: int) -> None:
    async with desk() as there:
        there.fake.rest.limits.calls = 100
        question = await there.question()
        dying = there.courier.draft(question, resumed=False)
        if part:
            await dying.show(LONG[: 2000 * part - 200])
        there.fake.befall(Fault("POST", "/messages", status=CUT, after=True))
        there.fake.befall(Fault("POST", "/messages", status=CUT, times=QUICK.tries - 1))
        with pytest.raises(DeliveryFailed):
            await dying.close(LONG, Outcome.ANSWERED)
        assert len(there.texts()) == part + 1
        there.fake.rest.nonce_s = 0.0

        await there.courier.draft(question, resumed=True).close(LONG, Outcome.ANSWERED)

        assert there.texts() == split_reply(LONG, 2000)


async def test_answer_of_a_question_that_was_deleted_meanwhile_is_found() -> None:
    async with desk() as there:
        there.fake.rest.nonce_s = 0.0
        question = await there.question()
        await there.courier.draft(question, resumed=False).show("Half")
        await there.fake.delete(_id(question))

        await there.courier.draft(question, resumed=True).close("Half and half.", Outcome.ANSWERED)

        assert there.texts() == ["Half and half."]


# ── taken back ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_is_taken_back_with_all_its_parts() -> None:
    async with desk() as there:
        question = await there.question()
        ids = await there.courier.draft(question, resumed=False).close(LONG, Outcome.ANSWERED)
        await there.courier.draft(await there.question(), resumed=False).close("Another.", Outcome.ANSWERED)

        await there.courier.retract(question, ids)

        assert there.texts() == ["Another."]


async def test_empty_end_takes_back_what_this_and_an_earlier_attempt_posted() -> None:
    async with desk() as there:
        question = await there.question()
        await there.courier.draft(question, resumed=False).show(LONG[:3000])
        resumed = there.courier.draft(question, resumed=True)

        assert await resumed.close("", Outcome.WITHDRAWN) == ()
        assert there.texts() == []


async def test_draft_that_is_left_names_what_it_posted() -> None:
    async with desk() as there:
        question = await there.question()
        draft = there.courier.draft(question, resumed=False)
        await draft.begin()
        assert await draft.leave() == ()

        await draft.show(LONG[:3000])

        assert await draft.leave() == tuple(post.id for post in there.fake.posts())
        await until(lambda: not there.courier._typing)


async def test_what_is_gone_already_counts_as_taken_back() -> None:
    async with desk() as there:
        there.fake.rest.limits.calls = 100
        question = await there.question()
        ids = await there.courier.draft(question, resumed=False).close(LONG, Outcome.ANSWERED)
        del there.fake.world.posts[ids[1]]

        await there.courier.retract(question, ids)
        del there.fake.world.channels[there.general.id]
        await there.courier.retract(question, ids)

        assert there.texts() == []


async def test_post_that_cannot_be_taken_back_now_is_worth_another_try() -> None:
    async with desk() as there:
        question = await there.question()
        ids = await there.courier.draft(question, resumed=False).close("Here.", Outcome.ANSWERED)
        there.fake.befall(Fault("DELETE", "", status=503, times=QUICK.tries))

        with pytest.raises(DeliveryFailed) as caught:
            await there.courier.retract(question, ids)
        await there.courier.retract(question, ids)

        assert caught.value.retryable
        assert there.texts() == []


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_post_whose_response_is_lost_is_made_once() -> None:
    async with desk() as there:
        there.fake.befall(Fault("POST", "/messages", status=CUT, after=True))

        await (await there.draft()).close("Once.", Outcome.ANSWERED)

        assert there.texts() == ["Once."]
        assert there.fake.calls("POST", "/messages") == 2


@pytest.mark.parametrize("status", [503, CUT])
async def test_passing_fault_is_tried_again(status: int) -> None:
    async with desk() as there:
        there.fake.befall(Fault("POST", "/messages", status=status, times=3))

        await (await there.draft()).close("At last.", Outcome.ANSWERED)

        assert there.texts() == ["At last."]


async def test_lasting_fault_is_given_up_after_the_tries_and_worth_another_time() -> None:
    async with desk() as there:
        there.fake.befall(Fault("POST", "/messages", status=503, times=99))

        with pytest.raises(DeliveryFailed) as caught:
            await (await there.draft()).close("Never.", Outcome.ANSWERED)

        assert caught.value.retryable
        assert there.fake.calls("POST", "/messages") == QUICK.tries


@pytest.mark.parametrize("via", [True, False])
async def test_rate_limit_is_waited_for(via: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async with desk() as there:
        there.fake.befall(Fault("POST", "/messages", status=429, retry_after_s=0.2, via=via))
        began = time.monotonic()

        await (await there.draft()).close("Later.", Outcome.ANSWERED)

        assert there.texts() == ["Later."]
        assert time.monotonic() - began >= 0.2


async def test_global_rate_limit_holds_every_channel() -> None:
    async with desk() as there:
        other = there.fake.world.channel("other")
        here, elsewhere = await there.question(), await there.question(channel=other)
        there.fake.befall(Fault("POST", "/messages", status=429, retry_after_s=0.3, everywhere=True))
        first = asyncio.create_task(there.courier.notice(here, "one"))
        await until(lambda: there.fake.calls("POST", "/messages") == 1)
        await until(lambda: there.courier._api._calls._held_until > 0)
        began = time.monotonic()

        await there.courier.notice(elsewhere, "two")

        assert time.monotonic() - began >= 0.2
        await first


async def test_too_long_a_rate_limit_is_given_up_for_now() -> None:
    async with desk() as there:
        there.fake.befall(Fault("POST", "/messages", status=429, retry_after_s=300.0))

        with pytest.raises(DeliveryFailed) as caught:
            await (await there.draft()).close("Never.", Outcome.ANSWERED)

        assert caught.value.retryable


async def test_edits_obey_the_headers_and_delay_no_other_channel() -> None:
    async with desk() as there:
        there.fake.rest.limits.window_s = 1.0
        busy, quiet = await there.draft(), await there.question(channel=there.fake.world.channel("quiet"))
        calm = there.courier.draft(quiet, resumed=False)
        await calm.show("0")

        async def hurry() -> None:
            for number in range(12):
                await busy.show(str(number))

        hurrying = asyncio.create_task(hurry())
        await until(lambda: there.fake.calls("PATCH") >= 5)
        began = time.monotonic()
        await calm.show("1")
        waited = time.monotonic() - began
        await hurrying

        assert waited < 0.5
        assert there.fake.rest.limits.exceeded == 0


@pytest.mark.parametrize("wrong", ["forbidden", "unknown"])
async def test_closed_door_is_not_knocked_at_again(wrong: str) -> None:
    async with desk() as there:
        draft = await there.draft()
        if wrong == "forbidden":
            there.general.forbidden = True
        else:
            del there.fake.world.channels[there.general.id]

        with pytest.raises(DeliveryFailed) as caught:
            await draft.close("Never.", Outcome.ANSWERED)

        assert not caught.value.retryable
        assert there.fake.calls("POST", "/messages") == 1


async def test_question_that_was_deleted_gets_a_plain_post() -> None:
    async with desk() as there:
        question = await there.question()
        del there.fake.world.posts[_id(question)]

        await there.courier.draft(question, resumed=False).close("Still.", Outcome.ANSWERED)

        [post] = there.fake.posts()
        assert (post.content, post.quoted) == ("Still.", None)


async def test_answer_is_plain_where_the_bot_may_not_reply() -> None:
    async with desk() as there:
        there.general.unreadable = True

        await (await there.draft()).close("Plain.", Outcome.ANSWERED)

        [post] = there.fake.posts()
        assert (post.content, post.quoted) == ("Plain.", None)


async def test_wrong_token_is_named_and_not_tried_again() -> None:
    async with desk(token="wrong") as there:
        draft = await there.draft()

        with pytest.raises(DeliveryFailed, match="DISCORD_TOKEN") as caught:
            await draft.close("Never.", Outcome.ANSWERED)

        assert not caught.value.retryable


async def test_courier_starts_while_discord_is_away() -> None:
    async with desk() as there:
        there.fake.befall(Fault("GET", "/users/@me", status=503, times=2))

        await (await there.draft()).close("Hello.", Outcome.ANSWERED)

        assert there.texts() == ["Hello."]


async def test_call_that_never_ends_is_cut_and_tried_again() -> None:
    async with desk(patience=Patience(tries=3, first_pause_s=0.01, try_s=0.3)) as there:
        there.fake.befall(Fault("POST", "/messages", status=SILENCE))

        await (await there.draft()).close("Hello.", Outcome.ANSWERED)

        assert there.texts() == ["Hello."]


def _id(question: Message) -> str:
    return question.reply_to["message_id"]
