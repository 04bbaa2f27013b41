"""Real gateway and worker processes on real servers, before a fake platform and a stub host: what faults befall."""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from core.chat.errors import StoreUnavailable
from core.chat.message import Conversation, Turn
from storage.connections import Client, open_redis
from storage.keys import WORKERS, WRITERS, Keys
from storage.mailbox import RedisMailbox
from tests.support.history_checker import Fate, Harm, Key, Question, Row, answer_text, check, keys_in, question_text
from tests.support.logged import logged_rows
from tests.support.nursery import ROOT, Child, Nursery
from tests.support.platforms import DiscordPlatform, Said, SlackPlatform, platform
from tests.support.proxy import Proxy
from tests.support.running import free_port, until
from tests.support.stub_host import StubHost
from tests.support.valkey import ValkeyServer

LEASE_S = 1.0


def scripted(messages: Sequence[Any]) -> list[str]:
    """An answer that tells which question it is for, in several pieces."""
    asked = keys_in(messages[-1]["content"])
    return ["answer ", "to ", question_text(asked[-1]), " as ", "asked"] if asked else ["I ", "see."]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fleet consists of. `entry` is the module that is run: `parley`, or the saboteur.

    `proxied` puts our proxy before Redis. `database` is a SQLAlchemy URL, SQLite by default. When nothing is under way
    any more, harm may still go away for `patience_s`. `hurried` lifts the pace that Slack publishes. `settings` are set
    for all processes, beside the fleet's own.
    """

    platform: str
    workers: int = 2
    gateways: int = 1
    hosts: int = 1
    delay_s: float = 0.01
    proxied: bool = False
    database: str = ""
    entry: Sequence[str] = ("parley",)
    ack_s: float = 1.0
    patience_s: float = 15.0
    hurried: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Fleet:
    """The processes, the platform, and what was asked."""

    plan: Plan
    folder: Path
    nursery: Nursery
    valkey: ValkeyServer
    redis: Client
    mailbox: RedisMailbox
    proxy: Proxy
    hosts: list[StubHost]
    platform: SlackPlatform | DiscordPlatform
    workers: list[Child] = field(default_factory=list)
    gateways: list[Child] = field(default_factory=list)
    asked: dict[Key, Question] = field(default_factory=dict)
    said: dict[Key, Said] = field(default_factory=dict)
    unchecked: set[str] = field(default_factory=set)  # places that a scenario looks at by itself
    _edited: dict[str, tuple[Key, bool]] = field(default_factory=dict)
    _numbers: Counter[str] = field(default_factory=Counter)
    _started: Counter[str] = field(default_factory=Counter)
    _opened: list[Client] = field(default_factory=list)

    # ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def add_worker(self, failpoint: str = "") -> Child:
        self.workers.append(self._spawn("worker", failpoint))
        return self.workers[-1]

    def add_gateway(self, failpoint: str = "") -> Child:
        self.gateways.append(self._spawn("bot", failpoint))
        return self.gateways[-1]

    def _spawn(self, part: str, failpoint: str) -> Child:
        self._started[part] += 1
        entry, *arguments = self.plan.entry
        environment = {**_environment(), **self.settings, "PARLEY_PORT": str(free_port())}
        if failpoint:
            environment["PARLEY_FAILPOINT"] = failpoint
        log = self.folder / f"{part}-{self._started[part]}.log"
        return self.nursery.spawn(entry, [*arguments, part], environment, self.folder, log)

    @property
    def settings(self) -> dict[str, str]:
        redis_url = f"redis://127.0.0.1:{self.proxy.port}/0" if self.plan.proxied else self.valkey.url()
        return {
            "REDIS_URL": redis_url,
            "DATABASE_URL": self.database,
            "MODEL_URL": ",".join(host.url for host in self.hosts),
            "LEASE_S": str(LEASE_S),
            "INBOX_LIMIT": "1000",
            **{f"{whose}_PER_MINUTE": "0" for whose in _LIMITS},
            **self.platform.settings,
            **self.plan.settings,
        }

    @property
    def database(self) -> str:
        return self.plan.database or f"sqlite:///{self.folder / 'log.db'}"

    async def kill_worker(self, chance: random.Random) -> None:
        """kill -9 of a random worker, and another in its place."""
        victim = self.workers.pop(chance.randrange(len(self.workers)))
        await victim.kill()
        self.add_worker()

    @asynccontextmanager
    async def frozen(self, process: Child) -> AsyncIterator[None]:
        """SIGSTOP for the time of the block."""
        process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.signal(signal.SIGCONT)

    async def connected(self, timeout_s: float = 60.0) -> None:
        """Until all gateways hear that live."""
        wanted = self.platform.connections_of(sum(gateway.alive for gateway in self.gateways))
        await until(lambda: self.platform.listening() >= wanted, timeout_s)

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, name: str, fate: Fate = Fate.ANSWERED) -> Key:
        """`name` asks the next question."""
        key = (name, self._numbers[name])
        self._numbers[name] += 10  # what is edited gets a number between
        said = await self.platform.say(name, question_text(key))
        self.said[key] = said
        self.asked[key] = Question(key, said.place, said.turn_id, fate)
        return key

    async def ask_all(self, names: Sequence[str]) -> None:
        """Everybody asks their next question."""
        for name in names:
            await self.ask(name)

    async def edit(self, key: Key, *, in_time: bool = True) -> Key:
        """The question is edited; unless `in_time` it may be answered as it was. Returns its new key."""
        new = (key[0], key[1] + 1)
        self._edited[self.asked[key].turn_id] = (new, in_time)
        await self.platform.edit(self.said[key], question_text(new))
        return new

    async def delete(self, key: Key, fate: Fate = Fate.WITHDRAWN) -> None:
        """The question is deleted."""
        self.asked[key].fate = fate
        await self.platform.delete(self.said[key])

    def sees(self, key: Key) -> bool:
        """Whether the whole answer to a question is visible."""
        return any(seen.text == answer_text(key) for seen in self.platform.visible())

    @property
    def chats(self) -> int:
        """How many answers the hosts were asked for."""
        return sum(len(host.chats) for host in self.hosts)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def settled(self, timeout_s: float) -> Harm:
        """Waits until nothing is under way any more, and what a loser has to take back is taken back.

        Returns the harm that is left; when something is still under way at the end of the time, that shows in it.
        """
        deadline = time.monotonic() + timeout_s
        idle_since = math.inf
        while True:
            idle = await self.idle()
            idle_since = min(idle_since, time.monotonic()) if idle else math.inf
            late = time.monotonic() > min(deadline, idle_since + self.plan.patience_s)
            if (idle or late) and (not (harm := await self.harm()) or late):
                if not idle:
                    harm.note("left", f"{await self.pending()}, {self.platform.unheard()} events unheard")
                return harm
            await asyncio.sleep(0.1)

    async def idle(self) -> bool:
        """Whether no message waits or is being answered, and nothing is on its way to the log."""
        rows = len(await asyncio.to_thread(logged_rows, self.database))
        unsure = (Fate.TURNED_AWAY, Fate.ANSWERED_OR_WITHDRAWN)
        wanted = sum(question.fate not in unsure for question in self.asked.values())
        try:
            return rows >= wanted and not self.platform.unheard() and not any((await self.pending()).values())
        except StoreUnavailable:
            return False

    async def pending(self) -> dict[str, int]:
        """What has not come to its end in Redis: tickets, entries of the log, what consumers hold, inboxes."""
        keys = Keys()
        ready, log = keys.of_shard(0, "ready"), keys.of_shard(0, "log")
        inboxes = [key async for key in self.redis.scan_iter("parley:*:inbox:*", count=1000)]
        return {
            "tickets": int(await self.redis.xlen(ready)),
            "log": int(await self.redis.xlen(log)),
            "tickets held": int((await self.redis.xpending(ready, WORKERS))["pending"]),
            "log held": int((await self.redis.xpending(log, WRITERS))["pending"]),
            "inboxes": len(inboxes),
        }

    async def harm(self) -> Harm:
        """What the history checker finds now."""
        rows = await asyncio.to_thread(logged_rows, self.database)
        asked = self._as_edited(rows)
        seen = [post for post in self.platform.visible() if post.place not in self.unchecked]
        logged = [row for row in rows if row.place not in self.unchecked]
        return check(asked, seen, await self._remembered(), logged, self._prompts())

    def _as_edited(self, rows: Sequence[Row]) -> list[Question]:
        """What was asked in the end; where an edit may have come too late, the log tells which it was."""
        logged = {row.turn_id: row.question for row in rows}
        asked = []
        for question in self.asked.values():
            new, in_time = self._edited.get(question.turn_id, (question.key, True))
            took = in_time or logged.get(question.turn_id) == question_text(new)
            asked.append(replace(question, key=new if took else question.key))
        return asked

    async def _remembered(self) -> Mapping[str, Sequence[Turn]]:
        places = {question.place for question in self.asked.values()}
        return {place: await self.mailbox.turns(Conversation.parse(place)) for place in places}

    def _prompts(self) -> list[str]:
        return ["\n".join(m["content"] for m in chat["messages"]) for host in self.hosts for chat in host.chats]

    async def hurry(self) -> None:
        """Lets Slack be as fast as we are, until cancelled: real limits would make minutes of seconds.

        Our processes keep the pace that Slack publishes by buckets in Redis; these are full again at every moment.
        """
        while True:
            if keys := [Keys().bucket(name) for name in self.platform.paces()]:
                with suppress(RedisError):
                    await self.redis.unlink(*keys)
            await asyncio.sleep(0.05)

    async def look_at(self, valkey: ValkeyServer) -> None:
        """From now on what is in Redis is read there."""
        self.valkey, self.redis = valkey, open_redis(valkey.url())
        self.mailbox = RedisMailbox(self.redis, self.redis)
        self._opened.append(self.redis)

    async def aclose(self) -> None:
        for client in self._opened:
            await client.aclose()
        for child in (*self.workers, *self.gateways):
            if child.alive:
                await child.kill()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `work` for the time of the block; should it fail, that is raised at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


_LIMITS = ("PERSON_MESSAGES", "CHANNEL_MESSAGES", "WORKSPACE_MESSAGES", "PERSON_TOKENS", "WORKSPACE_TOKENS")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}


@asynccontextmanager
async def fleet(plan: Plan, folder: Path, nursery: Nursery) -> AsyncIterator[Fleet]:
    """A fleet after `plan`, every process started and ready to be harmed."""
    async with AsyncExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer())
        client, blocking = open_redis(valkey.url()), open_redis(valkey.url(), blocking=True)
        stack.push_async_callback(client.aclose)
        stack.push_async_callback(blocking.aclose)
        mailbox = RedisMailbox(client, blocking)
        await mailbox.open()
        stack.push_async_callback(mailbox.aclose)
        proxy = await stack.enter_async_context(Proxy(valkey.socket))
        hosts = [await stack.enter_async_context(StubHost(scripted, delay_s=plan.delay_s)) for _ in range(plan.hosts)]
        people = await stack.enter_async_context(platform(plan.platform, plan.ack_s))
        made = Fleet(plan, folder, nursery, valkey, client, mailbox, proxy, hosts, people)
        stack.push_async_callback(made.aclose)
        for _ in range(plan.workers):
            made.add_worker()
        for _ in range(plan.gateways):
            made.add_gateway()
        await made.connected()
        # A worker asks its host once before it begins.
        await until(lambda: sum(len(host.requests) for host in hosts) >= plan.workers, 60.0)
        async with beside(made.hurry() if plan.hurried else asyncio.sleep(0)):
            yield made
