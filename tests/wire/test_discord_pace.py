"""Several couriers on one Discord, as in several processes: their pace is one, by Discord's own word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from bots.discord.courier import CourierSettings, DiscordCourier, discord_courier
from core.chat.errors import DeliveryFailed
from core.chat.message import Address, Conversation, Message, Outcome, Person
from core.chat.pacing import Pacer
from tests.support.counting_meter import CountingMeter
from tests.support.discord_harness import QUICK, until
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.limits import Fault
from tests.support.memory_buckets import MemoryBuckets


@dataclass(slots=True)
class Desks:
    fake: FakeDiscord
    couriers: list[DiscordCourier]
    buckets: MemoryBuckets
    meter: CountingMeter

    async def question(self, channel: str = "general") -> Message:
        place = self.fake.world.channel(channel)
        native = await self.fake.say("ada", f"{self.fake.mention} hi", place)
        conversation = Conversation("discord", self.fake.world.guild_id, place.id, native)
        return Message(
            id=conversation.message_id(native),
            conversation=conversation,
            person=Person("1", "ada"),
            text="hi",
            address=Address.MENTION,
            sent_at=time.time(),
            reply_to={"channel_id": place.id, "message_id": native},
        )

    def texts(self) -> list[str]:
        return [post.content for post in self.fake.posts()]


@asynccontextmanager
async def desks(count: int = 2) -> AsyncIterator[Desks]:
    async with FakeDiscord() as fake, AsyncExitStack() as stack:
        buckets, meter = MemoryBuckets(), CountingMeter()
        settings = CourierSettings(fake.token, fake.api_url, patience=QUICK)
        couriers = [
            await stack.enter_async_context(discord_courier(settings, Pacer(buckets, meter))) for _ in range(count)
        ]
        yield Desks(fake, couriers, buckets, meter)


async def seconds(call: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await call()
    return time.monotonic() - began


async def test_processes_that_share_a_channel_stay_within_its_limit() -> None:
    async with desks(3) as there:
        there.fake.rest.limits.window_s = 1.0
        questions = [await there.question() for _ in range(9)]

        async with asyncio.TaskGroup() as group:
            for number, question in enumerate(questions):
                draft = there.couriers[number % 3].draft(question, resumed=False)
                group.create_task(draft.close(f"Answer {number}.", Outcome.ANSWERED))

        assert sorted(there.texts()) == [f"Answer {number}." for number in range(9)]
        assert there.fake.rest.limits.exceeded <= 2  # those that were on their way when the last one was answered
        assert len(there.meter.limited) == there.fake.rest.limits.exceeded


async def test_growing_text_gives_way_and_the_final_text_comes() -> None:
    async with desks(1) as there:
        there.fake.rest.limits.window_s = 1.0
        draft = there.couriers[0].draft(await there.question(), resumed=False)

        for number in range(200):
            await draft.show(f"Growing {number}")
        await draft.close("Whole.", Outcome.ANSWERED)

        assert there.texts() == ["Whole."]
        assert there.fake.calls("PATCH") < 100
        assert there.fake.rest.limits.exceeded == 0


async def test_channel_that_is_held_delays_no_other() -> None:
    async with desks(1) as there:
        busy, quiet = await there.question("busy"), await there.question("quiet")
        there.fake.befall(Fault("POST", "/messages", status=429, retry_after_s=2.0))
        answering = asyncio.create_task(there.couriers[0].draft(busy, resumed=False).close("Later.", Outcome.ANSWERED))
        await until(lambda: bool(there.meter.limited))

        await there.couriers[0].draft(quiet, resumed=False).close("Now.", Outcome.ANSWERED)

        assert there.texts() == ["Now."]
        await answering
        assert there.meter.limited == [("discord", "post")]


async def test_refusal_is_heeded_by_the_other_processes() -> None:
    async with desks(2) as there:
        mine, theirs = await there.question(), await there.question()
        there.fake.befall(Fault("POST", "/messages", status=429, retry_after_s=1.0, via=True))
        answering = asyncio.create_task(there.couriers[0].draft(mine, resumed=False).close("One.", Outcome.ANSWERED))
        await until(lambda: bool(there.meter.limited))

        waited_s = await seconds(lambda: there.couriers[1].draft(theirs, resumed=False).close("Two.", Outcome.ANSWERED))

        assert waited_s >= 0.5
        await answering


async def test_refusal_of_all_calls_is_heeded_in_every_channel() -> None:
    async with desks(2) as there:
        mine, theirs = await there.question("here"), await there.question("elsewhere")
        there.fake.befall(Fault("POST", "/messages", status=429, retry_after_s=1.0, everywhere=True))
        answering = asyncio.create_task(there.couriers[0].draft(mine, resumed=False).close("One.", Outcome.ANSWERED))
        await until(lambda: bool(there.meter.limited))

        waited_s = await seconds(lambda: there.couriers[1].draft(theirs, resumed=False).close("Two.", Outcome.ANSWERED))

        assert waited_s >= 0.5
        await answering


async def test_wider_limit_is_learned_from_the_headers() -> None:
    async with desks(1) as there:
        there.fake.rest.limits.calls = 1000
        draft = there.couriers[0].draft(await there.question(), resumed=False)

        for number in range(50):
            await draft.show(f"Growing {number}")

        assert there.texts() == ["Growing 49"]


async def test_pace_that_cannot_be_asked_for_stops_nobody() -> None:
    async with desks(1) as there:
        there.buckets.down = True
        draft = there.couriers[0].draft(await there.question(), resumed=False)

        await draft.show("Growing")
        await draft.close("Whole.", Outcome.ANSWERED)

        assert there.texts() == ["Whole."]


async def test_answer_that_gets_no_turn_for_long_is_worth_another_try() -> None:
    async with desks(1) as there:
        question = await there.question()
        await there.couriers[0].draft(await there.question(), resumed=False).close("First.", Outcome.ANSWERED)
        [post_bucket] = [name for name in there.buckets._full_at if name.endswith(":post")]
        there.buckets._held_until[post_bucket] = time.monotonic() + 1000
        draft = there.couriers[0].draft(question, resumed=False)

        await draft.show("Growing")
        assert there.texts() == ["First."]
        with pytest.raises(DeliveryFailed) as caught:
            await draft.close("Whole.", Outcome.ANSWERED)

        assert caught.value.retryable
        assert there.fake.calls("POST", "/messages") == 1
