"""Real worker processes on a real Valkey, and a fake platform whose gateway runs in the test: what faults befall."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.chat.message import Conversation
from storage.connections import open_redis
from storage.mailbox import RedisMailbox
from tests.support.discord_harness import DiscordHarness, discord_harness
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN
from tests.support.running import Home, until
from tests.support.slack_harness import SlackHarness, slack_harness
from tests.support.stub_host import StubHost
from tests.support.valkey import ValkeyServer

LEASE_S = 1
_ANSWER = re.compile(r"answer to (\w+) number (\d+)\b")


def scripted(messages: Sequence[Any]) -> list[str]:
    """An answer that tells which question it is for, in several pieces."""
    return ["answer ", "to ", f"{messages[-1]['content']}", " as ", "asked"]


@dataclass
class Fleet:
    """The processes, the platform, and the counting of what people saw."""

    home: Home
    valkey: ValkeyServer
    host: StubHost
    harness: SlackHarness | DiscordHarness
    mailbox: RedisMailbox
    workers: list[asyncio.subprocess.Process] = field(default_factory=list)
    asked: dict[str, list[int]] = field(default_factory=dict)

    async def add_worker(self) -> None:
        self.workers.append(await self.home.spawn("worker"))

    async def ask(self, person: str, number: int) -> str:
        self.asked.setdefault(person, []).append(number)
        return await self.harness.say_direct(person, f"{person} number {number}")

    async def kill_one(self, chance: random.Random) -> None:
        """kill -9 of a random worker, and another in its place."""
        victim = self.workers.pop(chance.randrange(len(self.workers)))
        victim.kill()
        await victim.wait()
        await self.add_worker()

    @asynccontextmanager
    async def frozen(self, worker: asyncio.subprocess.Process) -> AsyncIterator[None]:
        """SIGSTOP for the time of the block."""
        worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            worker.send_signal(signal.SIGCONT)

    async def all_answered(self, timeout_s: float) -> None:
        """Until every question has its whole answer before people's eyes and its row in the log."""
        wanted = sum(len(numbers) for numbers in self.asked.values())
        await until(lambda: len(set(self.seen())) >= wanted and self.rows() >= wanted, timeout_s)

    def seen(self) -> list[tuple[str, int]]:
        """The questions whose whole answer is visible, in the order of the posts; one that is visible twice, twice."""
        found = [_ANSWER.search(text) for text in self.harness.visible() if text.endswith("as asked")]
        return [(match.group(1), int(match.group(2))) for match in found if match]

    def counts(self) -> dict[str, int]:
        """What must be nought: lost, doubled, reordered, and rows of the log that are too many or too few."""
        seen = self.seen()
        wanted = [(person, number) for person, numbers in self.asked.items() for number in numbers]
        once = Counter(seen)
        orders = {person: [number for who, number in seen if who == person] for person in self.asked}
        unfinished = [text for text in self.harness.visible() if not text.endswith("as asked")]
        return {
            "lost": sum(question not in once for question in wanted),
            "doubled": sum(count - 1 for count in once.values()) + len(unfinished),
            "reordered": sum(order != sorted(order) for order in orders.values()),
            "rows": abs(self.rows() - len(wanted)),
        }

    async def turns_wrong(self) -> int:
        """Conversations whose history does not hold each question once, in order, each with its answer."""
        wrong = 0
        for person, numbers in self.asked.items():
            turns = await self.mailbox.turns(self._conversation(person))
            heard = [turn.text for turn in turns if turn.role == "user"]
            wrong += heard != [f"{person} number {number}" for number in numbers] or len(turns) != 2 * len(heard)
        return wrong

    def rows(self) -> int:
        """Answered interactions in the log."""
        path = self.home.folder / "log.db"
        if not path.exists():
            return 0
        connection = sqlite3.connect(path)
        try:
            sql = "SELECT count(*) FROM interaction WHERE outcome = 'answered'"
            return int(connection.execute(sql).fetchone()[0])
        except sqlite3.OperationalError:
            return 0
        finally:
            connection.close()

    def _conversation(self, person: str) -> Conversation:
        if isinstance(self.harness, SlackHarness):
            return Conversation("slack", "T1", self.harness.slack.workspace.direct_channel(person))
        world = self.harness.discord.world
        return Conversation("discord", "dm", world.direct(world.user(person)).id)

    async def aclose(self) -> None:
        for worker in self.workers:
            if worker.returncode is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            await worker.wait()


@asynccontextmanager
async def _harness(platform: str, mailbox: RedisMailbox) -> AsyncIterator[SlackHarness | DiscordHarness]:
    if platform == "slack":
        async with slack_harness(mailbox) as slack:
            yield slack
    else:
        async with discord_harness(mailbox) as discord:
            yield discord


@asynccontextmanager
async def fleet(
    platform: str, folder: Path, workers: int = 2, delay_s: float = 0.01, entry: str = "parley"
) -> AsyncIterator[Fleet]:
    """A fleet of `workers` on `platform` ("slack" or "discord"), each worker started and ready to be harmed.

    `entry` is the module that is run: `parley`, or the saboteur.
    """
    with ValkeyServer() as valkey:
        client, blocking = open_redis(valkey.url()), open_redis(valkey.url(), blocking=True)
        mailbox = RedisMailbox(client, blocking, lease_s=LEASE_S, inbox_limit=1000)
        await mailbox.open()
        async with StubHost(scripted, delay_s=delay_s) as host, _harness(platform, mailbox) as harness:
            home = Home(folder, _settings(valkey, host, folder, harness), entry=entry)
            running = Fleet(home, valkey, host, harness, mailbox)
            try:
                for _ in range(workers):
                    await running.add_worker()
                await until(lambda: len(host.requests) >= workers, 60.0)
                yield running
            finally:
                await running.aclose()
        await mailbox.aclose()
        await client.aclose()
        await blocking.aclose()


def _settings(
    valkey: ValkeyServer, host: StubHost, folder: Path, harness: SlackHarness | DiscordHarness
) -> dict[str, str]:
    settings = {
        "REDIS_URL": valkey.url(),
        "DATABASE_URL": f"sqlite:///{folder / 'log.db'}",
        "MODEL_URL": host.url,
        "LEASE_S": str(LEASE_S),
        "INBOX_LIMIT": "1000",
    }
    if isinstance(harness, SlackHarness):
        harness.slack.limits = dict.fromkeys(
            ("chat.postMessage", "chat.update", "chat.startStream", "chat.appendStream", "chat.stopStream"), 100_000
        )
        tokens = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_API_URL": harness.slack.url}
    else:
        harness.discord.rest.limits.calls = 1000
        tokens = {"DISCORD_TOKEN": harness.discord.token, "DISCORD_API_URL": harness.discord.api_url}
    return settings | tokens
