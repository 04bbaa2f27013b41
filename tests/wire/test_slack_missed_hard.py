"""What goes wrong while the gateway reads what it missed, and what counts as an absence at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.fake_slack import Channel
from tests.support.slack_absence import MARK, POISON, Absence, an_absence
from tests.support.slack_harness import running_gateway, until


@pytest.fixture
async def scene() -> AsyncIterator[Absence]:
    async with an_absence() as made:
        yield made


async def test_a_rate_limit_is_waited_out(scene: Absence) -> None:
    scene.slack.retry_after_s = 1
    async with scene.listening():
        await scene.go_away()
        scene.slack.say("U1", "missed", channel=scene.direct)
        for method in ("users.conversations", "conversations.history"):
            scene.slack.refuse(method, status=429, error="ratelimited")
        await scene.come_back()
        await scene.accepts("missed")


async def test_while_slack_cannot_be_read_nothing_passes_what_was_missed(scene: Absence) -> None:
    scene.slack.sockets.ack_s = 30.0
    async with scene.listening():
        await scene.go_away()
        scene.slack.say("U1", "missed", channel=scene.direct)
        scene.slack.refuse("conversations.history", times=5)
        await scene.come_back()
        scene.slack.say("U1", "said now", channel=scene.direct)
        await scene.accepts("missed", "said now")  # each of them read from Slack


async def test_a_channel_that_slack_does_not_let_us_read_is_heard_all_the_same(scene: Absence) -> None:
    async with scene.listening(patience_s=0.3):
        await scene.go_away()
        scene.slack.refuse("conversations.history", times=1000)
        await scene.come_back()
        scene.slack.say("U1", "said now", channel=scene.direct)
        await scene.accepts("said now")
        await scene.marked()


async def test_a_channel_that_cannot_be_read_holds_up_no_other(scene: Absence) -> None:
    async with scene.listening():
        scene.slack.say("U1", "<@UBOT> hello", channel="C1")
        await scene.accepts("hello")
        await scene.go_away()
        scene.slack.say("U1", "missed", channel=scene.direct)
        scene.slack.refuse("conversations.history", times=1000, channel="C1")
        await scene.come_back()
        await scene.accepts("hello", "missed")


async def test_a_channel_that_we_were_put_out_of_holds_nobody_up(scene: Absence) -> None:
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
    scene: Absence, scope: str, known: str, unknown: str
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


async def test_what_the_mailbox_did_not_take_in_time_is_read_later(scene: Absence) -> None:
    scene.slack.sockets.ack_s = 0.05
    async with scene.listening():
        await scene.marked()
        scene.store.down = True
        scene.slack.say("U1", "while the store was away", channel=scene.direct)
        await until(lambda: scene.slack.sockets.envelopes[0].attempts == 4)
        await until(lambda: scene.slack.sockets.underway == 0)
        scene.store.down = False
        await scene.accepts("while the store was away")


async def test_what_the_mailbox_takes_does_not_pass_what_it_did_not_take(scene: Absence) -> None:
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


async def test_what_was_not_taken_in_a_channel_that_was_read_is_read_again(scene: Absence) -> None:
    slack = scene.slack
    slack.sockets.ack_s = 0.05
    async with scene.listening():
        slack.say("U1", "hello", channel=scene.direct)
        await scene.accepts("hello")
        await scene.go_away()
        slack.say("U1", "missed", channel=scene.direct)
        gate = slack.gates["conversations.history", "C1"] = asyncio.Event()
        await scene.come_back()
        await until(lambda: slack.asked["conversations.history"] == 2, 10.0)  # it is C1's turn
        scene.store.down = True
        slack.say("U1", "not taken", channel=scene.direct)
        await until(lambda: slack.sockets.envelopes[-1].attempts == 4)
        await until(lambda: slack.sockets.underway == 0)
        scene.store.down = False
        gate.set()
        await scene.accepts("hello", "missed", "not taken")


async def test_a_store_that_is_away_at_the_first_start_of_all_is_waited_for(scene: Absence) -> None:
    scene.store.down = True
    async with scene.listening():
        scene.slack.say("U1", "hello", channel=scene.direct)
        await until(lambda: scene.slack.sockets.envelopes[0].attempts == 2)
        scene.store.down = False
        await scene.accepts("hello")
        await scene.marked()


async def test_the_mark_is_set_at_once_at_the_first_start_of_all(scene: Absence) -> None:
    async with scene.listening(mark_s=3600.0):
        await until(lambda: MARK in scene.store._alive)
        scene.slack.sockets.vanish()
        scene.slack.say("U1", "anybody?", channel=scene.direct)

    scene.slack.sockets.come_back()
    async with scene.listening():
        await scene.accepts("anybody?")


async def test_a_message_that_cannot_be_taken_keeps_no_other_back(scene: Absence) -> None:
    async with scene.listening():
        await scene.go_away()
        scene.slack.say("U1", POISON, channel=scene.direct)
        scene.slack.say("U1", "missed", channel=scene.direct)
        await scene.come_back()
        await until(lambda: "missed" in scene.heard.accepted, 10.0)


async def test_the_mark_stands_still_while_nobody_listens(scene: Absence) -> None:
    async with scene.listening():
        await scene.go_away()
        before = await scene.store.alive(MARK)
        asked = scene.slack.asked["apps.connections.open"]
        await until(lambda: scene.slack.asked["apps.connections.open"] > asked + 2, 10.0)
        after = await scene.store.alive(MARK)
        scene.slack.sockets.come_back()

    assert before == after


async def test_the_mark_does_not_pass_what_is_not_handed_over_yet(scene: Absence) -> None:
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


async def test_a_refreshed_socket_is_no_absence(scene: Absence) -> None:
    async with scene.listening():
        await scene.marked()
        opened = scene.slack.sockets.opened
        await scene.slack.sockets.disconnect()
        await until(lambda: scene.slack.sockets.opened > opened)
        await scene.marked()

    assert scene.slack.asked["users.conversations"] == 0


async def test_a_quiet_socket_that_is_replaced_is_no_absence(scene: Absence) -> None:
    async with running_gateway(scene.slack, scene.heard, sockets=1, quiet_s=0.2, marks=scene.store):
        await until(lambda: scene.slack.sockets.opened >= 4, 10.0)

    assert scene.slack.asked["users.conversations"] == 0
