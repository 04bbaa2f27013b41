"""A Discord room with the gateway under test in it, and an intake that keeps what it is handed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from bots.discord.gateway import DiscordGateway
from core.chat.errors import StoreUnavailable
from core.chat.intake import Receipt
from core.chat.message import Conversation, Message
from core.chat.ports import Change
from tests.support.discord_harness import listening, quick_settings, until
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.world import Channel, Post
from tests.support.memory_store import MemoryStore

Step = tuple[Literal["said", "revised", "withdrawn"], str]


@dataclass(slots=True)
class Ear:
    """The Intake of a test: keeps what the gateway hands on; away for the first `away` calls.

    With `once` it knows duplicates, as the mailbox does.

    `steps` tell in order what was handed on: the text of a message, or the id of one that was taken back.
    """

    change: Change = Change.WAITING
    away: int = 0
    once: bool = False
    heard: list[Message] = field(default_factory=list)
    revised: list[Message] = field(default_factory=list)
    withdrawn: list[tuple[Conversation, str]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    async def receive(self, message: Message) -> Receipt:
        self._check()
        if self.once and message.id in {each.id for each in self.heard}:
            return Receipt.DUPLICATE
        self.heard.append(message)
        self.steps.append(("said", message.text))
        return Receipt.ACCEPTED

    async def revise(self, message: Message) -> Change:
        self._check()
        self.revised.append(message)
        self.steps.append(("revised", message.text))
        return self.change

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        self._check()
        self.withdrawn.append((conversation, message_id))
        self.steps.append(("withdrawn", message_id))
        return self.change

    def texts(self) -> list[str]:
        return [message.text for message in self.heard]

    async def wait_for(self, count: int) -> list[Message]:
        await until(lambda: len(self.heard) >= count)
        return self.heard

    async def wait_for_steps(self, count: int) -> list[Step]:
        await until(lambda: len(self.steps) >= count)
        return self.steps

    def _check(self) -> None:
        if self.away > 0:
            self.away -= 1
            raise StoreUnavailable("told to be away")


@dataclass(frozen=True, slots=True)
class Room:
    fake: FakeDiscord
    ear: Ear
    store: MemoryStore
    general: Channel

    async def ask(self, text: str = "hello", person: str = "ada", reply_to: str | None = None) -> str:
        words = text if reply_to else f"{self.fake.mention} {text}"
        return await self.fake.say(person, words, self.general, reply_to=reply_to)

    def answer(self, text: str, question_id: str) -> str:
        """A post of the bot's that replies to a question, as its courier makes it."""
        world = self.fake.world
        post = Post(world.new_id(), self.general, world.bot, text, quoted=world.posts[question_id])
        return world.add(post).id


@asynccontextmanager
async def room(*, message_content: bool = False) -> AsyncIterator[Room]:
    async with FakeDiscord(message_content=message_content) as fake:
        ear, store = Ear(), MemoryStore()
        gateway = DiscordGateway(quick_settings(fake, message_content=message_content), ear, store)
        async with listening(gateway, fake):
            yield Room(fake, ear, store, fake.world.channel("general"))
