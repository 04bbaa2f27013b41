"""The fake Slack is as strict as Slack: what the adapters' tests rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Literal

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
    assert 0 < int(answers[2]["retry_after"]) <= 60


async def test_posts_are_limited_in_each_channel_apart(call: Caller) -> None:
    call.slack.workspace.channels["C2"] = Channel("C2", "channel")

    burst = [await call("chat.postMessage", channel="C1", text="a") for _ in range(11)]
    elsewhere = await call("chat.postMessage", channel="C2", text="a")

    assert [answer["status"] for answer in burst] == [200] * 10 + [429]
    assert 0 < int(burst[-1]["retry_after"]) <= 5
    assert elsewhere["ok"]


async def test_history_is_read_in_pages_and_without_replies(call: Caller) -> None:
    stamps = [call.slack.say("U1", str(number), channel="C1") for number in range(5)]
    reply = call.slack.say("U1", "a reply", channel="C1", thread_ts=stamps[4])

    newest = await call("conversations.history", channel="C1", oldest=stamps[0], latest="9" * 12, limit=2)
    cursor = newest["response_metadata"]["next_cursor"]
    rest = await call("conversations.history", channel="C1", oldest=stamps[0], latest="9" * 12, limit=2, cursor=cursor)
    forward = await call("conversations.history", channel="C1", oldest=stamps[0], limit=2)

    assert [post["text"] for post in newest["messages"]] == ["4", "3"]
    assert newest["messages"][0]["latest_reply"] == reply
    assert [post["text"] for post in rest["messages"]] == ["2", "1"]
    assert not rest["has_more"]
    assert [post["text"] for post in forward["messages"]] == ["2", "1"]


async def test_replies_are_read_in_pages_and_no_larger_than_slack_allows(call: Caller) -> None:
    call.slack.workspace.page_max = 2
    root = call.slack.say("U1", "root", channel="C1")
    stamps = [call.slack.say("U1", str(number), channel="C1", thread_ts=root) for number in range(3)]

    first = await call("conversations.replies", channel="C1", ts=root, oldest=stamps[0], limit=100)
    cursor = first["response_metadata"]["next_cursor"]
    second = await call("conversations.replies", channel="C1", ts=root, oldest=stamps[0], limit=100, cursor=cursor)

    assert [post["text"] for post in first["messages"]] == ["root", "1"]
    assert [post["text"] for post in second["messages"]] == ["2"]


async def test_only_channels_of_the_bot_are_listed(call: Caller) -> None:
    call.slack.workspace.channels |= {
        "C2": Channel("C2", "channel", bot_is_member=False),
        "C3": Channel("C3", "channel", archived=True),
        "G1": Channel("G1", "group"),
        "D1": Channel("D1", "im"),
    }

    public = await call("users.conversations")
    first = await call("users.conversations", types="public_channel,im", exclude_archived=True, limit=1)
    call.slack.scopes.discard("im:read")
    refused = await call("users.conversations", types="public_channel,im")

    assert [channel["id"] for channel in public["channels"]] == ["C1", "C3"]
    assert [channel["id"] for channel in first["channels"]] == ["C1"]
    assert first["response_metadata"]["next_cursor"]
    assert (refused["error"], refused["needed"]) == ("missing_scope", "im:read")


async def test_a_deleted_root_leaves_a_tombstone_until_its_replies_are_gone(call: Caller) -> None:
    root = call.slack.say("U1", "root", channel="C1")
    reply = (await call("chat.postMessage", channel="C1", text="reply", thread_ts=root))["ts"]

    call.slack.delete("C1", root)
    left = await call("conversations.history", channel="C1")
    await call("chat.delete", channel="C1", ts=reply)
    gone = await call("chat.delete", channel="C1", ts=reply)

    assert [post["subtype"] for post in left["messages"]] == ["tombstone"]
    assert gone["error"] == "message_not_found"


async def test_changes_are_told_while_somebody_listens(call: Caller) -> None:
    socket = await call.socket()
    await socket.receive_json()
    await until(lambda: call.slack.sockets.count == 1)
    post = await call("chat.postMessage", channel="C1", text="a")

    await call("chat.update", channel="C1", ts=post["ts"], text="b")
    changed = (await socket.receive_json())["payload"]["event"]
    await call("chat.delete", channel="C1", ts=post["ts"])
    deleted = (await socket.receive_json())["payload"]["event"]

    assert (changed["subtype"], changed["message"]["text"]) == ("message_changed", "b")
    assert changed["previous_message"]["text"] == "a"
    assert (deleted["subtype"], deleted["deleted_ts"]) == ("message_deleted", post["ts"])


async def test_what_happens_while_nobody_is_connected_is_lost(call: Caller) -> None:
    socket = await call.socket()
    await socket.receive_json()
    await until(lambda: call.slack.sockets.count == 1)

    call.slack.sockets.vanish()
    call.slack.say("U1", "anybody?", channel="C1")
    await until(lambda: call.slack.sockets.envelopes[0].lost)
    refused = await call("apps.connections.open", APP_TOKEN)
    call.slack.sockets.come_back()
    again = await call.socket()

    assert (await socket.receive()).type is not aiohttp.WSMsgType.TEXT
    assert not refused["ok"]
    assert (await again.receive_json())["type"] == "hello"


@pytest.mark.parametrize(("state", "pongs"), [("sound", True), ("deaf", True), ("mute", False)])
async def test_a_socket_may_fall_silent(call: Caller, state: Literal["sound", "deaf", "mute"], pongs: bool) -> None:  # noqa: FBT001
    url = (await call("apps.connections.open", APP_TOKEN))["url"]
    socket = await call.session.ws_connect(url, autoping=False)
    await socket.receive_json()
    await until(lambda: call.slack.sockets.count == 1)

    call.slack.sockets.links[0].state = state
    call.slack.say("U1", "hello", channel="C1")
    await until(lambda: call.slack.sockets.envelopes[0].attempts > 0)
    await socket.ping(b"there?")
    heard: list[aiohttp.WSMsgType] = []
    with suppress(TimeoutError):
        while aiohttp.WSMsgType.PONG not in heard:
            heard.append((await socket.receive(timeout=0.1)).type)

    assert (aiohttp.WSMsgType.PONG in heard) is pongs
    assert (aiohttp.WSMsgType.TEXT in heard) is (state == "sound")


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
