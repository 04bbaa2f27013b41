"""The fake Slack is as strict as Slack: what the adapters' tests rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.fake_slack import Channel, FakeSlack
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN
from tests.support.slack_harness import until


class Caller:
    """Calls the fake with bare HTTP."""

    def __init__(self, slack: FakeSlack, session: aiohttp.ClientSession) -> None:
        self.slack = slack
        self.session = session

    async def __call__(self, method: str, token: str = BOT_TOKEN, **args: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.post(self.slack.url + method, json=args, headers=headers) as answer:
            return {"status": answer.status, "retry_after": answer.headers.get("Retry-After"), **await answer.json()}

    async def socket(self) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect((await self("apps.connections.open", APP_TOKEN))["url"])


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    async with FakeSlack(ack_s=0.1) as slack, aiohttp.ClientSession() as session:
        yield Caller(slack, session)


@pytest.mark.parametrize(
    ("method", "token", "error"),
    [
        ("auth.test", "", "not_authed"),
        ("auth.test", "xoxb-wrong", "invalid_auth"),
        ("auth.test", APP_TOKEN, "not_allowed_token_type"),
        ("apps.connections.open", BOT_TOKEN, "not_allowed_token_type"),
        ("chat.telepathy", BOT_TOKEN, "unknown_method"),
        ("chat.postMessage", BOT_TOKEN, "invalid_arguments"),
    ],
)
async def test_calls_that_slack_refuses_are_refused(call: Caller, method: str, token: str, error: str) -> None:
    assert (await call(method, token))["error"] == error


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"channel": "C404", "text": "a"}, "channel_not_found"),
        ({"channel": "C2", "text": "a"}, "not_in_channel"),
        ({"channel": "C3", "text": "a"}, "is_archived"),
        ({"channel": "C1"}, "no_text"),
        ({"channel": "C1", "text": "a", "markdown_text": "a"}, "markdown_text_conflict"),
        ({"channel": "C1", "markdown_text": "a" * 12_001}, "msg_too_long"),
        ({"channel": "C1", "text": "a", "metadata": {"event_type": 1}}, "invalid_metadata_format"),
        ({"channel": "C1", "text": "a", "thread_ts": "1.0"}, "thread_not_found"),
    ],
)
async def test_posts_that_slack_refuses_are_refused(call: Caller, args: dict[str, Any], error: str) -> None:
    call.slack.workspace.channels |= {
        "C2": Channel("C2", "channel", bot_is_member=False),
        "C3": Channel("C3", "channel", archived=True),
    }

    assert (await call("chat.postMessage", **args))["error"] == error


async def test_a_missing_scope_is_named(call: Caller) -> None:
    call.slack.scopes.discard("chat:write")

    answer = await call("chat.postMessage", channel="C1", text="a")

    assert (answer["error"], answer["needed"]) == ("missing_scope", "chat:write")


async def test_a_tier_is_a_limit_with_retry_after(call: Caller) -> None:
    call.slack.limits["auth.test"] = 2

    answers = [await call("auth.test") for _ in range(3)]

    assert [answer["status"] for answer in answers] == [200, 200, 429]
    assert answers[2]["retry_after"] == "30"


async def test_a_stream_needs_its_reader_and_ends(call: Caller) -> None:
    root = (await call("chat.postMessage", channel="C1", text="root"))["ts"]
    stream: dict[str, Any] = {"channel": "C1", "thread_ts": root, "recipient_user_id": "U1"}
    unread = await call("chat.startStream", **stream)
    ts = (await call("chat.startStream", **stream, recipient_team_id="T1"))["ts"]
    conflict = await call("chat.update", channel="C1", ts=ts, text="a")
    await call("chat.stopStream", channel="C1", ts=ts)
    over = await call("chat.appendStream", channel="C1", ts=ts, markdown_text="a")

    assert unread["error"] == "missing_recipient_team_id"
    assert conflict["error"] == "streaming_state_conflict"
    assert over["error"] == "message_not_in_streaming_state"


async def test_a_ticket_opens_one_socket(call: Caller) -> None:
    url = (await call("apps.connections.open", APP_TOKEN))["url"]
    first = await call.session.ws_connect(url)
    hello = await first.receive_json()

    with pytest.raises(aiohttp.WSServerHandshakeError):
        await call.session.ws_connect(url)

    assert hello["type"] == "hello"


async def test_the_eleventh_socket_is_sent_away(call: Caller) -> None:
    sockets = [await call.socket() for _ in range(11)]

    greetings = [await socket.receive_json() for socket in sockets]

    assert [greeting["type"] for greeting in greetings] == ["hello"] * 10 + ["disconnect"]


async def test_an_event_goes_to_one_socket_and_comes_again_until_acknowledged(call: Caller) -> None:
    sockets = [await call.socket() for _ in range(2)]
    for socket in sockets:
        await socket.receive_json()

    call.slack.send_event({"type": "app_home_opened"})
    receiving = [asyncio.create_task(socket.receive_json()) for socket in sockets]
    async with asyncio.timeout(2):
        first, second = [await task for task in receiving]
    again = max(first, second, key=lambda envelope: int(envelope["retry_attempt"]))
    await sockets[0].send_json({"envelope_id": again["envelope_id"]})
    await until(lambda: call.slack.unacked() == 0)

    assert first["envelope_id"] == second["envelope_id"]
    assert sorted((first["retry_attempt"], second["retry_attempt"])) == [0, 1]
    assert again["retry_reason"] == "timeout"
