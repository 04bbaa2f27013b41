"""The fake Discord refuses what Discord refuses, so that the tests above it can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.sessions import GUILD_MESSAGES, GUILDS, MESSAGE_CONTENT
from tests.support.fake_discord.world import Channel

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Raw:
    """Requests as any client may make them."""

    fake: FakeDiscord
    http: aiohttp.ClientSession
    channel: Channel

    async def post(self, body: Json, channel_id: str = "") -> tuple[int, Json]:
        url = f"{self.fake.api_url}/channels/{channel_id or self.channel.id}/messages"
        async with self.http.post(url, json=body) as response:
            assert response.headers["Content-Type"] == "application/json"
            return response.status, await response.json()

    async def code(self, body: Json, channel_id: str = "") -> tuple[int, int]:
        status, answer = await self.post(body, channel_id)
        return status, answer.get("code", 0)


@asynccontextmanager
async def raw() -> AsyncIterator[Raw]:
    async with FakeDiscord() as fake:
        headers = {"Authorization": f"Bot {fake.token}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            yield Raw(fake, http, fake.world.channel("general"))


async def test_wrong_token_is_unauthorized() -> None:
    async with raw() as there, there.http.get(f"{there.fake.api_url}/users/@me", headers={"Authorization": "x"}) as got:
        assert got.status == 401


async def test_bad_posts_are_refused_with_discords_codes() -> None:
    async with raw() as there:
        assert await there.code({"content": "x" * 2001}) == (400, 50035)
        assert await there.code({"content": "  "}) == (400, 50006)
        assert await there.code({"content": "x"}, "123") == (404, 10003)
        assert await there.code({"content": "x", "nonce": "n" * 26}) == (400, 50035)
        assert await there.code({"content": "x", "message_reference": None}) == (400, 50035)


async def test_reply_to_a_missing_message_is_refused_unless_allowed() -> None:
    async with raw() as there:
        missing = {"message_id": "1"}

        assert await there.code({"content": "x", "message_reference": missing}) == (400, 50035)
        kind = missing | {"fail_if_not_exists": False}
        assert (await there.post({"content": "x", "message_reference": kind}))[0] == 200


async def test_post_without_permission_is_refused() -> None:
    async with raw() as there:
        there.channel.forbidden = True

        assert await there.code({"content": "x"}) == (403, 50013)


async def test_post_rings_by_default() -> None:
    async with raw() as there:
        await there.post({"content": "@everyone"})
        await there.post({"content": "@everyone", "allowed_mentions": {"parse": []}})

        assert [post.rings for post in there.fake.posts()] == [["everyone"], []]


async def test_nonce_is_idempotent_only_when_enforced() -> None:
    async with raw() as there:
        there.fake.rest.limits.calls = 10
        _, first = await there.post({"content": "one", "nonce": "1", "enforce_nonce": True})
        _, second = await there.post({"content": "two", "nonce": "1", "enforce_nonce": True})
        _, third = await there.post({"content": "three", "nonce": "1"})

        assert (second["id"], second["content"]) == (first["id"], "one")
        assert third["id"] != first["id"]


async def test_rate_limit_is_announced_and_kept() -> None:
    async with raw() as there:
        statuses = [(await there.post({"content": "x"}))[0] for _ in range(6)]
        _, limited = await there.post({"content": "x"})

        assert statuses == [200] * 5 + [429]
        assert 0 < limited["retry_after"] <= 5


async def test_history_does_not_tell_nonces() -> None:
    async with raw() as there:
        await there.post({"content": "x", "nonce": "1"})

        async with there.http.get(f"{there.fake.api_url}/channels/{there.channel.id}/messages") as got:
            [message] = await got.json()
        assert "nonce" not in message


@pytest.mark.parametrize(
    ("identify", "code"),
    [
        ({"token": "wrong", "intents": GUILDS}, 4004),
        ({"intents": GUILDS | MESSAGE_CONTENT}, 4014),
        ({"intents": 1 << 30}, 4013),
        ({"intents": GUILDS, "shard": [1, 1]}, 4010),
    ],
)
async def test_bad_identify_is_hung_up_on(identify: Json, code: int) -> None:
    async with raw() as there, there.http.ws_connect(there.fake.gateway_url) as socket:
        assert (await socket.receive_json())["op"] == 10

        await socket.send_json({"op": 2, "d": {"token": there.fake.token} | identify})

        await socket.receive()
        assert socket.close_code == code


async def test_text_is_hidden_from_a_bot_without_the_intent() -> None:
    async with raw() as there, there.http.ws_connect(there.fake.gateway_url) as socket:
        await socket.receive_json()
        await socket.send_json({"op": 2, "d": {"token": there.fake.token, "intents": GUILDS | GUILD_MESSAGES}})
        await there.fake.wait_until_connected()
        await there.fake.say("ada", "between us", there.channel)
        await there.fake.say("ada", f"{there.fake.mention} hi", there.channel)

        events = [await socket.receive_json() for _ in range(4)]

        assert [event["t"] for event in events] == ["READY", "GUILD_CREATE", "MESSAGE_CREATE", "MESSAGE_CREATE"]
        assert [event["d"]["content"] for event in events[2:]] == ["", f"{there.fake.mention} hi"]


async def test_unknown_session_is_not_resumed() -> None:
    async with raw() as there, there.http.ws_connect(there.fake.gateway_url) as socket:
        await socket.receive_json()

        await socket.send_json({"op": 6, "d": {"token": there.fake.token, "session_id": "1", "seq": 1}})

        assert await socket.receive_json() == {"op": 9, "d": False}
