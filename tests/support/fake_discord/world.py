"""What exists on the fake Discord: people, a server with channels and threads, messages; and their JSON."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

DISCORD_EPOCH_MS = 1_420_070_400_000
TEXT_CHANNEL, DM_CHANNEL, PUBLIC_THREAD = 0, 1, 11
DEFAULT_MESSAGE, PIN_MESSAGE, REPLY_MESSAGE = 0, 6, 19
APPLICATION_MESSAGE_CONTENT = 1 << 18
VIEW_CHANNEL, READ_HISTORY = 1 << 10, 1 << 16


@dataclass(slots=True)
class User:
    id: str
    name: str
    bot: bool = False

    def json(self) -> Json:
        return {
            "id": self.id,
            "username": self.name,
            "global_name": None if self.bot else self.name,
            "discriminator": "0",
            "avatar": None,
            "bot": self.bot,
        }


@dataclass(slots=True)
class Channel:
    id: str
    name: str
    type: int
    guild_id: str = ""
    parent_id: str = ""
    recipient: User | None = None
    owner_id: str = ""
    last_message_id: str = ""  # stays when that message is deleted
    forbidden: bool = False  # the bot may not write here
    unreadable: bool = False  # the bot may not read the history
    hidden: bool = False  # the bot may not see it

    def json(self) -> Json:
        base: Json = {"id": self.id, "type": self.type, "name": self.name}
        base["last_message_id"] = self.last_message_id or None
        if self.type == DM_CHANNEL:
            return base | {"recipients": [self.recipient.json()] if self.recipient else []}
        base |= {"guild_id": self.guild_id, "position": 0, "permission_overwrites": self._overwrites(), "nsfw": False}
        base |= {"parent_id": self.parent_id or None, "topic": None, "rate_limit_per_user": 0}
        if self.type == PUBLIC_THREAD:
            base |= {"owner_id": self.owner_id, "message_count": 0, "member_count": 1}
            base["thread_metadata"] = {
                "archived": False,
                "auto_archive_duration": 1440,
                "archive_timestamp": timestamp(self.id),
                "locked": False,
            }
        return base

    def _overwrites(self) -> list[Json]:
        denied = VIEW_CHANNEL * self.hidden | READ_HISTORY * self.unreadable
        return [{"id": self.guild_id, "type": 0, "allow": "0", "deny": str(denied)}] if denied else []


@dataclass(slots=True)
class Post:
    """A message, and what the HTTP API keeps of how it was made."""

    id: str
    channel: Channel
    author: User
    content: str
    type: int = DEFAULT_MESSAGE
    mentions: list[User] = field(default_factory=list)
    mention_roles: list[str] = field(default_factory=list)
    quoted: Post | None = None  # the message this one replies to
    webhook: bool = False
    flags: int = 0
    nonce: str | None = None
    rings: list[str] = field(default_factory=list)  # whom it notified: "everyone", or user ids
    edits: int = 0
    edited_at: str | None = None
    pinned: bool = False
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)

    def json(self, *, with_quoted: bool = True) -> Json:
        told: Json = {
            "id": self.id,
            "channel_id": self.channel.id,
            "author": self.author.json(),
            "content": self.content,
            "timestamp": timestamp(self.id),
            "edited_timestamp": self.edited_at,
            "tts": False,
            "mention_everyone": "everyone" in self.rings,
            "mentions": [user.json() for user in self.mentions],
            "mention_roles": self.mention_roles,
            "attachments": [],
            "embeds": self.embeds,
            "components": self.components,
            "pinned": self.pinned,
            "type": self.type,
            "flags": self.flags,
        }
        if self.webhook:
            told["webhook_id"] = self.author.id
        if self.quoted is not None:
            told["message_reference"] = {
                "type": 0,
                "message_id": self.quoted.id,
                "channel_id": self.quoted.channel.id,
                **({"guild_id": self.channel.guild_id} if self.channel.guild_id else {}),
            }
            if with_quoted:
                # Discord resolves one level: the quoted message names the one it quotes, without its text.
                told["referenced_message"] = self.quoted.json(with_quoted=False)
        return told

    def edit(self, content: str) -> None:
        self.content = content
        self.edits += 1
        self.edited_at = datetime.now(UTC).isoformat()


class World:
    """One server with the bot in it. Ids are snowflakes of the real clock."""

    def __init__(self) -> None:
        self._last_id = 0
        self.token = "fake-discord-token"
        self.application_flags = 0
        self.bot = User(self.new_id(), "Parley", bot=True)
        self.guild_id = self.new_id()
        self.bot_role_id = self.new_id()
        self.users: dict[str, User] = {}
        self.channels: dict[str, Channel] = {}
        self.posts: dict[str, Post] = {}
        self.add_channel("general")

    def new_id(self) -> str:
        now = (int(time.time() * 1000) - DISCORD_EPOCH_MS) << 22
        self._last_id = max(now, self._last_id + 1)
        return str(self._last_id)

    def user(self, name: str, *, bot: bool = False) -> User:
        """The person of that name, who is new at the first mention."""
        if name not in self.users:
            self.users[name] = User(self.new_id(), name, bot=bot)
        return self.users[name]

    def add_channel(self, name: str) -> Channel:
        channel = Channel(self.new_id(), name, TEXT_CHANNEL, guild_id=self.guild_id)
        self.channels[channel.id] = channel
        return channel

    def add_thread(self, name: str, parent: Channel, root: Post | None = None) -> Channel:
        """A thread; one that starts at a message has the id of that message."""
        id_ = root.id if root else self.new_id()
        thread = Channel(id_, name, PUBLIC_THREAD, self.guild_id, parent.id, owner_id=self.bot.id)
        self.channels[id_] = thread
        return thread

    def channel(self, name: str) -> Channel:
        """A channel or thread of the server, which is new at the first mention."""
        found = (c for c in self.channels.values() if c.name == name and c.type != DM_CHANNEL)
        return next(found, None) or self.add_channel(name)

    def direct(self, user: User) -> Channel:
        """The direct messages with `user`."""
        for channel in self.channels.values():
            if channel.recipient is user:
                return channel
        channel = Channel(self.new_id(), "", DM_CHANNEL, recipient=user)
        self.channels[channel.id] = channel
        return channel

    def add(self, post: Post) -> Post:
        self.posts[post.id] = post
        post.channel.last_message_id = post.id
        return post

    def remove(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            del self.posts[id_]

    def mentioned(self, text: str) -> list[User]:
        ids = re.findall(r"<@!?(\d+)>", text)
        return [user for user in (self.bot, *self.users.values()) if user.id in ids]

    def mentioned_roles(self, text: str) -> list[str]:
        return [self.bot_role_id] if f"<@&{self.bot_role_id}>" in text else []

    def history(self, channel_id: str) -> list[Post]:
        return sorted((p for p in self.posts.values() if p.channel.id == channel_id), key=lambda post: int(post.id))

    def active_threads(self) -> list[Channel]:
        return [c for c in self.channels.values() if c.type == PUBLIC_THREAD and not self.channels[c.parent_id].hidden]

    def guild_json(self) -> Json:
        member = {"user": self.bot.json(), "roles": [self.bot_role_id], "joined_at": timestamp(self.guild_id)}
        inside = [c for c in self.channels.values() if c.guild_id]
        permissions = str(VIEW_CHANNEL | READ_HISTORY)
        role = {"permissions": permissions, "color": 0, "hoist": False, "mentionable": False}
        return {
            "id": self.guild_id,
            "name": "Lab",
            "owner_id": self.user("owner").id,
            "unavailable": False,
            "member_count": 3,
            "large": False,
            "joined_at": timestamp(self.guild_id),
            "roles": [
                role | {"id": self.guild_id, "name": "@everyone", "position": 0, "managed": False},
                role
                | {"id": self.bot_role_id, "name": "Parley", "position": 1, "managed": True}
                | {"tags": {"bot_id": self.bot.id}},
            ],
            "channels": [c.json() for c in inside if c.type == TEXT_CHANNEL],
            "threads": [c.json() for c in self.active_threads()],
            "members": [member | {"deaf": False, "mute": False, "flags": 0}],
            "emojis": [],
            "stickers": [],
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
        }


def timestamp(id_: str) -> str:
    return datetime.fromtimestamp(((int(id_) >> 22) + DISCORD_EPOCH_MS) / 1000, UTC).isoformat()
