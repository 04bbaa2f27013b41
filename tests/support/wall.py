"""A platform in memory: a courier whose posts a test can read, and messages as an adapter would make them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.chat.errors import DeliveryFailed
from core.chat.growing import GrowingPosts
from core.chat.message import Address, Conversation, Message, Person
from core.chat.ports import Draft

_ids = itertools.count(1)
ROOM = Conversation("wall", "w1", "c1", "t1")


def said(
    text: str,
    *,
    conversation: Conversation = ROOM,
    person: Person | None = None,
    address: Address = Address.MENTION,
    shared: bool = False,
    native: str | None = None,
) -> Message:
    """A message with an id of its own."""
    native = native or f"m{next(_ids)}"
    someone = person or Person("p1", "Ada")
    return Message(conversation.message_id(native), conversation, someone, text, address, 1_700_000_000.0, shared)


@dataclass
class Wall:
    """Keeps what is posted, in order. `refuse` holds errors to be raised by the next posts or edits."""

    platform: str = "wall"
    max_chars: int = 200
    posts: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    refuse: list[DeliveryFailed] = field(default_factory=list)
    edits: int = 0
    indicated: list[bool] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return list(self.posts.values())

    def draft(self, message: Message, *, resumed: bool) -> Draft:
        poster = WallPoster(self, message.id)
        return GrowingPosts(poster, max_chars=self.max_chars, pace_s=0.0, resumed=resumed, over=message.over)

    async def notice(self, message: Message, text: str) -> None:
        self._maybe_refuse()
        self.notices.append(text)

    async def retract(self, message: Message, posts: Sequence[str]) -> None:
        self._maybe_refuse()
        for post in posts:
            self.posts.pop(post, None)
            self.keys.pop(post, None)

    def _maybe_refuse(self) -> None:
        if self.refuse:
            raise self.refuse.pop(0)


@dataclass
class WallPoster:
    """Posts one answer on the wall; knows its posts again by the turn they answer."""

    wall: Wall
    turn_id: str

    async def indicate(self, *, on: bool) -> None:
        self.wall.indicated.append(on)

    async def earlier(self) -> tuple[str, ...]:
        return tuple(post for post, turn in self.wall.keys.items() if turn == self.turn_id)

    async def post(self, text: str, part: int) -> str:
        self.wall._maybe_refuse()
        post_id = f"post{next(_ids)}"
        self.wall.posts[post_id] = text
        self.wall.keys[post_id] = self.turn_id
        return post_id

    async def edit(self, post_id: str, text: str) -> None:
        self.wall._maybe_refuse()
        self.wall.edits += 1
        self.wall.posts[post_id] = text

    async def remove(self, post_id: str) -> None:
        del self.wall.posts[post_id]
        del self.wall.keys[post_id]
