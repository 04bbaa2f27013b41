"""What the tests of the stores say to them, and the stores they say it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from redis.asyncio import Redis

from core.chat.interaction import Interaction, PromptMessage, Sampling
from core.chat.message import Address, Answered, Conversation, Message, Outcome, Person, Turn
from core.chat.ports import Claim, Commit, Depth, Histories, LogStream, Mailbox, Marks, Signal, Tickets
from core.loop.feedback import Feedback, Source, Verdict, Verdicts
from storage.connections import Client, open_redis
from storage.depth import RedisDepth
from storage.log_stream import RedisLogStream
from storage.mailbox import RedisMailbox
from storage.marks import RedisMarks
from storage.verdicts import RedisVerdicts
from tests.support.memory_store import MemoryStore

THREAD = Conversation("slack", "T1", "C1", "1718.01")
OTHER = Conversation("slack", "T1", "C1", "1718.02")
NOON = 1_750_000_000.0
# Every mailbox there is; `open_store` opens one.
KINDS = ["memory", "valkey", "valkey, each script twice", "cluster with 16 shards"]
CLUSTER_SHARDS = 16


class Box(Mailbox, Tickets, Histories, Protocol):
    """A mailbox from all its sides."""


@dataclass(frozen=True, slots=True)
class Store:
    box: Box
    log: LogStream
    marks: Marks
    depth: Depth
    verdicts: Verdicts


class TwiceRedis(Redis):
    """A client that runs each script twice, as one does whose first reply was lost."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] in {"EVALSHA", "EVAL"}:
            await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


def run_twice(client: Client) -> Client:
    """A `TwiceRedis` on the connections of `client`."""
    assert isinstance(client, Redis)
    return TwiceRedis.from_pool(client.connection_pool)


@asynccontextmanager
async def redis_store(
    url: str, *, twice: bool = False, writer_lease_s: float = 30.0, **options: Any
) -> AsyncIterator[Store]:
    """An open mailbox, with what belongs to it, on a real server; `options` are RedisMailbox's."""
    shards = options.get("shards", 1)
    client, blocking = open_redis(url), open_redis(url, blocking=True)
    scripted = run_twice(client) if twice else client
    box = RedisMailbox(scripted, blocking, **options)
    log = RedisLogStream(scripted, blocking, shards=shards, lease_s=writer_lease_s)
    try:
        await box.open()
        yield Store(
            box,
            log,
            RedisMarks(scripted, shards=shards),
            RedisDepth(scripted, shards=shards),
            RedisVerdicts(scripted, shards=shards),
        )
    finally:
        await box.aclose()
        await scripted.aclose()
        await client.aclose()
        await blocking.aclose()


@asynccontextmanager
async def memory_store(**options: Any) -> AsyncIterator[Store]:
    store = MemoryStore(**options)
    yield Store(store, store, store, store, store)


def open_store(request: pytest.FixtureRequest, **options: Any) -> AbstractAsyncContextManager[Store]:
    """The store of the kind that the fixture's parameter names."""
    if request.param == "memory":
        return memory_store(**options)
    if "cluster" in request.param:
        return redis_store(request.getfixturevalue("cluster_url"), shards=CLUSTER_SHARDS, **options)
    return redis_store(request.getfixturevalue("redis_url"), twice="twice" in request.param, **options)


def message(native: str, conversation: Conversation = THREAD, text: str = "hello") -> Message:
    reply_to = {"channel": conversation.channel}
    person = Person("U1", "ada")
    id_ = conversation.message_id(native)
    return Message(id_, conversation, person, text, Address.MENTION, NOON, shared=True, reply_to=reply_to)


def turns(asked: Message) -> tuple[Turn, Turn]:
    question = Turn("user", asked.text, 2, asked.id, asked.sent_at, "ada", "U1")
    return question, Turn("assistant", f"re: {asked.text}", 3, asked.id, asked.sent_at)


def interaction(asked: Message, **changes: Any) -> Interaction:
    fields: dict[str, Any] = {
        "turn_id": asked.id,
        "conversation": asked.conversation,
        "person_id": asked.person.id,
        "person_name": asked.person.name,
        "sent_at": asked.sent_at,
        "accepted_at": NOON + 0.25,
        "started_at": NOON + 0.5,
        "first_token_ms": 12.5,
        "total_ms": 250.0,
        "outcome": Outcome.ANSWERED,
        "finish_reason": "stop",
        "error": "",
        "question": asked.text,
        "messages": (PromptMessage("system", "Be brief."), PromptMessage("user", f"ada: {asked.text}", "U1")),
        "answer": f"re: {asked.text}",
        "model": "smol",
        "model_version": "v1",
        "persona": "parley",
        "persona_version": "1",
        "template_version": "1",
        "sampling": Sampling(0.7, 0.9, 256, 42),
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "tokens_exact": True,
        "worker": "w1",
    }
    return Interaction(**{**fields, **changes})


def answered(asked: Message, posts: tuple[str, ...] = ()) -> Commit:
    shown = shown_in(asked, posts) if posts else None
    return Commit(asked.id, append=turns(asked), interaction=interaction(asked), posts=posts, answered=shown)


def shown_in(asked: Message, posts: tuple[str, ...]) -> Answered:
    person = asked.person
    return Answered(asked.id, asked.conversation, person.id, person.name, asked.sent_at, posts, shared=asked.shared)


def judged(asked: Message, verdict: Verdict = Verdict.HELPFUL, **changes: Any) -> Feedback:
    fields: dict[str, Any] = {
        "id": f"{asked.id} {verdict}",
        "turn_id": asked.id,
        "conversation": asked.conversation,
        "sent_at": asked.sent_at,
        "person_id": asked.person.id,
        "verdict": verdict,
        "source": Source.BUTTON,
        "at": NOON + 60.0,
    }
    return Feedback(**{**fields, **changes})


async def claimed(box: Box, worker: str = "w1") -> Claim:
    """The next claim, for a test in which there must be one."""
    claim = await box.take(worker, 10.0)
    assert claim is not None
    return claim


async def next_signal(signals: Any, ask: Callable[[], Awaitable[object]]) -> tuple[Conversation, Signal]:
    """What is heard next while `ask` is repeated: who listens misses what is said before the connection stands."""
    while True:
        hearing: asyncio.Task[tuple[Conversation, Signal] | None] = asyncio.ensure_future(anext(signals))
        try:
            while not hearing.done():
                await ask()
                await asyncio.wait({hearing}, timeout=0.2)
        finally:
            hearing.cancel()
            await asyncio.wait({hearing})
        if heard := hearing.result():
            return heard
