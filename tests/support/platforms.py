"""Slack and Discord for scenarios: what people say there, what they see, and how the platform itself goes wrong.

Our gateways are processes elsewhere. A name that begins with `room` speaks in a thread that others read, any other in
direct messages.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from bots.slack.pace import TIERS
from core.chat.message import Conversation
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.limits import CUT
from tests.support.fake_discord.limits import Fault as DiscordFault
from tests.support.fake_discord.world import DM_CHANNEL
from tests.support.fake_slack import FakeSlack, Post
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN, POSTING
from tests.support.fake_slack.workspace import BOT_USER, TEAM
from tests.support.history_checker import Seen

ROOM = "C1"
_ANY = 1_000_000  # as many as anybody may want


@dataclass(frozen=True, slots=True)
class Said:
    """A message as the platform knows it, and the ids that we give it."""

    native: str
    conversation: Conversation

    @property
    def place(self) -> str:
        return str(self.conversation)

    @property
    def turn_id(self) -> str:
        return self.conversation.message_id(self.native)


class Platform(Protocol):
    """A platform as its people and its operators see it."""

    name: str

    @property
    def settings(self) -> Mapping[str, str]:
        """What a process of ours needs to reach it."""

    async def say(self, name: str, text: str) -> Said:
        """`name` says `text` to the bot."""

    async def redeliver(self, said: Said) -> None:
        """The platform delivers a message once more."""

    async def edit(self, said: Said, text: str) -> None:
        """Its person gives a message another text."""

    async def delete(self, said: Said) -> None:
        """Its person deletes a message."""

    async def go_away(self) -> None:
        """No gateway can reach the platform from now on; what is said meanwhile is told to nobody."""

    async def come_back(self) -> None:
        """The platform can be reached again."""

    def limit(self, wait_s: float | None) -> None:
        """Each post is refused with "too many", to be tried again in `wait_s` seconds; None ends it."""

    def visible(self) -> list[Seen]:
        """The bot's posts, oldest first."""

    def listening(self) -> int:
        """Connections of our gateways."""

    def connections_of(self, gateways: int) -> int:
        """The connections that so many gateways hold when all is well."""

    def unheard(self) -> int:
        """Events that the platform still tries to deliver, where it knows."""

    def paces(self) -> list[str]:
        """The names of the buckets by which our processes keep its pace."""

    def lose_responses(self, times: int) -> None:
        """The next `times` posts are made, and their responses lost."""


@dataclass(slots=True)
class SlackPlatform:
    """One workspace; each room name has a thread of its own."""

    slack: FakeSlack
    name: str = "slack"
    _threads: dict[str, str] = field(default_factory=dict)
    _said: dict[str, Post] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, str]:
        return {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_API_URL": self.slack.url}

    async def say(self, name: str, text: str) -> Said:
        workspace = self.slack.workspace
        workspace.people.setdefault(name.upper(), name)
        if not name.startswith("room"):
            return self._said_in(workspace.direct_channel(name), "", name, text)
        thread = self._threads.get(name, "")
        # The first words open the thread and name us; what follows there is for us without that.
        said = self._said_in(ROOM, thread, name, text if thread else f"<@{BOT_USER}> {text}")
        self._threads.setdefault(name, said.native)
        return said

    def _said_in(self, channel: str, thread: str, name: str, text: str) -> Said:
        ts = self.slack.say(name.upper(), text, channel=channel, thread_ts=thread)
        self._said[ts] = self.slack.workspace.posts[channel, ts]
        return Said(ts, Conversation("slack", TEAM, channel, thread or ("" if channel.startswith("D") else ts)))

    async def redeliver(self, said: Said) -> None:
        self.slack.deliver(self._said[said.native])

    async def edit(self, said: Said, text: str) -> None:
        post = self._said[said.native]
        named = post.text.startswith(f"<@{BOT_USER}>")
        self.slack.edit(post.channel, post.ts, f"<@{BOT_USER}> {text}" if named else text)

    async def delete(self, said: Said) -> None:
        self.slack.delete(self._said[said.native].channel, said.native)

    async def go_away(self) -> None:
        self.slack.sockets.vanish()

    async def come_back(self) -> None:
        self.slack.sockets.come_back()

    def limit(self, wait_s: float | None) -> None:
        for refusal in self.slack._refusals:
            refusal.times = 0
        if wait_s:
            self.slack.retry_after_s = math.ceil(wait_s)
            self.slack.refuse(*POSTING, times=_ANY, status=429, error="ratelimited")

    def visible(self) -> list[Seen]:
        return [
            Seen(str(Conversation("slack", TEAM, post.channel, post.thread_ts)), post.text)
            for post in self.slack.workspace.of_bot()
        ]

    def listening(self) -> int:
        return self.slack.sockets.count

    def connections_of(self, gateways: int) -> int:
        return 2 * gateways

    def unheard(self) -> int:
        return self.slack.sockets.underway

    def paces(self) -> list[str]:
        channels = self.slack.workspace.channels
        places = {
            name: [f":{channel}" for channel in channels] if tier.per_channel else [""] for name, tier in TIERS.items()
        }
        return [f"slack:{TEAM}:{name}{place}" for name, there in places.items() for place in there]

    def lose_responses(self, times: int) -> None:
        self.slack.refuse(*POSTING, times=times, status=503, after=True)


@dataclass(slots=True)
class DiscordPlatform:
    """One server; each room name has a Discord thread of its own, in which the bot is mentioned every time."""

    discord: FakeDiscord
    name: str = "discord"
    _limits: DiscordFault = field(default_factory=lambda: DiscordFault("POST", times=0))

    @property
    def settings(self) -> Mapping[str, str]:
        urls = {"DISCORD_API_URL": self.discord.api_url, "DISCORD_GATEWAY_URL": self.discord.gateway_url}
        return {"DISCORD_TOKEN": self.discord.token, **urls}

    async def say(self, name: str, text: str) -> Said:
        world = self.discord.world
        if not name.startswith("room"):
            native = await self.discord.say_direct(name, text)
            return Said(native, Conversation("discord", "dm", world.direct(world.user(name)).id))
        general = world.channel("general")
        threads = [channel for channel in world.channels.values() if channel.name == name]
        thread = threads[0] if threads else await self.discord.open_thread(name, general)
        native = await self.discord.say(name, f"{self.discord.mention} {text}", thread)
        return Said(native, Conversation("discord", world.guild_id, general.id, thread.id))

    async def redeliver(self, said: Said) -> None:
        await self.discord.redeliver(said.native)

    async def edit(self, said: Said, text: str) -> None:
        named = self.discord.world.posts[said.native].content.startswith(self.discord.mention)
        await self.discord.edit(said.native, f"{self.discord.mention} {text}" if named else text)

    async def delete(self, said: Said) -> None:
        await self.discord.delete(said.native)

    async def go_away(self) -> None:
        await self.discord.disconnect()

    async def come_back(self) -> None:
        self.discord.sessions.away = False

    def limit(self, wait_s: float | None) -> None:
        self._limits.times = 0
        if wait_s:
            self._limits = DiscordFault("POST", "/messages", status=429, times=_ANY, retry_after_s=wait_s, via=True)
            self.discord.befall(self._limits)

    def visible(self) -> list[Seen]:
        seen = []
        for post in self.discord.posts():
            channel = post.channel
            place = (
                Conversation("discord", "dm", channel.id)
                if channel.type == DM_CHANNEL
                else Conversation("discord", channel.guild_id, channel.parent_id, channel.id)
            )
            seen.append(Seen(str(place), post.content))
        return seen

    def listening(self) -> int:
        return sum(session.socket is not None for session in self.discord.sessions.sessions.values())

    def connections_of(self, gateways: int) -> int:
        return gateways

    def unheard(self) -> int:
        return 0

    def paces(self) -> list[str]:
        return []  # it is learnt from the headers of our fake, which allows as much as anybody may want

    def lose_responses(self, times: int) -> None:
        self.discord.befall(DiscordFault("POST", "/messages", status=CUT, times=times, after=True))


@asynccontextmanager
async def platform(name: str, ack_s: float = 1.0) -> AsyncIterator[SlackPlatform | DiscordPlatform]:
    """The platform `name`; Slack delivers again what is not acknowledged within `ack_s`."""
    if name == "slack":
        async with FakeSlack(ack_s=ack_s) as slack:
            # The harness is faster than Slack lets anybody be; its limits have tests of their own.
            slack.limits = dict.fromkeys(_LIMITED, _ANY)
            slack.retry_after_s = 0
            yield SlackPlatform(slack)
    else:
        async with FakeDiscord() as discord:
            discord.rest.limits.calls = _ANY
            yield DiscordPlatform(discord)


_LIMITED = (
    *POSTING,
    "chat.delete",
    "users.info",
    "conversations.history",
    "conversations.replies",
    "users.conversations",
    "assistant.threads.setStatus",
    "agents.sessions.setStatus",
    "apps.connections.open",
)
