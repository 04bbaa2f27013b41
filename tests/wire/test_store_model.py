"""The mailboxes, driven at random against a model: nothing lost, doubled, out of order, or answered once deleted."""

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
from core.chat.ports import Acceptance, Change, Claim, Commit, Mail, Signal
from tests.support.store_cases import NOON, answered, interaction, memory_store, message, redis_store, turns
from tests.support.valkey import ValkeyServer

T = TypeVar("T")

LIMIT = 3
ROOMS = [Conversation("web", "", f"c{number}") for number in range(3)]


@dataclass
class Room:
    """What the model knows of one conversation. `ready`: a ticket waits. `claim`: somebody works on it.

    `intent` and the like name the message that they are about; `begun` says that a worker had it before.
    """

    inbox: list[Message] = field(default_factory=list)
    history: list[Turn] = field(default_factory=list)
    ready: bool = False
    claim: Claim | None = None
    epoch: int = 0
    overdue: bool = False
    intent: str = ""
    stop: str = ""
    revised: str = ""
    withdrawn: str = ""
    begun: bool = False

    def place(self, message_id: str) -> int | None:
        return next((place for place, item in enumerate(self.inbox) if item.id == message_id), None)

    def change(self, place: int | None) -> Change:
        if place is None:
            return Change.LATE
        started = self.claim is not None or self.intent == self.inbox[place].id
        return Change.ANSWERING if place == 0 and started else Change.WAITING

    def told(self) -> Signal | None:
        noted = {Signal.WITHDRAWN: self.withdrawn, Signal.STOP: self.stop, Signal.REVISED: self.revised}
        return next((signal for signal, id_ in noted.items() if self.inbox and id_ == self.inbox[0].id), None)

    def cleared(self) -> None:
        self.intent = self.stop = self.revised = self.withdrawn = ""


class MailboxMachine(RuleBasedStateMachine):
    """`url` (of the real one; "" for the one in memory) and `options` are set by the test that runs it."""

    url: str
    options: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        # Leases end only where the machine ends them.
        bounds: dict[str, Any] = {"lease_s": 3600.0, "inbox_limit": LIMIT}
        if self.url:
            with redis.Redis.from_url(self.url) as admin:
                admin.flushdb()
        opened = redis_store(self.url, **bounds, **self.options) if self.url else memory_store(**bounds)
        self.store = self.run(lambda: self.stack.enter_async_context(opened))
        self.rooms = {conversation: Room() for conversation in ROOMS}
        self.accepted: dict[str, Message] = {}
        self.gone: set[str] = set()
        self.posts: dict[str, tuple[str, ...]] = {}
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

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), text=st.sampled_from(["one", "other"]), again=st.booleans())
    def revise(self, data: st.DataObject, text: str, again: bool) -> None:  # noqa: FBT001
        old = self.accepted[data.draw(st.sampled_from(sorted(self.accepted)))]
        room = self.rooms[old.conversation]
        place = room.place(old.id)
        expected = room.change(place)

        for _ in range(1 + again):
            assert self.run(lambda: self.store.box.revise(replace(old, text=text))) is expected

        if place is not None and room.inbox[place].text != text:
            room.inbox[place] = replace(room.inbox[place], text=text)
            if expected is Change.ANSWERING:
                room.revised = old.id

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        old = self.accepted[data.draw(st.sampled_from(sorted(self.accepted)))]
        room = self.rooms[old.conversation]
        place = room.place(old.id)
        expected = room.change(place)

        assert self.run(lambda: self.store.box.withdraw(old.conversation, old.id)) is expected

        if expected is Change.ANSWERING:
            room.withdrawn = old.id
        elif place is not None:
            room.inbox.pop(place)
            self.gone.add(old.id)

    @rule(conversation=st.sampled_from(ROOMS))
    def deletion_overtakes_its_message(self, conversation: Conversation) -> None:
        self.number += 1
        barred = message(str(self.number), conversation)

        assert self.run(lambda: self.store.box.withdraw(conversation, barred.id)) is Change.LATE
        assert self.run(lambda: self.store.box.accept(barred)) is Acceptance.DUPLICATE

    # ── those who answer ────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: any(room.ready or room.overdue for room in self.rooms.values()))
    @rule(worker=st.sampled_from(["w1", "w2"]))
    def take(self, worker: str) -> None:
        claim = self.run(lambda: self.store.box.take(worker, 20.0))

        assert claim is not None
        room = self.rooms[claim.conversation]
        assert room.ready or room.overdue
        assert claim.epoch > room.epoch
        assert claim.taken_over is (room.overdue or room.begun)
        room.epoch = claim.epoch
        if room.claim is not None:
            self.old.append(room.claim)
        room.claim, room.ready, room.overdue, room.begun = claim, False, False, True

    @precondition(lambda self: not any(room.ready or room.overdue for room in self.rooms.values()))
    @rule()
    def take_when_nothing_is_ready(self) -> None:
        assert self.run(lambda: self.store.box.take("w1", 0.05)) is None

    @precondition(lambda self: self.claimed())
    @rule(data=st.data())
    def lease_ends(self, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.claimed()))
        assert room.claim is not None
        if self.url:
            self.end_lease_in_redis(room.claim)
        else:
            self.store.box._rooms[room.claim.conversation].owner.lease_until = 0.0  # type: ignore[attr-defined]
        room.overdue = True

    @precondition(lambda self: self.claimed())
    @rule(data=st.data())
    def look_and_renew(self, data: st.DataObject) -> None:
        room = data.draw(st.sampled_from(self.claimed()))
        claim = room.claim
        assert claim is not None

        signal = self.run(lambda: self.store.box.renew(claim))
        mail = self.run(lambda: self.store.box.head(claim))

        assert signal is room.told()
        room.overdue = False
        if not room.inbox:
            assert mail is None
            return
        room.revised = ""
        first = room.inbox[0]
        assert mail == Mail(
            first,
            tuple(room.history),
            intended=room.intent == first.id,
            stop_requested=room.stop == first.id,
            withdrawn=room.withdrawn == first.id,
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
        asked = room.inbox[0]
        done = answered(asked, posts=(f"post of {asked.id}",))
        if room.withdrawn == asked.id:
            assert self.run(lambda: self.store.box.commit(claim, done)) is False
            done = Commit(asked.id, interaction=interaction(asked), withdrawn=True)
        else:
            room.history += turns(asked)
        for _ in range(1 + again):
            assert self.run(lambda: self.store.box.commit(claim, done)) is True
        room.inbox.pop(0)
        room.cleared()
        room.begun = False
        self.posts[asked.id] = done.posts
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
            room.claim, room.overdue, room.begun = None, False, False
            room.cleared()

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

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def who_lost_the_conversation_asks_which_posts_count(self, data: st.DataObject) -> None:
        asked = self.accepted[data.draw(st.sampled_from(sorted(self.accepted)))]

        found = self.run(lambda: self.store.box.committed_posts(asked.conversation, asked.id))

        assert found == self.posts.get(asked.id)

    def end_lease_in_redis(self, claim: Claim) -> None:
        ready = self.store.box._keys.beside(claim.conversation, "ready")  # type: ignore[attr-defined]
        with redis.Redis.from_url(self.url, decode_responses=True) as admin:
            [pending] = admin.xpending_range(ready, "workers", claim.ticket, claim.ticket, 1)
            holder = pending["consumer"]
            admin.execute_command("XCLAIM", ready, "workers", holder, 0, claim.ticket, "IDLE", 4_000_000, "JUSTID")

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
                done = replace(answered(asked), withdrawn=mail.withdrawn)
                assert self.run(lambda c=claim, d=done: self.store.box.commit(c, d))  # type: ignore[misc]
                self.committed.append(asked.id)
            assert self.run(lambda c=claim: self.store.box.finish(c))  # type: ignore[misc]
            room.claim = None
        logged = self.run(lambda: self.store.log.read("l1", 10_000, 0.0))
        ids = [codec.load_interaction(entry.text).turn_id for entry in logged]
        assert sorted(ids) == sorted(self.accepted.keys() - self.gone)
        for conversation in ROOMS:
            in_log = [id_ for id_ in ids if id_.startswith(str(conversation).rpartition(":")[0])]
            assert in_log == [id_ for id_ in self.committed if id_ in in_log]
        if self.url:
            with redis.Redis.from_url(self.url) as admin:
                assert admin.keys("*:owner:*") == []


@pytest.mark.parametrize(
    "options", [{}, {"shards": 3}, {"twice": True}], ids=["plain", "3 shards", "each script twice"]
)
def test_mailbox_behaves_as_the_model(valkey_server: ValkeyServer, options: dict[str, Any]) -> None:
    drive(type("Machine", (MailboxMachine,), {"url": valkey_server.url(63), "options": options}))


def test_mailbox_in_memory_behaves_as_the_model() -> None:
    drive(type("Machine", (MailboxMachine,), {"url": ""}))


def drive(machine: type[RuleBasedStateMachine]) -> None:
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
