"""What the contract suite asks of each platform's harness."""

from __future__ import annotations

from typing import Any, Protocol

from core.chat.ports import Courier


class Harness(Protocol):
    """A platform as its people see it: they say things, and read what the bot posts. Ids are the platform's own."""

    platform: str
    max_chars: int
    has_rooms: bool
    courier: Courier

    async def say_direct(self, person: str, text: str) -> str:
        """Says `text` to the bot alone."""

    async def redeliver(self, native_id: str) -> Any:
        """The platform delivers a message once more."""

    def visible(self) -> list[str]:
        """The texts of the bot's posts, oldest first."""


class RoomHarness(Harness, Protocol):
    """A platform with rooms in which several people and bots speak."""

    async def say_in_room(self, person: str, text: str, *, mention: bool = True, thread: str | None = None) -> str:
        """Says `text` where others read it; `thread` is the id of the thread's first message."""

    async def say_as_bot(self, text: str) -> str:
        """Another bot mentions ours."""

    def visible_in(self, thread: str) -> list[str]:
        """The texts of the bot's posts that belong to the thread which began with the message `thread`."""

    async def refuse_posts(self, times: int) -> None:
        """The platform fails the next `times` posts as one that is overloaded does."""

    async def edit(self, native_id: str, text: str) -> None:
        """A person edits what they said; what mentioned the bot still does."""

    async def delete(self, native_id: str) -> None:
        """A person deletes what they said."""

    async def disconnect(self) -> None:
        """The gateway can reach the platform no more; what is said meanwhile is told to nobody."""

    async def reconnect(self) -> None:
        """The platform can be reached again; returns when the gateway is connected."""
