"""What a message costs in the mailbox, and what it leaves there, beside more and more stored turns."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

from bench.figures import Stored, middle
from bench.fill import ANSWER, QUESTION, fill_histories
from core.chat.interaction import Interaction, Sampling
from core.chat.message import Address, Conversation, Message, Outcome, Person, Turn
from core.chat.ports import Claim, Commit
from core.chat.prompt import Budget, TooLong, build_prompt
from storage.connections import Client, open_redis
from storage.log_stream import RedisLogStream
from storage.mailbox import RedisMailbox
from tests.support.valkey import ValkeyServer

LEVELS = (10, 100, 1_000, 10_000, 100_000)
OVER_ALL, IN_ONE = "stored in all", "said in one conversation"
_HELD = 10  # turns of each conversation, where the total is what grows
_BUDGET = Budget(prompt_tokens=4096 - 512, message_overhead_tokens=4, prompt_overhead_tokens=3)
_SYSTEM_TOKENS = 30
_LOGGED = 500


@dataclass(slots=True)
class Costs:
    """Milliseconds, a value a message."""

    accept: list[float] = field(default_factory=list)
    head: list[float] = field(default_factory=list)
    commit: list[float] = field(default_factory=list)
    message: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Desk:
    """A mailbox on a server of its own, and what was measured there."""

    server: ValkeyServer
    client: Client
    mailbox: RedisMailbox
    log: RedisLogStream
    messages: int = 0

    async def answer(self, conversation: Conversation, costs: Costs | None = None, keep: int | None = None) -> None:
        """One message through the mailbox, from accept to finish.

        Its history is cut as the worker cuts it, or to `keep` turns.
        """
        self.messages += 1
        clock = [time.perf_counter()]
        message = _message(conversation)
        await self.mailbox.accept(message)
        clock.append(time.perf_counter())
        claim = await self._take()
        clock.append(time.perf_counter())
        mail = await self.mailbox.head(claim)
        assert mail is not None
        clock.append(time.perf_counter())
        await self.mailbox.intend(claim, message.id)
        commit = _commit(message, mail.history, keep)
        clock.append(time.perf_counter())
        await self.mailbox.commit(claim, commit)
        clock.append(time.perf_counter())
        await self.mailbox.finish(claim)
        clock.append(time.perf_counter())
        if costs is not None:
            steps = [1000 * (after - before) for before, after in pairwise(clock)]
            costs.accept.append(steps[0])
            costs.head.append(steps[2])
            costs.commit.append(steps[4])
            costs.message.append(sum(steps))
            costs.held.append(len(mail.history))
        if self.messages % _LOGGED == 0:
            await self.write_log()

    async def write_log(self) -> None:
        """Takes the log's entries away, as its writer does."""
        while entries := await self.log.read("bench", _LOGGED, 0.0):
            await self.log.done([entry.id for entry in entries])

    async def used_bytes(self) -> int:
        """The memory that the server uses."""
        info = await self.client.info("memory")
        return int(info["used_memory"])

    async def _take(self) -> Claim:
        claim = await self.mailbox.take("bench", 5.0)
        assert claim is not None
        return claim


async def measure_stored(per_level: int, life: int) -> list[Stored]:
    """Costs of `per_level` messages at each level; conversations that live for up to `life` turns."""
    return [*await _over_all(per_level), *await _in_one(per_level, life)]


async def _over_all(per_level: int) -> list[Stored]:
    """The total grows: a server a level, each filled before; the levels are measured in turn."""
    async with AsyncExitStack() as stack:
        desks = {level: await stack.enter_async_context(_desk()) for level in LEVELS}
        costs = {level: Costs() for level in LEVELS}
        bytes_per_turn: dict[int, float] = {}
        for level, desk in desks.items():
            await desk.answer(_conversation(-1))  # what the server and the connection take once
            empty = await desk.used_bytes()
            await fill_histories(desk.server.url(), _conversations(level), min(level, _HELD))
            bytes_per_turn[level] = (await desk.used_bytes() - empty) / level
        for number in range(per_level):
            for level, desk in desks.items():
                conversations = level // _HELD
                await desk.answer(_conversation(number * 7919 % conversations), costs[level], keep=_HELD)
        return [_stored(OVER_ALL, level, costs[level], bytes_per_turn[level]) for level in LEVELS]


async def _in_one(per_level: int, life: int) -> list[Stored]:
    """One conversation grows: one a level on one server, each lived through before; then they are measured in turn."""
    levels = [level for level in LEVELS if level <= life]
    async with _desk() as desk:
        costs = {level: Costs() for level in levels}
        bytes_per_turn: dict[int, float] = {}
        # What is lived through here is no measurement: it need not be on disk.
        await desk.client.config_set("appendfsync", "no")
        for level in levels:
            before = await desk.used_bytes()
            for _ in range(level // 2):
                await desk.answer(_conversation(level))
            await desk.write_log()
            bytes_per_turn[level] = (await desk.used_bytes() - before) / level
        await desk.client.config_set("appendfsync", "always")
        for _ in range(per_level):
            for level in levels:
                await desk.answer(_conversation(level), costs[level])
        return [_stored(IN_ONE, level, costs[level], bytes_per_turn[level]) for level in levels]


def _stored(series: str, turns: int, costs: Costs, bytes_per_turn: float) -> Stored:
    return Stored(
        series=series,
        turns=turns,
        held=int(middle([float(held) for held in costs.held])),
        accept_ms=middle(costs.accept),
        head_ms=middle(costs.head),
        commit_ms=middle(costs.commit),
        message_ms=middle(costs.message),
        bytes_per_turn=bytes_per_turn,
    )


@asynccontextmanager
async def _desk() -> AsyncIterator[Desk]:
    with ValkeyServer() as server:
        client, blocking = open_redis(server.url()), open_redis(server.url(), blocking=True)
        mailbox = RedisMailbox(client, blocking)
        await mailbox.open()
        try:
            yield Desk(server, client, mailbox, RedisLogStream(client, blocking))
        finally:
            await mailbox.aclose()
            await client.aclose()
            await blocking.aclose()


def _conversations(turns: int) -> list[Conversation]:
    return [_conversation(number) for number in range(turns // _HELD)]


def _conversation(number: int) -> Conversation:
    return Conversation("bench", "T1", f"D{number}")


def _message(conversation: Conversation) -> Message:
    now = time.time()
    return Message(
        id=conversation.message_id(uuid.uuid4().hex),
        conversation=conversation,
        person=Person("U1", "Person"),
        text=QUESTION,
        address=Address.DIRECT,
        sent_at=now,
        accepted_at=now,
        reply_to={"channel": conversation.channel, "ts": f"{now:.6f}"},
    )


def _commit(message: Message, history: Sequence[Turn], keep: int | None) -> Commit:
    """What a worker commits."""
    prompt = build_prompt("system", _SYSTEM_TOKENS, history, message, len(QUESTION.split()), _BUDGET)
    assert not isinstance(prompt, TooLong)
    asked = Turn("user", QUESTION, len(QUESTION.split()), message.id, message.sent_at, "Person", "U1")
    replied = replace(asked, role="assistant", text=ANSWER, tokens=len(ANSWER.split()), speaker="", person_id="")
    interaction = Interaction(
        turn_id=message.id,
        conversation=message.conversation,
        person_id="U1",
        person_name="Person",
        sent_at=message.sent_at,
        accepted_at=message.accepted_at,
        started_at=message.accepted_at,
        first_token_ms=5.0,
        total_ms=50.0,
        outcome=Outcome.ANSWERED,
        finish_reason="stop",
        error="",
        question=QUESTION,
        messages=prompt.messages,
        answer=ANSWER,
        model="stub-model",
        model_version="stub-1",
        persona="default",
        persona_version="1",
        template_version="1",
        sampling=Sampling(0.3, 0.9, 512, seed=0),
        prompt_tokens=prompt.tokens,
        completion_tokens=40,
        tokens_exact=True,
        worker="bench",
    )
    drop = prompt.dropped if keep is None else max(0, len(history) + 2 - keep)
    return Commit(message.id, (asked, replied), drop, interaction=interaction, posts=(f"post:{message.id}",))
