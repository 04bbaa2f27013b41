"""A Slack workspace in which questions are asked and couriers answer, for the courier's tests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bots.slack.courier import SlackCourier, open_courier
from core.chat.message import Address, Conversation, Message, Person
from tests.support.fake_slack import FakeSlack, Post
from tests.support.fake_slack.server import BOT_TOKEN

LONG = " ".join(f"word{number}" for number in range(3000))  # over 12,000 characters
WORDS = ("One", "One two", "One two three")


class Clock:
    """Starts at the real time, and is moved by hand."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Scene:
    """A workspace in which one question was asked."""

    def __init__(self, slack: FakeSlack, courier: SlackCourier, clock: Clock) -> None:
        self.slack = slack
        self.courier = courier
        self.clock = clock
        self.channel = "C1"

    def ask(self, *, channel: str = "C1", thread: str = "", text: str = "<@UBOT> hello") -> Message:
        post = Post(channel=channel, ts=self.slack.workspace.new_ts(), user="U1", text=text, thread_ts=thread)
        self.slack.workspace.add(post)
        root = thread or ("" if channel.startswith("D") else post.ts)
        conversation = Conversation("slack", "T1", channel, root)
        where = {"channel": channel, "thread_ts": root, "ts": post.ts, "user": "U1", "team": "T1"}
        return Message(
            id=conversation.message_id(post.ts),
            conversation=conversation,
            person=Person("U1", "Ada"),
            text="hello",
            address=Address.MENTION,
            sent_at=float(post.ts),
            reply_to=where,
        )

    @property
    def posts(self) -> list[Post]:
        return self.slack.workspace.of_bot()

    @property
    def texts(self) -> list[str]:
        return [post.text for post in self.posts]


@asynccontextmanager
async def a_scene() -> AsyncIterator[Scene]:
    clock = Clock()
    async with FakeSlack(clock=clock) as slack, open_courier(BOT_TOKEN, slack.url) as courier:
        slack.workspace.direct_channel("U1")
        yield Scene(slack, courier, clock)
