"""The fake platforms of the bench: people who say things in many conversations, and eyes that see what is posted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from bench.trips import Trips
from core.chat.message import Conversation
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.world import DM_CHANNEL, Channel, Post, User
from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.methods import METHODS
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN, POSTING

NO_LIMIT = 10**9
_KEPT_ENVELOPES = 200


class Platform(Protocol):
    """One fake platform with one bot on it. Each conversation is the direct messages with a person of its own."""

    name: str

    @property
    def settings(self) -> dict[str, str]:
        """How a bot reaches the platform."""

    @property
    def connections(self) -> int:
        """How many sockets the bot holds open."""

    def conversation(self, number: int) -> Conversation:
        """The conversation `number` as Parley names it."""

    async def say(self, number: int, text: str) -> None:
        """Somebody says `text` in the conversation `number`: on the wire at return."""


class SlackPlatform:
    """The fake Slack without rate limits."""

    name = "slack"

    def __init__(self, slack: FakeSlack, trips: Trips) -> None:
        self._slack = slack
        slack.limits = dict.fromkeys(METHODS, NO_LIMIT)
        slack.calls = _SlackEyes(trips)

    @property
    def settings(self) -> dict[str, str]:
        """See `Platform.settings`."""
        return {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_API_URL": self._slack.url}

    @property
    def connections(self) -> int:
        """See `Platform.connections`."""
        return self._slack.sockets.count

    def conversation(self, number: int) -> Conversation:
        """See `Platform.conversation`."""
        return Conversation("slack", "T1", self._slack.workspace.direct_channel(f"U{number}"))

    async def say(self, number: int, text: str) -> None:
        """See `Platform.say`."""
        self._forget_envelopes()
        self._slack.workspace.people.setdefault(f"U{number}", f"Person {number}")
        self._slack.say(f"U{number}", text, channel=self._slack.workspace.direct_channel(f"U{number}"))

    def _forget_envelopes(self) -> None:
        # The fake looks through all envelopes at each acknowledgement.
        envelopes = self._slack.sockets.envelopes
        if len(envelopes) > _KEPT_ENVELOPES:
            envelopes[:] = [envelope for envelope in envelopes if not envelope.acked.is_set()]


class DiscordPlatform:
    """The fake Discord without rate limits."""

    name = "discord"

    def __init__(self, discord: FakeDiscord, trips: Trips) -> None:
        self._discord = discord
        self._channels: dict[int, Channel] = {}
        discord.rest.limits.calls = NO_LIMIT
        discord.rest.calls = _DiscordEyes(trips)

    @property
    def settings(self) -> dict[str, str]:
        """See `Platform.settings`."""
        fake = self._discord
        return {
            "DISCORD_TOKEN": fake.token,
            "DISCORD_API_URL": fake.api_url,
            "DISCORD_GATEWAY_URL": fake.gateway_url,
        }

    @property
    def connections(self) -> int:
        """See `Platform.connections`."""
        return len(self._discord.sessions.sessions)

    def conversation(self, number: int) -> Conversation:
        """See `Platform.conversation`."""
        return Conversation("discord", "dm", self._channel(number).id)

    async def say(self, number: int, text: str) -> None:
        """See `Platform.say`."""
        channel = self._channel(number)
        assert channel.recipient is not None
        post = Post(self._discord.world.new_id(), channel, channel.recipient, text)
        self._discord.world.posts[post.id] = post
        await self._discord.sessions.tell_message(post)

    def _channel(self, number: int) -> Channel:
        # Not among `World.users`: the fake looks through all of them for each mention.
        if number not in self._channels:
            world = self._discord.world
            user = User(world.new_id(), f"Person {number}")
            channel = self._channels[number] = Channel(world.new_id(), "", DM_CHANNEL, recipient=user)
            world.channels[channel.id] = channel
        return self._channels[number]


@asynccontextmanager
async def slack_platform(trips: Trips) -> AsyncIterator[SlackPlatform]:
    """A fake Slack for the time of the block."""
    async with FakeSlack() as slack:
        yield SlackPlatform(slack, trips)


@asynccontextmanager
async def discord_platform(trips: Trips) -> AsyncIterator[DiscordPlatform]:
    """A fake Discord for the time of the block."""
    async with FakeDiscord() as discord:
        yield DiscordPlatform(discord, trips)


class _SlackEyes(list[Any]):
    """Stands for the list of calls; sees what is posted and keeps nothing."""

    def __init__(self, trips: Trips) -> None:
        super().__init__()
        self._trips = trips

    def append(self, call: Any) -> None:
        if call.method in POSTING:
            self._trips.seen(call.args.get("markdown_text") or call.args.get("text") or "")


class _DiscordEyes(list[Any]):
    """Stands for the list of calls; sees what is posted and keeps nothing."""

    def __init__(self, trips: Trips) -> None:
        super().__init__()
        self._trips = trips

    def append(self, call: Any) -> None:
        if call.method in ("POST", "PATCH") and isinstance(call.body, dict):
            self._trips.seen(str(call.body.get("content") or ""))
