"""What a workspace holds: people, channels, posts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

TEAM = "T1"
BOT_USER = "UBOT"
BOT_ID = "B1"


class SlackSaysNo(Exception):
    """An answer `{"ok": false, "error": ...}`."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.error = error
        self.more = more


@dataclass(slots=True)
class Channel:
    id: str
    kind: Literal["channel", "group", "mpim", "im"]
    bot_is_member: bool = True
    archived: bool = False


@dataclass(slots=True)
class Post:
    channel: str
    ts: str
    user: str
    text: str
    thread_ts: str = ""
    bot_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    streaming: bool = False
    born: float = 0.0
    edits: int = 0
    sent: dict[str, Any] = field(default_factory=dict)  # the arguments it was made with

    def public(self, *, with_metadata: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"type": "message", "ts": self.ts, "user": self.user, "text": self.text}
        if self.thread_ts:
            shown["thread_ts"] = self.thread_ts
        if self.bot_id:
            shown["bot_id"] = self.bot_id
        if self.metadata and with_metadata:
            shown["metadata"] = self.metadata
        return shown


class Workspace:
    """Posts by channel and ts. Direct messages have ids that begin with D."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.people: dict[str, str] = {}
        self.channels = {"C1": Channel("C1", "channel")}
        self.posts: dict[tuple[str, str], Post] = {}
        self.stream_life_s = 300.0
        self._last_us = 0

    def new_ts(self) -> str:
        """A stamp that was never given before, as it is the id of a post."""
        self._last_us = max(self._last_us + 1, int(self.clock() * 1_000_000))
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"

    def direct_channel(self, person: str) -> str:
        channel = f"D{person.upper()}"
        self.channels.setdefault(channel, Channel(channel, "im"))
        return channel

    def add(self, post: Post) -> Post:
        self.posts[post.channel, post.ts] = post
        return post

    def writable(self, channel_id: str) -> Channel:
        channel = self.channels.get(channel_id)
        if channel is None:
            raise SlackSaysNo("channel_not_found")
        if not channel.bot_is_member:
            raise SlackSaysNo("not_in_channel")
        if channel.archived:
            raise SlackSaysNo("is_archived")
        return channel

    def own(self, channel: str, ts: str, refusal: str) -> Post:
        """A post of the bot."""
        post = self.posts.get((channel, ts))
        if post is None:
            raise SlackSaysNo("message_not_found")
        if post.user != BOT_USER:
            raise SlackSaysNo(refusal)
        return post

    def stream(self, channel: str, ts: str) -> Post:
        """A post that is still being streamed."""
        post = self.own(channel, ts, "message_not_owned_by_app")
        if post.streaming and self.clock() - post.born > self.stream_life_s:
            post.streaming = False
        if not post.streaming:
            raise SlackSaysNo("message_not_in_streaming_state")
        return post

    def in_thread(self, channel: str, root: str) -> list[Post]:
        posts = [post for post in self.posts.values() if post.channel == channel]
        return sorted((p for p in posts if root in (p.ts, p.thread_ts)), key=lambda post: float(post.ts))

    def in_channel(self, channel: str) -> list[Post]:
        posts = [post for post in self.posts.values() if post.channel == channel and not post.thread_ts]
        return sorted(posts, key=lambda post: float(post.ts), reverse=True)

    def of_bot(self) -> list[Post]:
        return sorted((p for p in self.posts.values() if p.user == BOT_USER), key=lambda post: float(post.ts))
