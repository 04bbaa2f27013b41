"""What is said while the gateway is away, read from the fake Slack when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import pytest

from bots.slack.connection import BackfillSettings
from bots.slack.courier import open_courier
from bots.slack.gateway import SlackGateway
from core.chat.intake import MailboxIntake, Receipt
from core.chat.message import Conversation, Message
from core.chat.ports import Change, Heard
from storage.connections import open_redis
from storage.mailbox import RedisMailbox
from storage.marks import RedisMarks
from tests.support.counting_meter import CountingMeter
from tests.support.fake_slack import Channel, FakeSlack, Post
from tests.support.fake_slack.server import BOT_TOKEN, other_bot
from tests.support.fake_slack.workspace import BOT_ID, BOT_USER
from tests.support.memory_store import MemoryStore
from tests.support.slack_harness import running_gateway, slack_harness, until

HOUR_S = 3600.0
MARK = "slack:T1"
POISON = "a message that core cannot take"


@dataclass
class Ears:
    """Core's intake, and what it took, in the order in which it took it."""

    intake: MailboxIntake
    accepted: list[str] = field(default_factory=list)
    receipts: list[tuple[str, Receipt]] = field(default_factory=list)
    waiting: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def receive(self, message: Message) -> Receipt:
        self.waiting += 1
        await self.gate.wait()
        if message.text == POISON:
            raise ValueError("a fault of ours")
        receipt = await self.intake.receive(message)
        self.receipts.append((message.text, receipt))
        if receipt is Receipt.ACCEPTED:
            self.accepted.append(message.text)
        return receipt

    async def revise(self, message: Message) -> Change:
        return await self.intake.revise(message)

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        return await self.intake.withdraw(conversation, message_id)


@dataclass
class Scene:
    slack: FakeSlack
    store: MemoryStore
    heard: Ears
    meter: CountingMeter = field(default_factory=CountingMeter)

    @property
    def direct(self) -> str:
        return self.slack.workspace.direct_channel("U1")

    def listening(self, **more: float) -> AbstractAsyncContextManager[SlackGateway]:
        backfill = BackfillSettings(**{"mark_s": 0.02, **more})  # type: ignore[arg-type]
        return running_gateway(self.slack, self.heard, marks=self.store, meter=self.meter, backfill=backfill)

    async def marked(self) -> float:
        """The mark, once there is one that is later than now."""
        now = self.slack.workspace.clock()
        async with asyncio.timeout(10.0):
            while (mark := await self.store.alive(MARK) or 0.0) < now:
                await asyncio.sleep(0.01)
        return mark

    async def go_away(self) -> None:
        """The gateway is cut off, and has noticed."""
        await self.marked()
        self.slack.sockets.vanish()
        await until(lambda: self.slack.sockets.count == 0)

    async def come_back(self) -> None:
        self.slack.sockets.come_back()
        await until(lambda: self.slack.sockets.count > 0, 10.0)

    async def accepts(self, *texts: str) -> None:
        await until(lambda: len(self.heard.accepted) >= len(texts), 10.0)
        assert self.heard.accepted == list(texts)

    def said_before(self, age_s: float, text: str, channel: str, **more: str) -> Post:
        """Said some time ago, and told to nobody."""
        stamp = f"{self.slack.workspace.clock() - age_s:.6f}"
        return self.slack.workspace.add(Post(channel, stamp, "U1", text, **more))  # type: ignore[arg-type]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store = MemoryStore(inbox_limit=100)
    async with FakeSlack(ack_s=0.3) as slack, open_courier(BOT_TOKEN, slack.url) as courier:
        slack.workspace.people |= {"U1": "Ada", "U2": "Bo"}
        slack.limits = {"conversations.history": 1000, "conversations.replies": 1000, "users.conversations": 1000}
        yield Scene(slack, store, Ears(MailboxIntake(store, courier, now=slack.workspace.clock)))


async def test_what_was_said_while_all_sockets_were_gone_is_taken_once_and_in_order(scene: Scene) -> None:
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


async def test_what_was_said_while_no_gateway_ran_is_taken_at_the_next_start(scene: Scene) -> None:
    async with scene.listening():
        await scene.marked()
    scene.slack.sockets.vanish()
    scene.slack.say("U1", "anybody?", channel=scene.direct)
    scene.slack.sockets.come_back()

    async with scene.listening():
        await scene.accepts("anybody?")


async def test_the_first_start_of_all_reads_nothing(scene: Scene) -> None:
    scene.said_before(60.0, "old", scene.direct)

    async with scene.listening():
        await scene.marked()

    assert scene.slack.asked["conversations.history"] == 0
    assert scene.heard.receipts == []


async def test_long_histories_are_read_page_by_page(scene: Scene) -> None:
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


async def test_what_is_said_now_waits_behind_what_was_missed_in_its_channel_only(scene: Scene) -> None:
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


async def test_nothing_older_than_a_day_is_read(scene: Scene) -> None:
    now = scene.slack.workspace.clock()
    await scene.store.mark_alive(MARK, now - 48 * HOUR_S)
    scene.said_before(24.5 * HOUR_S, "yesterday", scene.direct)
    scene.said_before(23.0 * HOUR_S, "today", scene.direct)

    async with scene.listening():
        await scene.marked()

    assert scene.heard.accepted == ["today"]


async def test_the_age_is_bounded_by_the_settings(scene: Scene) -> None:
    await scene.store.mark_alive(MARK, scene.slack.workspace.clock() - 10 * HOUR_S)
    scene.said_before(2 * HOUR_S, "earlier", scene.direct)
    scene.said_before(0.5 * HOUR_S, "lately", scene.direct)

    async with scene.listening(max_age_s=HOUR_S):
        await scene.marked()

    assert scene.heard.accepted == ["lately"]


async def test_with_an_age_of_nought_nothing_is_read(scene: Scene) -> None:
    await scene.store.mark_alive(MARK, scene.slack.workspace.clock() - HOUR_S)
    scene.said_before(60.0, "missed", scene.direct)

    async with scene.listening(max_age_s=0.0):
        scene.slack.say("U1", "said now", channel=scene.direct)
        await scene.accepts("said now")

    assert scene.slack.asked["conversations.history"] == 0


async def test_of_too_many_messages_the_newest_are_taken(scene: Scene) -> None:
    await scene.store.mark_alive(MARK, scene.slack.workspace.clock() - HOUR_S)
    for number in range(10):
        scene.said_before(600.0 - number, f"number {number}", scene.direct)

    async with scene.listening(max_messages=3):
        await scene.marked()

    assert scene.heard.accepted == ["number 7", "number 8", "number 9"]


async def test_a_rate_limit_is_waited_out(scene: Scene) -> None:
    scene.slack.retry_after_s = 1
    async with scene.listening():
        await scene.go_away()
        scene.slack.say("U1", "missed", channel=scene.direct)
        for method in ("users.conversations", "conversations.history"):
            scene.slack.refuse(method, status=429, error="ratelimited")
        await scene.come_back()
        await scene.accepts("missed")


async def test_while_slack_cannot_be_read_nothing_passes_what_was_missed(scene: Scene) -> None:
    scene.slack.sockets.ack_s = 30.0
    async with scene.listening():
        await scene.go_away()
        scene.slack.say("U1", "missed", channel=scene.direct)
        scene.slack.refuse("conversations.history", times=5)
        await scene.come_back()
        scene.slack.say("U1", "said now", channel=scene.direct)
        await scene.accepts("missed", "said now")  # each of them read from Slack


async def test_a_channel_that_slack_does_not_let_us_read_is_heard_all_the_same(scene: Scene) -> None:
    async with scene.listening(patience_s=0.3):
        await scene.go_away()
        scene.slack.refuse("conversations.history", times=1000)
        await scene.come_back()
        scene.slack.say("U1", "said now", channel=scene.direct)
        await scene.accepts("said now")
        await scene.marked()


async def test_a_channel_that_we_were_put_out_of_holds_nobody_up(scene: Scene) -> None:
    scene.slack.workspace.channels["C2"] = Channel("C2", "channel")
    async with scene.listening():
        scene.slack.say("U1", "<@UBOT> hello", channel="C1")
        await scene.accepts("hello")
        await scene.go_away()
        scene.slack.workspace.channels["C1"].bot_is_member = False
        scene.slack.say("U1", "<@UBOT> missed", channel="C2")
        await scene.come_back()
        await scene.accepts("hello", "missed")
        await scene.marked()


@pytest.mark.parametrize(("scope", "known", "unknown"), [("im:read", "DU1", "C1"), ("channels:read", "C1", "DU1")])
async def test_a_channel_that_cannot_be_listed_is_known_from_the_mailbox(
    scene: Scene, scope: str, known: str, unknown: str
) -> None:
    scene.slack.scopes.discard(scope)
    scene.slack.workspace.direct_channel("U1")
    async with scene.listening():
        scene.slack.say("U1", "<@UBOT> hello", channel=known)
        await scene.accepts("hello")
        await scene.go_away()
        scene.slack.say("U1", "<@UBOT> missed", channel=known)
        scene.slack.say("U1", "<@UBOT> missed elsewhere", channel=unknown)
        await scene.come_back()
        await scene.accepts("hello", "missed", "missed elsewhere")


async def test_follow_ups_in_an_old_thread_are_found(scene: Scene) -> None:
    root = scene.said_before(30 * HOUR_S, "an old topic", "C1").ts
    async with scene.listening():
        scene.slack.say("U1", "<@UBOT> what was that?", channel="C1", thread_ts=root)
        await scene.accepts("what was that?")
        await scene.go_away()
        scene.slack.say("U1", "tell me more", channel="C1", thread_ts=root)
        await scene.come_back()
        await scene.accepts("what was that?", "tell me more")


async def test_what_the_mailbox_did_not_take_in_time_is_read_later(scene: Scene) -> None:
    scene.slack.sockets.ack_s = 0.05
    async with scene.listening():
        await scene.marked()
        scene.store.down = True
        scene.slack.say("U1", "while the store was away", channel=scene.direct)
        await until(lambda: scene.slack.sockets.envelopes[0].attempts == 4)
        await until(lambda: scene.slack.sockets.underway == 0)
        scene.store.down = False
        await scene.accepts("while the store was away")


async def test_what_the_mailbox_takes_does_not_pass_what_it_did_not_take(scene: Scene) -> None:
    scene.slack.sockets.ack_s = 30.0
    async with scene.listening():
        await scene.marked()
        scene.store.down = True
        scene.slack.say("U1", "first", channel=scene.direct)
        await until(lambda: len(scene.slack.called("users.info")) == 1)
        await until(lambda: scene.slack.sockets.envelopes[0].attempts == 1)
        scene.store.down = False
        scene.slack.say("U1", "second", channel=scene.direct)
        await scene.accepts("first", "second")


async def test_what_was_heard_and_not_for_us_stays_so(scene: Scene) -> None:
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


async def test_what_was_edited_meanwhile_is_taken_as_it_is_now_and_what_was_deleted_is_not(scene: Scene) -> None:
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


async def test_a_message_that_cannot_be_taken_keeps_no_other_back(scene: Scene) -> None:
    async with scene.listening():
        await scene.go_away()
        scene.slack.say("U1", POISON, channel=scene.direct)
        scene.slack.say("U1", "missed", channel=scene.direct)
        await scene.come_back()
        await until(lambda: "missed" in scene.heard.accepted, 10.0)


async def test_the_mark_stands_still_while_nobody_listens(scene: Scene) -> None:
    async with scene.listening():
        await scene.go_away()
        before = await scene.store.alive(MARK)
        asked = scene.slack.asked["apps.connections.open"]
        await until(lambda: scene.slack.asked["apps.connections.open"] > asked + 2, 10.0)
        after = await scene.store.alive(MARK)
        scene.slack.sockets.come_back()

    assert before == after


async def test_the_mark_does_not_pass_what_is_not_handed_over_yet(scene: Scene) -> None:
    scene.slack.sockets.ack_s = 30.0
    async with scene.listening() as gateway:
        await scene.marked()
        sockets = gateway.sockets
        assert sockets is not None
        scene.heard.gate.clear()
        scene.slack.say("U1", "hello", channel=scene.direct)
        await until(lambda: scene.heard.waiting == 1)
        heard_at = scene.slack.workspace.clock()
        for _ in range(2):  # frames that would let the mark move, and time for it to do so
            frame_at = sockets.frame_at()
            await until(lambda frame_at=frame_at: sockets.frame_at() > frame_at)  # type: ignore[misc]
        mark = await scene.store.alive(MARK)
        scene.heard.gate.set()
        await scene.accepts("hello")

    assert mark is not None
    assert mark <= heard_at


async def test_a_refreshed_socket_is_no_absence(scene: Scene) -> None:
    async with scene.listening():
        await scene.marked()
        opened = scene.slack.sockets.opened
        await scene.slack.sockets.disconnect()
        await until(lambda: scene.slack.sockets.opened > opened)
        await scene.marked()

    assert scene.slack.asked["users.conversations"] == 0


async def test_a_quiet_socket_that_is_replaced_is_no_absence(scene: Scene) -> None:
    async with running_gateway(scene.slack, scene.heard, sockets=1, quiet_s=0.2, marks=scene.store):
        await until(lambda: scene.slack.sockets.opened >= 4, 10.0)

    assert scene.slack.asked["users.conversations"] == 0


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
