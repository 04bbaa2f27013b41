"""Slack for the contract suite: a fake Slack, the real gateway and courier, and what a person does and sees there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bots.slack.connection import BackfillSettings, SlackSettings
from bots.slack.courier import open_courier
from bots.slack.gateway import SlackGateway
from bots.slack.posts import MAX_CHARS
from core.chat.intake import Intake, MailboxIntake
from core.chat.ports import Courier, Mailbox, Marks, Meter
from core.chat.quiet import NO_METER
from core.loop.feedback import Verdicts
from core.loop.listening import Listener, Log
from tests.support.fake_slack import Channel, FakeSlack, Post
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN, POSTING, other_bot
from tests.support.fake_slack.workspace import BOT_USER

DEADLINE_S = 15.0


async def until(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    """Waits for `condition`; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass(slots=True)
class SlackHarness:
    """One Slack workspace with the bot in it. Native ids are `ts`."""

    slack: FakeSlack
    courier: Courier
    platform: str = "slack"
    max_chars: int = MAX_CHARS
    has_rooms: bool = True
    _said: dict[str, Post] = field(default_factory=dict)

    async def say_direct(self, person: str, text: str) -> str:
        return self._say(person, text, self.slack.workspace.direct_channel(person))

    async def say_in_room(
        self, person: str, text: str, *, mention: bool = True, thread: str | None = None, room: str = "C1"
    ) -> str:
        self.slack.workspace.channels.setdefault(room, Channel(room, "channel"))
        return self._say(person, f"<@{BOT_USER}> {text}" if mention else text, room, thread or "")

    async def say_as_bot(self, text: str) -> str:
        return self._say("UBOT2", f"<@{BOT_USER}> {text}", "C1", **other_bot())

    async def redeliver(self, native_id: str) -> None:
        self.slack.deliver(self._said[native_id])

    def visible(self) -> list[str]:
        return [post.text for post in self.slack.workspace.of_bot()]

    def visible_in(self, thread: str) -> list[str]:
        return [post.text for post in self.slack.workspace.of_bot() if post.thread_ts == thread]

    async def refuse_posts(self, times: int) -> None:
        self.slack.refuse(*POSTING, times=times)

    async def edit(self, native_id: str, text: str) -> None:
        """A person edits what they said; what mentioned the bot still does."""
        post = self._said[native_id]
        mention = f"<@{BOT_USER}> "
        self.slack.edit(post.channel, native_id, f"{mention}{text}" if post.text.startswith(mention) else text)

    async def delete(self, native_id: str) -> None:
        """A person deletes what they said."""
        self.slack.delete(self._said[native_id].channel, native_id)

    async def disconnect(self) -> None:
        """No gateway can reach Slack from now on; what is said meanwhile is told to nobody."""
        self.slack.sockets.vanish()

    async def reconnect(self) -> None:
        """Slack can be reached again, and the gateway is connected."""
        self.slack.sockets.come_back()
        await until(lambda: self.slack.sockets.count > 0)

    def unacked(self) -> int:
        return self.slack.unacked()

    def _say(self, person: str, text: str, channel: str, thread: str = "", **more: str) -> str:
        self.slack.workspace.people.setdefault(person, person)
        ts = self.slack.say(person, text, channel=channel, thread_ts=thread, **more)
        self._said[ts] = self.slack.workspace.posts[channel, ts]
        return ts


@asynccontextmanager
async def slack_harness(
    mailbox: Mailbox,
    *,
    marks: Marks | None = None,
    clock: Callable[[], float] = time.time,
    ack_s: float = 0.5,
    verdicts: Verdicts | None = None,
    log: Log | None = None,
) -> AsyncIterator[SlackHarness]:
    """The harness with gateway and courier running; Slack delivers again what is unacknowledged after `ack_s`.

    What the gateway misses is read with `marks`.
    """
    async with FakeSlack(ack_s=ack_s, clock=clock) as slack, open_courier(BOT_TOKEN, slack.url) as courier:
        slack.retry_after_s = 0

        intake = MailboxIntake(mailbox, courier, now=clock)
        listener = Listener("slack", verdicts, log, intake, now=clock) if verdicts and log else None
        async with running_gateway(slack, intake, marks=marks, listener=listener):
            yield SlackHarness(slack, courier)


@asynccontextmanager
async def running_gateway(
    slack: FakeSlack,
    intake: Intake,
    sockets: int = 2,
    *,
    quiet_s: float = 60.0,
    marks: Marks | None = None,
    meter: Meter = NO_METER,
    backfill: BackfillSettings = BackfillSettings(mark_s=0.05),  # noqa: B008 - frozen
    listener: Listener | None = None,
) -> AsyncIterator[SlackGateway]:
    """A gateway connected to `slack`, stopped at the end of the block."""
    settings = SlackSettings(
        BOT_TOKEN,
        APP_TOKEN,
        slack.url,
        sockets=sockets,
        ping_s=0.5,
        connect_s=1.0,
        regain_s=1.0,
        quiet_s=quiet_s,
        look_s=0.05,
        backfill=backfill,
    )
    gateway = SlackGateway(settings, intake, marks, meter=meter, now=slack.workspace.clock, listener=listener)
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.run(stopping))
        try:
            await until(lambda: slack.sockets.count == sockets)
            yield gateway
        finally:
            stopping.set()
