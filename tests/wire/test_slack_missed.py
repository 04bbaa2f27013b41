"""What is said while the gateway is away, read from the fake Slack when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.chat.intake import Receipt
from core.chat.message import Conversation
from core.chat.ports import Heard
from storage.connections import open_redis
from storage.mailbox import RedisMailbox
from storage.marks import RedisMarks
from tests.support.fake_slack import Channel, Post
from tests.support.fake_slack.server import other_bot
from tests.support.fake_slack.workspace import BOT_ID, BOT_USER
from tests.support.slack_absence import HOUR_S, MARK, Absence, an_absence
from tests.support.slack_harness import slack_harness, until


@pytest.fixture
async def scene() -> AsyncIterator[Absence]:
    async with an_absence() as made:
        yield made


async def test_what_was_said_while_all_sockets_were_gone_is_taken_once_and_in_order(scene: Absence) -> None:
    slack = scene.slack
    slack.workspace.channels |= {"G1": Channel("G1", "group"), "C9": Channel("C9", "mpim")}
    async with scene.listening():
        root = slack.say("U1", "<@UBOT> before", channel="C1")
        other = slack.say("U2", "lunch?", channel="C1")
        await scene.accepts("before")
        await scene.go_away()

        slack.say("U1", "follow-up", channel="C1", thread_ts=root)
        slack.say("U2", "to nobody", channel="C1")
        slack.say("U2", "<@UBOT> join us", channel="C1", thread_ts=other)
        slack.say("U2", "and again", channel="C1", thread_ts=other)
        slack.say("U2", "<@UBOT> a thread of its own", channel="C1")
        slack.say("UBOT2", "<@UBOT> hi, bot", channel="C1", **other_bot())
        slack.workspace.add(Post("C1", slack.workspace.new_ts(), BOT_USER, "my answer", thread_ts=root, bot_id=BOT_ID))
        slack.say("U1", "in private", channel=scene.direct)
        slack.say("U1", "<@UBOT> in a group", channel="G1")
        slack.say("U1", "<@UBOT> among few", channel="C9")
        await scene.come_back()
        await until(lambda: len(scene.heard.accepted) == 8, 10.0)
        mark = await scene.marked()

    in_channel = ["follow-up", "join us", "and again", "a thread of its own"]
    assert [text for text in scene.heard.accepted if text in in_channel] == in_channel
    assert set(scene.heard.accepted) == {"before", *in_channel, "in private", "in a group", "among few"}
    assert sum(count for _, count in scene.meter.missed) == 7
    assert mark > float(other)


async def test_what_was_said_while_no_gateway_ran_is_taken_at_the_next_start(scene: Absence) -> None:
    async with scene.listening():
        await scene.marked()
    scene.slack.sockets.vanish()
    scene.slack.say("U1", "anybody?", channel=scene.direct)
    scene.slack.sockets.come_back()

    async with scene.listening():
        await scene.accepts("anybody?")


async def test_the_first_start_of_all_reads_nothing(scene: Absence) -> None:
    scene.said_before(60.0, "old", scene.direct)

    async with scene.listening():
        await scene.marked()

    assert scene.slack.asked["conversations.history"] == 0
    assert scene.heard.receipts == []


async def test_long_histories_are_read_page_by_page(scene: Absence) -> None:
    scene.slack.workspace.page_max = 3
    async with scene.listening():
        root = scene.slack.say("U1", "<@UBOT> root", channel="C1")
        await scene.accepts("root")
        await scene.go_away()
        for number in range(10):
            scene.slack.say("U1", f"reply {number}", channel="C1", thread_ts=root)
            scene.slack.say("U1", f"direct {number}", channel=scene.direct)
        await scene.come_back()
        await until(lambda: len(scene.heard.accepted) == 21, 10.0)

    for kind in ("reply", "direct"):
        wanted = [f"{kind} {number}" for number in range(10)]
        assert [text for text in scene.heard.accepted if text.startswith(kind)] == wanted


async def test_what_is_said_now_waits_behind_what_was_missed_in_its_channel_only(scene: Absence) -> None:
    slack, direct = scene.slack, scene.direct
    slack.sockets.ack_s = 30.0
    async with scene.listening():
        await scene.go_away()
        slack.say("U1", "missed", channel=direct)
        gate = slack.gates["conversations.history", direct] = asyncio.Event()
        await scene.come_back()
        slack.say("U1", "said now", channel=direct)
        slack.say("U1", "<@UBOT> elsewhere", channel="C1")
        await scene.accepts("elsewhere")
        gate.set()
        await scene.accepts("elsewhere", "missed", "said now")
        await until(lambda: slack.unacked() == 0)


async def test_nothing_older_than_a_day_is_read(scene: Absence) -> None:
    now = scene.slack.workspace.clock()
    await scene.store.mark_alive(MARK, now - 48 * HOUR_S)
    scene.said_before(24.5 * HOUR_S, "yesterday", scene.direct)
    scene.said_before(23.0 * HOUR_S, "today", scene.direct)

    async with scene.listening():
        await scene.marked()

    assert scene.heard.accepted == ["today"]


async def test_the_age_is_bounded_by_the_settings(scene: Absence) -> None:
    await scene.store.mark_alive(MARK, scene.slack.workspace.clock() - 10 * HOUR_S)
    scene.said_before(2 * HOUR_S, "earlier", scene.direct)
    scene.said_before(0.5 * HOUR_S, "lately", scene.direct)

    async with scene.listening(max_age_s=HOUR_S):
        await scene.marked()

    assert scene.heard.accepted == ["lately"]


async def test_with_an_age_of_nought_nothing_is_read(scene: Absence) -> None:
    await scene.store.mark_alive(MARK, scene.slack.workspace.clock() - HOUR_S)
    scene.said_before(60.0, "missed", scene.direct)

    async with scene.listening(max_age_s=0.0):
        scene.slack.say("U1", "said now", channel=scene.direct)
        await scene.accepts("said now")

    assert scene.slack.asked["conversations.history"] == 0


async def test_of_too_many_messages_the_newest_are_taken(scene: Absence) -> None:
    await scene.store.mark_alive(MARK, scene.slack.workspace.clock() - HOUR_S)
    for number in range(10):
        scene.said_before(600.0 - number, f"number {number}", scene.direct)

    async with scene.listening(max_messages=3):
        await scene.marked()

    assert scene.heard.accepted == ["number 7", "number 8", "number 9"]


async def test_follow_ups_in_an_old_thread_are_found(scene: Absence) -> None:
    root = scene.said_before(30 * HOUR_S, "an old topic", "C1").ts
    async with scene.listening():
        scene.slack.say("U1", "<@UBOT> what was that?", channel="C1", thread_ts=root)
        await scene.accepts("what was that?")
        await scene.go_away()
        scene.slack.say("U1", "tell me more", channel="C1", thread_ts=root)
        await scene.come_back()
        await scene.accepts("what was that?", "tell me more")


async def test_what_was_heard_and_not_for_us_stays_so(scene: Absence) -> None:
    async with scene.listening():
        root = scene.slack.say("U2", "lunch?", channel="C1")
        scene.slack.say("U1", "at noon", channel="C1", thread_ts=root)
        await until(lambda: scene.slack.unacked() == 0)
        scene.slack.say("U1", "<@UBOT> where?", channel="C1", thread_ts=root)
        await scene.accepts("where?")
        scene.slack.say("U1", "stop", channel="C1", thread_ts=root)
        await until(lambda: ("stop", Receipt.STOPPING) in scene.heard.receipts)
        scene.slack.say("U1", "go on", channel="C1", thread_ts=root)
        await scene.accepts("where?", "go on")
        scene.slack.say("U1", "stop", channel=scene.direct)
        await until(lambda: ("stop", Receipt.IGNORED) in scene.heard.receipts)
        await scene.go_away()
        await scene.come_back()
        # A mention is told twice, and then read.
        await until(lambda: scene.heard.receipts.count(("where?", Receipt.DUPLICATE)) == 2, 10.0)
        await scene.marked()

    assert scene.heard.accepted == ["where?", "go on"]
    assert [text for text, _ in scene.heard.receipts].count("stop") == 2


async def test_what_was_edited_meanwhile_is_taken_as_it_is_now_and_what_was_deleted_is_not(scene: Absence) -> None:
    async with scene.listening():
        await scene.go_away()
        edited = scene.slack.say("U1", "helo", channel=scene.direct)
        deleted = scene.slack.say("U1", "never mind", channel=scene.direct)
        scene.slack.edit(scene.direct, edited, "hello")
        scene.slack.delete(scene.direct, deleted)
        await scene.come_back()
        await scene.accepts("hello")
        await scene.marked()

    assert scene.heard.accepted == ["hello"]


async def test_through_redis_and_the_harness(redis_url: str) -> None:
    client, blocking = open_redis(redis_url), open_redis(redis_url, blocking=True)
    mailbox, marks = RedisMailbox(client, blocking), RedisMarks(client)
    await mailbox.open()
    conversation = Conversation("slack", "T1", "DU1")
    async with slack_harness(mailbox, marks=marks) as harness:
        before = await harness.say_direct("U1", "before")
        async with asyncio.timeout(10.0):
            while (await marks.alive(MARK) or 0.0) < float(before):
                await asyncio.sleep(0.01)
        await harness.disconnect()
        missed = await harness.say_direct("U1", "missed")
        await harness.reconnect()
        async with asyncio.timeout(10.0):
            while not (heard := await marks.heard_since("slack", float(before), 10)):
                await asyncio.sleep(0.01)
    await mailbox.aclose()
    await client.aclose()
    await blocking.aclose()

    assert heard == [Heard(conversation, float(missed))]
