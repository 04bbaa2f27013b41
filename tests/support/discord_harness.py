"""Discord for the contract suite: a fake Discord, the real gateway and courier, and what a person does and sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bots.discord.backfill import BackfillSettings
from bots.discord.courier import MAX_CHARS, CourierSettings, discord_courier
from bots.discord.gateway import DiscordGateway, GatewaySettings
from bots.discord.inflow import Retries
from bots.discord.patience import Patience
from core.chat.intake import MailboxIntake
from core.chat.ports import Courier, Mailbox, Marks
from core.loop.feedback import Verdicts
from core.loop.listening import Listener, Log
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_discord.limits import Fault
from tests.support.fake_discord.world import Post

DEADLINE_S = 15.0
QUICK = Patience(tries=5, first_pause_s=0.01)
QUICK_RETRIES = Retries(first_pause_s=0.01, longest_pause_s=0.05, settle_s=0.5)


async def until(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    """Waits for `condition`; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass(slots=True)
class DiscordHarness:
    """One Discord server with the bot in it. Native ids are the messages' snowflakes."""

    discord: FakeDiscord
    courier: Courier
    platform: str = "discord"
    max_chars: int = MAX_CHARS
    has_rooms: bool = True
    _roots: dict[str, str] = field(default_factory=dict)  # a question's id, and the first question's

    async def say_direct(self, person: str, text: str) -> str:
        return await self.discord.say_direct(person, text)

    async def say_in_room(
        self, person: str, text: str, *, mention: bool = True, thread: str | None = None, room: str = "general"
    ) -> str:
        """With `thread` the message replies to the bot's newest post in the conversation that began there."""
        channel = self.discord.world.channel(room)
        words = f"{self.discord.mention} {text}" if mention else text
        if thread is None:
            native_id = await self.discord.say(person, words, channel)
            self._roots[native_id] = native_id
            return native_id
        await until(lambda: bool(self._posts_in(thread)))
        newest = self._posts_in(thread)[-1].id
        native_id = await self.discord.say(person, words, channel, reply_to=newest)
        self._roots[native_id] = thread
        return native_id

    async def say_as_bot(self, text: str) -> str:
        channel = self.discord.world.channel("general")
        return await self.discord.say("other-bot", f"{self.discord.mention} {text}", channel, bot=True)

    async def redeliver(self, native_id: str) -> None:
        await self.discord.redeliver(native_id)

    def visible(self) -> list[str]:
        return [post.content for post in self.discord.posts()]

    def visible_in(self, thread: str) -> list[str]:
        return [post.content for post in self._posts_in(thread)]

    async def refuse_posts(self, times: int) -> None:
        self.discord.befall(Fault("POST", "/messages", status=503, times=times))

    async def edit(self, native_id: str, text: str) -> None:
        """A person edits what they said; what mentioned the bot still does."""
        mention = f"{self.discord.mention} "
        mentioned = self.discord.world.posts[native_id].content.startswith(mention)
        await self.discord.edit(native_id, f"{mention}{text}" if mentioned else text)

    async def delete(self, native_id: str) -> None:
        """A person deletes what they said."""
        await self.discord.delete(native_id)

    async def disconnect(self) -> None:
        """The gateway cannot reach Discord from now on; what is said meanwhile is told to nobody."""
        await self.discord.disconnect()

    async def reconnect(self) -> None:
        """Discord can be reached again, and the gateway is connected."""
        await self.discord.reconnect()

    def _posts_in(self, root: str) -> list[Post]:
        """Replies to the conversation's questions, and the plain posts that follow them: later parts."""
        inside: list[Post] = []
        follows = False
        for post in self.discord.posts():
            follows = self._roots.get(post.quoted.id) == root if post.quoted else follows
            if follows:
                inside.append(post)
        return inside


def quick_settings(fake: FakeDiscord, *, message_content: bool = False) -> GatewaySettings:
    """The gateway's settings with a test's clocks."""
    return GatewaySettings(
        token=fake.token,
        api_url=fake.api_url,
        gateway_url=fake.gateway_url,
        message_content=message_content,
        connect_s=2.0,
        first_pause_s=0.02,
        longest_pause_s=0.05,
        guild_ready_s=0.05,
        identify_s=0.0,
        retries=QUICK_RETRIES,
        backfill=BackfillSettings(mark_s=0.05),
        patience=QUICK,
    )


@asynccontextmanager
async def listening(gateway: DiscordGateway, fake: FakeDiscord) -> AsyncIterator[asyncio.Task[None]]:
    """`gateway` connected to `fake` until the block ends."""
    stopping = asyncio.Event()
    running = asyncio.create_task(gateway.run(stopping))
    try:
        await fake.wait_until_connected()
        yield running
    finally:
        stopping.set()
        async with asyncio.timeout(DEADLINE_S):
            await running


@asynccontextmanager
async def discord_harness(
    mailbox: Mailbox,
    *,
    marks: Marks | None = None,
    clock: Callable[[], float] = time.time,
    pace_s: float = 0.05,
    verdicts: Verdicts | None = None,
    log: Log | None = None,
) -> AsyncIterator[DiscordHarness]:
    """A bot that takes mail into `mailbox`; whoever answers uses `courier`. What it misses is read with `marks`."""
    async with FakeDiscord() as fake:
        # Our tests edit faster than Discord allows; its limits have tests of their own.
        fake.rest.limits.calls = 1000
        settings = CourierSettings(fake.token, fake.api_url, pace_s=pace_s, patience=QUICK)
        async with discord_courier(settings) as courier:
            intake = MailboxIntake(mailbox, courier, now=clock)
            listener = Listener("discord", verdicts, log, intake, now=clock) if verdicts and log else None
            gateway = DiscordGateway(quick_settings(fake), intake, mailbox, marks, listener=listener)
            async with listening(gateway, fake):
                yield DiscordHarness(fake, courier)
