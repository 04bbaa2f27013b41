"""The gateway with the real Bolt over real sockets, against the fake Slack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bots.slack.connection import SlackSettings
from bots.slack.errors import SlackSetupError
from bots.slack.gateway import SlackGateway
from core.chat.errors import StoreUnavailable
from core.chat.message import Address
from tests.support.fake_slack import Channel, FakeSlack
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN, other_bot
from tests.support.kept_intake import KeptIntake
from tests.support.memory_store import MemoryStore
from tests.support.slack_harness import running_gateway, slack_harness, until


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack(ack_s=0.3) as fake:
        fake.workspace.people |= {"U1": "Ada", "U2": "Bo"}
        yield fake


async def test_a_mention_is_received_with_names_and_acknowledged(slack: FakeSlack) -> None:
    received = KeptIntake()

    async with running_gateway(slack, received):
        ts = slack.say("U1", "<@UBOT> greet <@U2> &amp; all", channel="C1")
        await until(lambda: slack.unacked() == 0)

    assert {message.id for message in received.messages} == {f"slack:T1:C1:{ts}"}
    assert len(received.messages) == 2  # once as app_mention, once as message
    assert {message.address for message in received.messages} == {Address.MENTION}
    assert received.messages[0].text == "greet @Bo & all"
    assert received.messages[0].person.name == "Ada"


async def test_the_ack_waits_for_the_hand_over(slack: FakeSlack) -> None:
    slack.sockets.ack_s = 30
    received = KeptIntake()
    received.gate.clear()

    async with running_gateway(slack, received):
        slack.say("U1", "hello", channel=slack.workspace.direct_channel("U1"))
        await until(lambda: slack.sockets.envelopes[0].attempts == 1)
        await until(lambda: len(slack.called("users.info")) == 1)
        still_unacked = slack.unacked()
        received.gate.set()
        await until(lambda: slack.unacked() == 0)

    assert still_unacked == 1
    assert len(received.messages) == 1


async def test_what_the_mailbox_did_not_take_comes_again(slack: FakeSlack) -> None:
    received = KeptIntake()
    received.failures.append(StoreUnavailable("no Redis"))

    async with running_gateway(slack, received):
        slack.say("U1", "hello", channel=slack.workspace.direct_channel("U1"))
        await until(lambda: slack.unacked() == 0)

    assert len(received.messages) == 1
    assert slack.sockets.envelopes[0].attempts == 2


async def test_a_hand_over_that_fails_for_another_reason_comes_again(slack: FakeSlack) -> None:
    received = KeptIntake()
    received.failures.append(ValueError("a fault of ours"))

    async with running_gateway(slack, received):
        slack.say("U1", "hello", channel=slack.workspace.direct_channel("U1"))
        await until(lambda: slack.unacked() == 0)

    assert len(received.messages) == 1
    assert slack.sockets.envelopes[0].attempts == 2


async def test_a_follow_up_in_a_thread_arrives_as_overheard(slack: FakeSlack) -> None:
    received = KeptIntake()

    async with running_gateway(slack, received):
        root = slack.say("U1", "<@UBOT> hello", channel="C1")
        slack.say("U2", "and then?", channel="C1", thread_ts=root)
        await until(lambda: slack.unacked() == 0)

    follow_up = next(message for message in received.messages if message.person.id == "U2")
    assert follow_up.address is Address.OVERHEARD
    assert follow_up.conversation.thread == root


async def test_group_messages_and_private_channels_are_heard(slack: FakeSlack) -> None:
    received = KeptIntake()
    slack.workspace.channels |= {"G1": Channel("G1", "group"), "C9": Channel("C9", "mpim")}

    async with running_gateway(slack, received):
        slack.say("U1", "<@UBOT> one", channel="G1")
        slack.say("U1", "<@UBOT> two", channel="C9")
        await until(lambda: slack.unacked() == 0)

    assert {message.conversation.channel for message in received.messages} == {"G1", "C9"}
    assert all(message.shared for message in received.messages)


async def test_everything_else_is_acknowledged_and_ignored(slack: FakeSlack) -> None:
    received = KeptIntake()

    async with running_gateway(slack, received):
        slack.say("UBOT2", "<@UBOT> hi, bot", channel="C1", **other_bot())
        slack.say("UBOT", "my own words", channel="C1", bot_id="B1")
        slack.say("U1", "said to nobody", channel="C1")
        slack.send_event({"type": "message", "subtype": "message_changed", "channel": "C1", "ts": "1.0"})
        slack.send_event({"type": "message", "subtype": "message_deleted", "channel": "C1", "ts": "1.0"})
        slack.send_event({"type": "reaction_added", "user": "U1", "reaction": "eyes"})
        slack.send_event({"type": "app_home_opened", "user": "U1", "tab": "messages"})
        slack.sockets.send({"type": "block_actions", "actions": [{"action_id": "a", "block_id": "b"}], "team": {}})
        await until(lambda: slack.unacked() == 0)

    assert received.messages == []
    assert {envelope.attempts for envelope in slack.sockets.envelopes} == {1}


async def test_a_name_that_slack_does_not_give_is_the_id(slack: FakeSlack) -> None:
    received = KeptIntake()
    slack.refuse("users.info", status=429, error="ratelimited", times=100)

    async with running_gateway(slack, received):
        slack.say("U1", "hello", channel=slack.workspace.direct_channel("U1"))
        await until(lambda: slack.unacked() == 0)

    assert received.messages[0].person.name == "U1"
    assert slack.sockets.envelopes[0].attempts == 1


async def test_a_name_is_asked_once(slack: FakeSlack) -> None:
    async with running_gateway(slack, KeptIntake()):
        for text in ("one", "two", "three"):
            slack.say("U1", text, channel=slack.workspace.direct_channel("U1"))
            await until(lambda: slack.unacked() == 0)

    assert len(slack.called("users.info")) == 1


async def test_auth_is_tested_once_however_many_events_come(slack: FakeSlack) -> None:
    async with running_gateway(slack, KeptIntake()):
        for _ in range(20):
            slack.say("U1", "hello", channel=slack.workspace.direct_channel("U1"))
        await until(lambda: slack.unacked() == 0)

    assert len(slack.called("auth.test")) == 1


async def test_no_event_is_lost_while_sockets_are_refreshed(slack: FakeSlack) -> None:
    slack.limits["users.info"] = 1000
    received = KeptIntake()

    async with running_gateway(slack, received):
        for round_ in range(3):
            await slack.sockets.disconnect()
            for number in range(10):
                slack.say("U1", f"{round_}.{number}", channel=slack.workspace.direct_channel("U1"))
            await until(lambda: slack.sockets.count == 2)
        await until(lambda: slack.unacked() == 0)

    assert {message.text for message in received.messages} == {f"{r}.{n}" for r in range(3) for n in range(10)}


async def test_stopping_finishes_the_hand_over_under_way(slack: FakeSlack) -> None:
    slack.sockets.ack_s = 30
    received = KeptIntake()
    received.gate.clear()

    async with running_gateway(slack, received):
        slack.say("U1", "hello", channel=slack.workspace.direct_channel("U1"))
        await until(lambda: len(slack.called("users.info")) == 1)
        asyncio.get_running_loop().call_later(0.05, received.gate.set)

    assert len(received.messages) == 1
    assert slack.unacked() == 0


@pytest.mark.parametrize(
    ("bot_token", "app_token", "named"),
    [
        ("xoxb-wrong", APP_TOKEN, "SLACK_BOT_TOKEN"),
        ("xoxp-user", APP_TOKEN, "SLACK_BOT_TOKEN"),
        (BOT_TOKEN, "xapp-wrong", "SLACK_APP_TOKEN"),
        (BOT_TOKEN, BOT_TOKEN, "SLACK_APP_TOKEN"),
        (BOT_TOKEN, "", "SLACK_APP_TOKEN"),
    ],
)
async def test_a_wrong_token_is_named_with_its_remedy(
    slack: FakeSlack, bot_token: str, app_token: str, named: str
) -> None:
    gateway = SlackGateway(SlackSettings(bot_token, app_token, slack.url), KeptIntake())

    with pytest.raises(SlackSetupError, match=f"^{named} .*api.slack.com/apps"):
        await gateway.run(asyncio.Event())


async def test_an_outage_at_the_start_is_waited_out(slack: FakeSlack) -> None:
    slack.refuse("apps.connections.open", times=1)

    async with running_gateway(slack, KeptIntake()):
        connected = slack.sockets.count

    assert connected == 2


async def test_an_address_that_opens_nothing_is_replaced_by_a_new_one(slack: FakeSlack) -> None:
    slack.sockets.spoiled_tickets = 3  # the first is that of the check at the start
    received = KeptIntake()

    async with running_gateway(slack, received):
        slack.say("U1", "hello", channel=slack.workspace.direct_channel("U1"))
        await until(lambda: slack.unacked() == 0)

    assert len(received.messages) == 1


async def test_a_doubly_delivered_mention_and_its_redelivery_are_accepted_once() -> None:
    mailbox = MemoryStore()

    async with slack_harness(mailbox) as harness:
        ts = await harness.say_in_room("ada", "hello")
        await harness.redeliver(ts)
        await until(lambda: harness.unacked() == 0)
        claim = await mailbox.take("w", 1.0)
        assert claim is not None
        mail = await mailbox.head(claim)

    assert mail is not None
    assert mail.message.id == f"slack:T1:C1:{ts}"
    assert len(mailbox._rooms[claim.conversation].inbox) == 1


async def test_nothing_is_acknowledged_while_the_mailbox_is_down() -> None:
    mailbox = MemoryStore()
    mailbox.down = True

    async with slack_harness(mailbox, ack_s=0.2) as harness:
        await harness.say_direct("ada", "hello")
        await until(lambda: harness.slack.sockets.envelopes[0].attempts == 2)
        unacked = harness.unacked()
        mailbox.down = False
        await until(lambda: harness.unacked() == 0)
        claim = await mailbox.take("w", 1.0)

    assert unacked == 1
    assert claim is not None
