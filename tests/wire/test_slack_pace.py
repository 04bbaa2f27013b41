"""The pace that all couriers of a workspace keep together, against the tiers of the fake Slack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import structlog

from bots.slack.connection import open_web
from bots.slack.courier import SlackCourier, open_courier
from bots.slack.pace import TIERS, Pace
from core.chat.errors import DeliveryFailed
from core.chat.message import Address, Conversation, Message, Outcome, Person
from core.chat.pacing import Pacer
from core.chat.ports import Buckets
from storage.buckets import RedisBuckets
from storage.connections import open_redis
from tests.support.counting_meter import CountingMeter
from tests.support.fake_slack import Channel, FakeSlack, Post
from tests.support.fake_slack.server import BOT_TOKEN
from tests.support.memory_buckets import MemoryBuckets
from tests.support.slack_harness import until


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as fake:
        fake.workspace.channels["C2"] = Channel("C2", "channel")
        fake.workspace.direct_channel("U1")
        yield fake


@asynccontextmanager
async def couriers(slack: FakeSlack, *all_buckets: Buckets) -> AsyncIterator[list[SlackCourier]]:
    """A courier for each of `all_buckets`, as processes have one each."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_courier(BOT_TOKEN, slack.url, pacer=Pacer(buckets)))
            for buckets in all_buckets
        ]


def ask(slack: FakeSlack, channel: str = "C1") -> Message:
    post = slack.workspace.add(Post(channel, slack.workspace.new_ts(), "U1", "hello"))
    conversation = Conversation("slack", "T1", channel, "" if channel.startswith("D") else post.ts)
    where = {"channel": channel, "thread_ts": conversation.thread, "ts": post.ts, "user": "U1", "team": "T1"}
    return Message(
        id=conversation.message_id(post.ts),
        conversation=conversation,
        person=Person("U1", "Ada"),
        text="hello",
        address=Address.MENTION,
        sent_at=float(post.ts),
        reply_to=where,
    )


async def spend_all(buckets: Buckets, method: str, channel: str = "") -> None:
    """As many calls as may come at once were just made."""
    name = f"slack:T1:{method}:{channel}".rstrip(":")
    bucket = TIERS[method].bucket(name)
    assert await buckets.spend([(bucket, bucket.burst)]) == 0.0


async def test_more_answers_than_streams_are_posted_instead(slack: FakeSlack) -> None:
    buckets = MemoryBuckets()
    async with couriers(slack, buckets, buckets) as (one, two):
        for number in range(6):
            draft = (one, two)[number % 2].draft(ask(slack), resumed=False)
            await draft.show(f"{number}")
            await draft.show(f"{number} and")

    assert slack.asked["chat.startStream"] == 5
    assert slack.asked["chat.postMessage"] == 1
    assert [post.text for post in slack.workspace.of_bot()] == [f"{number} and" for number in range(6)]


@pytest.mark.parametrize(("channel", "method"), [("DU1", "chat.update"), ("C1", "chat.appendStream")])
async def test_a_growing_text_without_a_turn_is_left_out(slack: FakeSlack, channel: str, method: str) -> None:
    buckets = MemoryBuckets()
    async with couriers(slack, buckets) as (courier,):
        draft = courier.draft(ask(slack, channel), resumed=False)
        await draft.show("One")
        await spend_all(buckets, f"{method}:spare" if f"{method}:spare" in TIERS else method)
        await draft.show("One two")
        left_out = slack.asked[method]
        await draft.close("One two", Outcome.ANSWERED)

    assert left_out == 0
    assert [post.text for post in slack.workspace.of_bot()] == ["One two"]


async def test_growing_texts_leave_turns_for_the_final_ones(slack: FakeSlack) -> None:
    buckets = MemoryBuckets()
    async with couriers(slack, buckets) as (courier,):
        draft = courier.draft(ask(slack, "DU1"), resumed=False)
        for number in range(30):
            await draft.show(f"One {number}")
        grown = slack.asked["chat.update"]
        began = time.monotonic()
        await draft.close("Done.", Outcome.ANSWERED)

    assert grown < TIERS["chat.update"].burst
    assert time.monotonic() - began < 1.0  # a turn was left
    assert [post.text for post in slack.workspace.of_bot()] == ["Done."]


async def test_a_final_text_waits_for_its_turn(slack: FakeSlack) -> None:
    buckets = MemoryBuckets()
    async with couriers(slack, buckets) as (courier,):
        draft = courier.draft(ask(slack, "DU1"), resumed=False)
        await draft.show("One")
        await buckets.hold(TIERS["chat.update"].bucket("slack:T1:chat.update"), 0.5)
        began = time.monotonic()
        await draft.close("One two", Outcome.ANSWERED)

    assert time.monotonic() - began >= 0.5
    assert slack.asked["chat.update"] == 1
    assert [post.text for post in slack.workspace.of_bot()] == ["One two"]


async def test_a_limit_that_one_worker_met_holds_for_all(slack: FakeSlack, redis_url: str) -> None:
    slack.retry_after_s = 1
    clients = [open_redis(redis_url) for _ in range(2)]
    buckets = [RedisBuckets(client) for client in clients]
    update = TIERS["chat.update"].bucket("slack:T1:chat.update")
    async with couriers(slack, *buckets) as (one, two):
        first, second = (each.draft(ask(slack, "DU1"), resumed=False) for each in (one, two))
        await first.show("One")
        await second.show("Two")
        slack.refuse("chat.update", status=429, error="ratelimited")
        closing = asyncio.create_task(first.close("One.", Outcome.ANSWERED))
        async with asyncio.timeout(5.0):
            while not await buckets[1].spend([(update, 0.0)]):
                await asyncio.sleep(0.005)
        await second.show("Two growing")
        left_out = slack.asked["chat.update"]
        await second.close("Two.", Outcome.ANSWERED)
        await closing
    for client in clients:
        await client.aclose()

    assert left_out == 1
    assert slack.asked["chat.update"] == 3  # neither tried before the second was over
    assert [post.text for post in slack.workspace.of_bot()] == ["One.", "Two."]


async def test_a_limit_in_one_channel_holds_up_no_other(slack: FakeSlack) -> None:
    slack.retry_after_s = 30
    buckets = MemoryBuckets()
    async with couriers(slack, buckets, buckets) as (one, two):
        slack.refuse("chat.postMessage", status=429, error="ratelimited")
        limited = asyncio.create_task(one.draft(ask(slack, "C1"), resumed=False).close("One.", Outcome.ANSWERED))
        await until(lambda: slack.asked["chat.postMessage"] == 1)
        for courier in (one, two):
            await courier.draft(ask(slack, "C2"), resumed=False).close("Two.", Outcome.ANSWERED)
        waits = not limited.done()
        limited.cancel()
        await asyncio.gather(limited, return_exceptions=True)

    assert waits
    assert [post.text for post in slack.workspace.of_bot()] == ["Two.", "Two."]


async def test_a_flood_in_a_channel_stays_within_slacks_limits(slack: FakeSlack) -> None:
    buckets = MemoryBuckets()
    async with couriers(slack, buckets, buckets) as both:
        drafts = [both[number % 2].draft(ask(slack, "C1"), resumed=False) for number in range(8)]
        await asyncio.gather(*(draft.close("Done.", Outcome.ANSWERED) for draft in drafts))

    assert slack.asked["chat.postMessage"] == 8  # none was refused
    assert len(slack.workspace.of_bot()) == 8


async def test_without_buckets_answers_go_out(slack: FakeSlack) -> None:
    buckets = MemoryBuckets()
    buckets.down = True
    async with couriers(slack, buckets) as (courier,):
        for text in ("One.", "Two."):
            draft = courier.draft(ask(slack), resumed=False)
            await draft.show(text[:-1])
            await draft.close(text, Outcome.ANSWERED)

    assert [post.text for post in slack.workspace.of_bot()] == ["One.", "Two."]


async def test_a_notice_does_not_wait_for_long(slack: FakeSlack) -> None:
    buckets = MemoryBuckets()
    async with couriers(slack, buckets) as (courier,):
        await buckets.hold(TIERS["chat.postMessage"].bucket("slack:T1:chat.postMessage:C1"), 30.0)

        with pytest.raises(DeliveryFailed, match="no turn"):
            await courier.notice(ask(slack), "Please wait.")

    assert slack.asked["chat.postMessage"] == 0


async def test_a_limit_is_counted_and_logged_without_the_token(slack: FakeSlack) -> None:
    slack.retry_after_s = 0
    slack.refuse("chat.postMessage", status=429, error="ratelimited")
    meter = CountingMeter()
    with structlog.testing.capture_logs() as lines:
        async with open_web(BOT_TOKEN, slack.url) as web:
            courier = SlackCourier(web, Pace(Pacer(MemoryBuckets(), meter)))
            await courier.draft(ask(slack), resumed=False).close("Done.", Outcome.ANSWERED)

    assert meter.limited == [("slack", "chat.postMessage")]
    assert [line["method"] for line in lines if line["event"] == "slack_limited"] == ["chat.postMessage"]
    assert BOT_TOKEN not in str(lines)
