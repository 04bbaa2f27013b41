"""The fake Discord refuses what Discord refuses, so that the tests above it can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.discord_harness import until
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.sessions import DIRECT_MESSAGES, GUILD_MESSAGES, GUILDS, MESSAGE_CONTENT
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

    async def get(self, path: str) -> Any:
        async with self.http.get(f"{self.fake.api_url}{path}") as response:
            assert response.status == 200
            return await response.json()

    async def page(self, query: str) -> list[str]:
        """The texts of one page of the channel's history."""
        return [post["content"] for post in await self.get(f"/channels/{self.channel.id}/messages?{query}")]

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A session that hears messages, and has heard of its servers."""
        async with self.http.ws_connect(self.fake.gateway_url) as socket:
            await socket.receive_json()
            identify = {"token": self.fake.token, "intents": GUILDS | GUILD_MESSAGES | DIRECT_MESSAGES}
            await socket.send_json({"op": 2, "d": identify})
            for _ in range(2):
                await socket.receive_json()
            yield socket

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


async def test_history_is_paged_newest_first() -> None:
    async with raw() as there:
        there.fake.rest.limits.calls = 10
        ids = [await there.fake.say("ada", f"{there.fake.mention} {number}", there.channel) for number in range(7)]
        words = [f"{there.fake.mention} {number}" for number in range(7)]

        assert await there.page("limit=3") == words[6:3:-1]
        assert await there.page(f"limit=3&after={ids[1]}") == words[4:1:-1]
        assert await there.page(f"limit=3&before={ids[5]}") == words[4:1:-1]
        assert await there.page(f"limit=3&around={ids[3]}") == words[4:1:-1]
        assert await there.page(f"limit=100&around={ids[0]}") == words[::-1]
        assert await there.page(f"limit=100&after={ids[6]}") == []


async def test_history_hides_what_the_bot_may_not_read() -> None:
    async with raw() as there:
        await there.fake.say("ada", "between us", there.channel)
        await there.fake.say("ada", f"{there.fake.mention} hi", there.channel)

        assert await there.page("limit=2") == [f"{there.fake.mention} hi", ""]


async def test_channel_names_its_newest_message_even_if_that_is_gone() -> None:
    async with raw() as there:
        first, last = [await there.fake.say("ada", "hi", there.channel) for _ in range(2)]
        await there.fake.delete(last)

        told = await there.get(f"/channels/{there.channel.id}")
        assert (told["last_message_id"], list(there.fake.world.posts)) == (last, [first])


async def test_active_threads_are_listed() -> None:
    async with raw() as there:
        thread = await there.fake.open_thread("talk", there.channel)

        told = await there.get(f"/guilds/{there.fake.world.guild_id}/threads/active")
        assert [each["id"] for each in told["threads"]] == [thread.id]


async def test_edits_and_deletions_are_told() -> None:
    async with raw() as there, there.session() as socket:
        ids = [await there.fake.say("ada", f"{there.fake.mention} {number}", there.channel) for number in range(3)]
        await there.fake.edit(ids[0], "without a mention")
        await there.fake.decorate(ids[1], embeds=1)
        await there.fake.delete(ids[0])
        await there.fake.delete(*ids[1:])

        edited, decorated, deleted, bulk = [await socket.receive_json() for _ in range(7)][3:]

        assert (edited["t"], edited["d"]["content"], edited["d"]["mentions"]) == ("MESSAGE_UPDATE", "", [])
        assert edited["d"]["edited_timestamp"] is not None
        assert (decorated["d"]["content"], decorated["d"]["edited_timestamp"]) == (f"{there.fake.mention} 1", None)
        place = {"channel_id": there.channel.id, "guild_id": there.fake.world.guild_id}
        assert (deleted["t"], deleted["d"]) == ("MESSAGE_DELETE", place | {"id": ids[0]})
        assert (bulk["t"], bulk["d"]) == ("MESSAGE_DELETE_BULK", place | {"ids": ids[1:]})


async def test_what_the_bot_does_to_its_posts_is_told_too() -> None:
    async with raw() as there, there.session() as socket:
        _, made = await there.post({"content": "one"})
        url = f"{there.fake.api_url}/channels/{there.channel.id}/messages/{made['id']}"
        async with there.http.patch(url, json={"content": "two"}), there.http.delete(url):
            pass

        events = [await socket.receive_json() for _ in range(3)]

        assert [event["t"] for event in events] == ["MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE"]


async def test_nobody_connects_while_the_gateway_is_away_and_no_session_outlives_it() -> None:
    async with raw() as there:
        async with there.session() as socket:
            await there.fake.disconnect()
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        async with there.http.ws_connect(there.fake.gateway_url) as socket:
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)

        assert there.fake.sessions.sessions == {}


async def test_mute_gateway_answers_no_heartbeat_and_tells_nothing() -> None:
    async with raw() as there, there.session() as socket:
        there.fake.sessions.mute = True
        await socket.send_json({"op": 1, "d": 1})
        await there.fake.say("ada", f"{there.fake.mention} hi", there.channel)
        await until(lambda: there.fake.sessions.heartbeats == 1)
        there.fake.sessions.mute = False
        await socket.send_json({"op": 1, "d": 1})

        assert await socket.receive_json() == {"op": 11}


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
