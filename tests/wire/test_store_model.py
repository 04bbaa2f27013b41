"""The mailbox in a real Valkey, driven at random against a model in memory: nothing lost, doubled or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.chat import codec
from core.chat.errors import Fenced
from core.chat.message import Conversation, Message, Turn
from core.chat.ports import Acceptance, Claim, Mail, Signal
from tests.support.store_cases import NOON, answered, message, redis_store, turns
from tests.support.valkey import ValkeyServer

T = TypeVar("T")

LIMIT = 3
ROOMS = [Conversation("web", "", f"c{number}") for number in range(3)]


@dataclass
class Room:
    """What the model knows of one conversation. `ready`: a ticket waits. `claim`: somebody works on it."""

    inbox: list[Message] = field(default_factory=list)
    history: list[Turn] = field(default_factory=list)
    ready: bool = False
    claim: Claim | None = None
    epoch: int = 0
    overdue: bool = False
    intent: str = ""
    stop: str = ""


class MailboxMachine(RuleBasedStateMachine):
    """`url` and `options` are set by the test that runs it."""

    url: str
    options: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.admin = redis.Redis.from_url(self.url, decode_responses=True)
        self.admin.flushdb()
        # Leases end only where the machine ends them.
        opened = redis_store(self.url, lease_s=3600.0, inbox_limit=LIMIT, **self.options)
        self.store = self.run(lambda: self.stack.enter_async_context(opened))
        self.rooms = {conversation: Room() for conversation in ROOMS}
        self.accepted: dict[str, Message] = {}
        self.committed: list[str] = []
        self.old: list[Claim] = []
        self.number = 0

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(30):
                return await call()

        return self.runner.run(bounded())

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.run(self.stack.aclose)
            self.admin.close()
            self.runner.close()

    # ── those who receive ───────────────────────────────────────────────────────────────────────────────────────────

    @rule(conversation=st.sampled_from(ROOMS), late_s=st.sampled_from([0.0, 0.0, 1.5, 3.5]))
    def accept(self, conversation: Conversation, late_s: float) -> None:
        self.number += 1
        said = message(str(self.number), conversation, f"question {self.number}")
        asked = replace(said, sent_at=NOON + self.number - late_s)
        room = self.rooms[conversation]
        full = len(room.inbox) == LIMIT

        got = self.run(lambda: self.store.box.accept(asked))

        assert got is (Acceptance.FULL if full else Acceptance.ACCEPTED)
        if not full:
            begun = 1 if room.claim is not None or room.intent else 0
            place = sum(1 for number, item in enumerate(room.inbox) if number < begun or item.sent_at <= asked.sent_at)
            room.inbox.insert(place, asked)
            self.accepted[asked.id] = asked
            room.ready = room.ready or room.claim is None

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        asked = self.accepted[data.draw(st.sampled_from(sorted(self.accepted)))]

        assert self.run(lambda: self.store.box.accept(asked)) is Acceptance.DUPLICATE

    @rule(conversation=st.sampled_from(ROOMS))
    def request_stop(self, conversation: Conversation) -> None:
        room = self.rooms[conversation]

        assert self.run(lambda: self.store.box.request_stop(conversation)) is bool(room.inbox)

        if room.inbox:
            room.stop = room.inbox[0].id

    # ── those who answer ────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: any(room.ready or room.overdue for room in self.rooms.values()))
    @rule(worker=st.sampled_from(["w1", "w2"]))
    def take(self, worker: str) -> None:
        claim = self.run(lambda: self.store.box.take(worker, 20.0))

        assert claim is not None
        room = self.rooms[claim.conversation]
        assert room.ready or room.overdue
        assert claim.epoch > room.epoch
        room.epoch = claim.epoch
        if room.claim is not None:
            self.old.append(room.claim)
        room.claim, room.ready, room.overdue = claim, False, False

    @precondition(lambda self: not any(room.ready or room.overdue for room in self.rooms.values()))
    @rule()
    def take_when_nothing_is_ready(self) -> None:
        assert self.run(lambda: self.store.box.take("w1", 0.05)) is None

    @precondition(lambda self: self.claimed())
    @rule(data=st.data())
    def lease_ends(self, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.claimed()))
        assert room.claim is not None
        ready = self.store.box._keys.beside(room.claim.conversation, "ready")  # type: ignore[attr-defined]
        [pending] = self.admin.xpending_range(ready, "workers", room.claim.ticket, room.claim.ticket, 1)
        self.admin.execute_command(  # type: ignore[no-untyped-call]
            "XCLAIM", ready, "workers", pending["consumer"], 0, room.claim.ticket, "IDLE", 4_000_000, "JUSTID"
        )
        room.overdue = True

    @precondition(lambda self: self.claimed())
    @rule(data=st.data())
    def look_and_renew(self, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.claimed()))
        claim = room.claim
        assert claim is not None

        mail = self.run(lambda: self.store.box.head(claim))
        signal = self.run(lambda: self.store.box.renew(claim))

        room.overdue = False
        first = room.inbox[0] if room.inbox else None
        stop = first is not None and room.stop == first.id
        assert signal is (Signal.STOP if stop else None)
        assert mail == (
            None
            if first is None
            else Mail(first, tuple(room.history), intended=room.intent == first.id, stop_requested=stop)
        )

    @precondition(lambda self: self.claimed())
    @rule(data=st.data())
    def intend(self, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.claimed()))
        claim = room.claim
        assert claim is not None
        if room.inbox:
            turn_id = room.inbox[0].id
            self.run(lambda: self.store.box.intend(claim, turn_id))
            room.intent = turn_id

    @precondition(lambda self: self.claimed())
    @rule(data=st.data(), again=st.booleans())
    def commit(self, data: st.DataObject, again: bool) -> None:  # noqa: FBT001
        room = data.draw(st.sampled_from(self.claimed()))
        claim = room.claim
        assert claim is not None
        if not room.inbox:
            return
        asked = room.inbox.pop(0)
        for _ in range(1 + again):
            self.run(lambda: self.store.box.commit(claim, answered(asked)))
        room.history += turns(asked)
        room.intent = room.stop = ""
        self.committed.append(asked.id)

    @precondition(lambda self: self.claimed())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.claimed()))
        claim = room.claim
        assert claim is not None

        assert self.run(lambda: self.store.box.finish(claim)) is not bool(room.inbox)

        if not room.inbox:
            self.old.append(claim)
            room.claim, room.overdue, room.intent, room.stop = None, False, "", ""

    @precondition(lambda self: self.claimed())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.claimed()))
        claim = room.claim
        assert claim is not None
        self.run(lambda: self.store.box.release(claim))
        self.old.append(claim)
        room.claim, room.ready, room.overdue = None, True, False

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def frozen_worker_wakes(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.old))
        room = self.rooms[claim.conversation]
        self.run(lambda: self.store.box.release(claim))
        if room.inbox:
            first = room.inbox[0]
            for call in (
                lambda: self.store.box.commit(claim, answered(first)),
                lambda: self.store.box.finish(claim),
                lambda: self.store.box.intend(claim, first.id),
                lambda: self.store.box.renew(claim),
            ):
                with pytest.raises(Fenced):
                    self.run(call)

    # ── what holds ──────────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def histories_are_as_committed(self) -> None:
        for conversation, room in self.rooms.items():
            assert self.run(lambda c=conversation: self.store.box.turns(c)) == tuple(room.history)  # type: ignore[misc]

    def claimed(self) -> list[Room]:
        return [room for room in self.rooms.values() if room.claim is not None]

    def drain(self) -> None:
        """Works off all that is left and compares the log with what was accepted."""
        for room in self.claimed():
            claim = room.claim
            assert claim is not None
            self.run(lambda c=claim: self.store.box.release(c))  # type: ignore[misc]
            room.claim, room.ready, room.overdue = None, True, False
        while any(room.ready for room in self.rooms.values()):
            self.take("w3")
            [room] = self.claimed()
            claim = room.claim
            assert claim is not None
            while mail := self.run(lambda c=claim: self.store.box.head(c)):  # type: ignore[misc]
                assert mail.message == room.inbox.pop(0)
                asked = mail.message
                self.run(lambda c=claim, a=asked: self.store.box.commit(c, answered(a)))  # type: ignore[misc]
                self.committed.append(asked.id)
            assert self.run(lambda c=claim: self.store.box.finish(c))  # type: ignore[misc]
            room.claim = None
        logged = self.run(lambda: self.store.log.read("l1", 10_000, 0.0))
        ids = [codec.load_interaction(entry.text).turn_id for entry in logged]
        assert sorted(ids) == sorted(self.accepted)
        for conversation in ROOMS:
            in_log = [id_ for id_ in ids if id_.startswith(str(conversation).rpartition(":")[0])]
            assert in_log == [id_ for id_ in self.committed if id_ in in_log]
        assert list(self.admin.scan_iter("*:owner:*")) == []


@pytest.mark.parametrize(
    "options", [{}, {"shards": 3}, {"twice": True}], ids=["plain", "3 shards", "each script twice"]
)
def test_mailbox_behaves_as_the_model(valkey_server: ValkeyServer, options: dict[str, Any]) -> None:
    machine = type("Machine", (MailboxMachine,), {"url": valkey_server.url(63), "options": options})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
