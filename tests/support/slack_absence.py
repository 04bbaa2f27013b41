"""A gateway that is cut off from the fake Slack for a time, and what core takes in meanwhile and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from bots.slack.connection import BackfillSettings
from bots.slack.courier import open_courier
from bots.slack.gateway import SlackGateway
from core.chat.intake import MailboxIntake, Receipt
from core.chat.message import Conversation, Message
from core.chat.ports import Change
from tests.support.counting_meter import CountingMeter
from tests.support.fake_slack import FakeSlack, Post
from tests.support.fake_slack.server import BOT_TOKEN
from tests.support.memory_store import MemoryStore
from tests.support.slack_harness import running_gateway, until

HOUR_S = 3600.0
MARK = "slack:T1"
POISON = "a message that core cannot take"


@dataclass
class Ears:
    """Core's intake, and what it took, in the order in which it took it."""

    intake: MailboxIntake
    accepted: list[str] = field(default_factory=list)
    receipts: list[tuple[str, Receipt]] = field(default_factory=list)
    waiting: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def receive(self, message: Message) -> Receipt:
        self.waiting += 1
        await self.gate.wait()
        if message.text == POISON:
            raise ValueError("a fault of ours")
        receipt = await self.intake.receive(message)
        self.receipts.append((message.text, receipt))
        if receipt is Receipt.ACCEPTED:
            self.accepted.append(message.text)
        return receipt

    async def revise(self, message: Message) -> Change:
        return await self.intake.revise(message)

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        return await self.intake.withdraw(conversation, message_id)


@dataclass
class Absence:
    slack: FakeSlack
    store: MemoryStore
    heard: Ears
    meter: CountingMeter = field(default_factory=CountingMeter)

    @property
    def direct(self) -> str:
        return self.slack.workspace.direct_channel("U1")

    def listening(self, **more: float) -> AbstractAsyncContextManager[SlackGateway]:
        backfill = BackfillSettings(**{"mark_s": 0.02, **more})  # type: ignore[arg-type]
        return running_gateway(self.slack, self.heard, marks=self.store, meter=self.meter, backfill=backfill)

    async def marked(self) -> float:
        """The mark, once there is one that is later than now."""
        now = self.slack.workspace.clock()
        async with asyncio.timeout(10.0):
            while (mark := await self.store.alive(MARK) or 0.0) < now:
                await asyncio.sleep(0.01)
        return mark

    async def go_away(self) -> None:
        """The gateway is cut off, and has noticed."""
        await self.marked()
        self.slack.sockets.vanish()
        await until(lambda: self.slack.sockets.count == 0)

    async def come_back(self) -> None:
        self.slack.sockets.come_back()
        await until(lambda: self.slack.sockets.count > 0, 10.0)

    async def accepts(self, *texts: str) -> None:
        await until(lambda: len(self.heard.accepted) >= len(texts), 10.0)
        assert self.heard.accepted == list(texts)

    def said_before(self, age_s: float, text: str, channel: str, **more: str) -> Post:
        """Said some time ago, and told to nobody."""
        stamp = f"{self.slack.workspace.clock() - age_s:.6f}"
        return self.slack.workspace.add(Post(channel, stamp, "U1", text, **more))  # type: ignore[arg-type]


@asynccontextmanager
async def an_absence() -> AsyncIterator[Absence]:
    store = MemoryStore(inbox_limit=100)
    async with FakeSlack(ack_s=0.3) as slack, open_courier(BOT_TOKEN, slack.url) as courier:
        slack.workspace.people |= {"U1": "Ada", "U2": "Bo"}
        slack.limits = {"conversations.history": 1000, "conversations.replies": 1000, "users.conversations": 1000}
        yield Absence(slack, store, Ears(MailboxIntake(store, courier, now=slack.workspace.clock)))
