"""What a workspace holds: people, channels, posts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
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
    subtype: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    streaming: bool = False
    born: float = 0.0
    edits: int = 0
    edited: dict[str, str] = field(default_factory=dict)
    sent: dict[str, Any] = field(default_factory=dict)  # the arguments it was made with
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def public(self, *, with_metadata: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"type": "message", "ts": self.ts, "user": self.user, "text": self.text}
        for name in ("thread_ts", "bot_id", "subtype", "edited"):
            if getattr(self, name):
                shown[name] = getattr(self, name)
        if self.metadata and with_metadata:
            shown["metadata"] = self.metadata
        return shown


class Workspace:
    """Posts by channel and ts. Direct messages have ids that begin with D.

    `tell` is given the event of each change, `scopes` are what the bot token may do.
    """

    def __init__(
        self, tell: Callable[[dict[str, Any]], None], scopes: Iterable[str], clock: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self.scopes = set(scopes)
        self._tell = tell
        self.people: dict[str, str] = {}
        self.channels = {"C1": Channel("C1", "channel")}
        self.posts: dict[tuple[str, str], Post] = {}
        self._replies: dict[tuple[str, str], list[Post]] = defaultdict(list)
        self.stream_life_s = 300.0
        self.page_max = 999  # 15 for an app that is sold outside Slack's marketplace
        self._last_us = 0
        self.whispers: list[tuple[str, str]] = []  # what one person alone was told
        self.triggers: dict[str, float] = {}  # until when each may open a view
        self.views: list[dict[str, Any]] = []  # that are open, with their ids

    def new_ts(self) -> str:
        """A stamp that was never given before, as it is the id of a post."""
        self._last_us = max(self._last_us + 1, int(self.clock() * 1_000_000))
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"

    def trigger(self) -> str:
        """The right to open a view once, within three seconds."""
        trigger = f"trigger-{self.new_ts()}"
        self.triggers[trigger] = self.clock() + 3.0
        return trigger

    def open_view(self, trigger: str, view: dict[str, Any]) -> dict[str, Any]:
        """Opens a form before the person who clicked."""
        until = self.triggers.pop(trigger, None)
        if until is None:
            raise SlackSaysNo("exchanged_trigger_id")
        if self.clock() > until:
            raise SlackSaysNo("expired_trigger_id")
        if view["type"] != "modal" or len(view["title"]["text"]) > 24 or len(view.get("private_metadata", "")) > 3000:
            raise SlackSaysNo("invalid_arguments")
        opened = {**view, "id": f"V{self.new_ts()}"}
        self.views.append(opened)
        return {"view": opened}

    def direct_channel(self, person: str) -> str:
        channel = f"D{person.upper()}"
        self.channels.setdefault(channel, Channel(channel, "im"))
        return channel

    def add(self, post: Post) -> Post:
        self.posts[post.channel, post.ts] = post
        if post.thread_ts:
            self._replies[post.channel, post.thread_ts].append(post)
        return post

    def change(self, post: Post, text: str, *, by_person: bool = False) -> None:
        """Gives a post another text; who unfurls a link gives it the same."""
        before = self.shown(post, with_metadata=False)
        post.text = text
        if by_person:
            post.edited = {"user": post.user, "ts": self.new_ts()}
        self._tell_of(post, "message_changed", message=self.shown(post, with_metadata=False), previous_message=before)

    def remove(self, post: Post) -> None:
        """Removes a post; one that has replies leaves a tombstone in its place."""
        before = self.shown(post, with_metadata=False)
        if not self.replies_to(post):
            del self.posts[post.channel, post.ts]
            if post.thread_ts:
                self._replies[post.channel, post.thread_ts].remove(post)
            self._tell_of(post, "message_deleted", deleted_ts=post.ts, previous_message=before)
            return
        post.user, post.text, post.subtype = "USLACKBOT", "This message was deleted.", "tombstone"
        self._tell_of(post, "message_changed", message=self.shown(post, with_metadata=False), previous_message=before)

    def replies_to(self, post: Post) -> list[Post]:
        return self._replies.get((post.channel, post.ts), [])

    def shown(self, post: Post, *, with_metadata: bool) -> dict[str, Any]:
        """A post as it is read; one that has replies carries its own stamp as that of the thread."""
        shown = post.public(with_metadata=with_metadata)
        replies = self.replies_to(post)
        if replies:
            shown |= {"thread_ts": post.ts, "reply_count": len(replies), "latest_reply": replies[-1].ts}
        return shown

    def _tell_of(self, post: Post, subtype: str, **more: Any) -> None:
        kind = self.channels[post.channel].kind
        event = {"type": "message", "subtype": subtype, "hidden": True, "channel": post.channel, "channel_type": kind}
        self._tell({**event, "ts": self.new_ts(), **more})

    def check_scope(self, scope: str) -> None:
        if scope not in self.scopes:
            raise SlackSaysNo("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))

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
        if not self.is_streaming(post):
            raise SlackSaysNo("message_not_in_streaming_state")
        return post

    def is_streaming(self, post: Post) -> bool:
        """Whether the stream of a post is open; Slack ends it after some minutes."""
        post.streaming = post.streaming and self.clock() - post.born <= self.stream_life_s
        return post.streaming

    def in_thread(self, channel: str, root: str) -> list[Post]:
        opening = self.posts.get((channel, root))
        posts = [*([opening] if opening else []), *self._replies.get((channel, root), [])]
        return sorted(posts, key=lambda post: float(post.ts))

    def in_channel(self, channel: str) -> list[Post]:
        posts = [post for post in self.posts.values() if post.channel == channel and not post.thread_ts]
        return sorted(posts, key=lambda post: float(post.ts), reverse=True)

    def of_bot(self) -> list[Post]:
        return sorted((p for p in self.posts.values() if p.user == BOT_USER), key=lambda post: float(post.ts))
