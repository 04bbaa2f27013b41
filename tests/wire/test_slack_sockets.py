"""Socket Mode connections that are lost, fall silent or go deaf, against the fake Slack."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog

from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN
from tests.support.kept_intake import KeptIntake
from tests.support.slack_harness import running_gateway, until


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack(ack_s=0.3) as fake:
        fake.workspace.people["U1"] = "Ada"
        yield fake


async def is_heard(slack: FakeSlack, kept: KeptIntake) -> None:
    """Something new that is said now arrives; what a dead socket swallowed may have been given up by then."""
    channel = slack.workspace.direct_channel("U1")
    ts = slack.say("U1", "hello", channel=channel)
    await until(lambda: any(message.reply_to["ts"] == ts for message in kept.messages), 10.0)


async def test_sockets_that_go_mute_are_replaced(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept):
        for link in slack.sockets.links:
            link.state = "mute"
        await until(lambda: sum(link.state == "sound" for link in slack.sockets.links) == 2, 10.0)

        await is_heard(slack, kept)


async def test_sockets_that_answer_pings_and_bring_no_events_are_replaced(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept, quiet_s=0.5):
        for link in slack.sockets.links:
            link.state = "deaf"
        await until(lambda: any(link.state == "sound" for link in slack.sockets.links), 10.0)

        await is_heard(slack, kept)


async def test_a_quiet_socket_goes_when_the_next_one_listens(slack: FakeSlack) -> None:
    async with running_gateway(slack, KeptIntake(), sockets=1, quiet_s=0.2):
        await until(lambda: slack.sockets.opened >= 4, 10.0)
        fewest = slack.sockets.fewest

    assert fewest == 1


async def test_sockets_whose_sdk_has_lost_its_tasks_are_replaced(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept) as gateway:
        assert gateway.sockets is not None
        for connection in gateway.sockets.held:
            for task in (connection.client.message_receiver, connection.client.current_session_monitor):
                assert task is not None
                task.cancel()
        await until(lambda: slack.sockets.opened >= 4, 10.0)

        await is_heard(slack, kept)


async def test_sockets_come_back_after_slack_was_away(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept):
        slack.sockets.vanish()
        asked = slack.asked["apps.connections.open"]
        await until(lambda: slack.asked["apps.connections.open"] >= asked + 4, 10.0)
        slack.sockets.come_back()
        await until(lambda: slack.sockets.count == 2, 10.0)

        await is_heard(slack, kept)


async def test_no_token_and_no_address_is_logged_while_connections_fail(slack: FakeSlack) -> None:
    with structlog.testing.capture_logs() as lines:
        async with running_gateway(slack, KeptIntake()):
            slack.sockets.vanish()
            await until(lambda: any(line["event"] == "slack_socket_not_connected" for line in lines), 20.0)
            slack.sockets.come_back()
            await until(lambda: slack.sockets.count == 2, 10.0)

    said = str(lines)
    assert "slack_socket_replaced" in said
    assert not any(secret in said for secret in (APP_TOKEN, BOT_TOKEN, "ticket"))
