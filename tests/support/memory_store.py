"""Working fakes of what `storage/` keeps, in memory: the mailbox with tickets, log and marks, the feed, the ledger."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from core.chat import codec
from core.chat.errors import Fenced, StoreUnavailable
from core.chat.interaction import Interaction, PromptMessage
from core.chat.message import Answered, Conversation, Message, Turn
from core.chat.ports import (
    Acceptance,
    Backlog,
    Change,
    Claim,
    Commit,
    FeedEvent,
    Heard,
    LogEntry,
    Mail,
    Signal,
)
from core.loop.feedback import Feedback, Verdict

SEEN_S = 24 * 3600.0
WRITER_LEASE_S = 30.0
# How soon a waiting `take` or `read` notices that the clock it was given has passed a lease.
_LOOK_S = 0.02


@dataclass(slots=True)
class _Owner:
    """Who holds a conversation that has mail; gone when the inbox is empty and finished."""

    ticket: str
    epoch: int = 0
    lease_until: float = 0.0
    began_at: float = 0.0
    begun: bool = False
    intent: str = ""
    stop: str = ""
    revised: str = ""
    withdrawn: str = ""
    committed: str = ""


@dataclass(slots=True)
class _Logged:
    text: str
    logged_at: float = 0.0
    kind: Literal["interaction", "feedback"] = "interaction"
    writer: str = ""
    read_at: float = 0.0


@dataclass(slots=True)
class _Room:
    """All that is kept of one conversation."""

    inbox: list[Message] = field(default_factory=list)
    history: list[Turn] = field(default_factory=list)
    owner: _Owner | None = None


class MemoryStore:
    """Mailbox, Tickets, Histories, LogStream, Marks, Depth and Verdicts. With `down` set all raise StoreUnavailable.

    Messages and turns pass through the codec, as they do on the way through the real store.
    """

    def __init__(self, lease_s: float = 15.0, inbox_limit: int = 20, clock: Callable[[], float] = time.time) -> None:
        self.down = False
        self.dead: list[tuple[LogEntry, str]] = []
        self._lease_s = lease_s
        self._inbox_limit = inbox_limit
        self._clock = clock
        self._rooms: dict[Conversation, _Room] = {}
        self._seen: dict[str, float] = {}
        self._answers: dict[str, tuple[str, ...]] = {}
        self._heard: dict[Conversation, float] = {}
        self._alive: dict[str, float] = {}
        self._posts: dict[tuple[str, str], Conversation] = {}
        self._shown: dict[tuple[str, str], str] = {}
        self._words: dict[tuple[Conversation, str, str], Feedback] = {}
        self._ready: dict[str, Conversation] = {}
        self._log: dict[str, _Logged] = {}
        self._count = 0
        self._changed = asyncio.Condition()
        self._listeners: list[asyncio.Queue[tuple[Conversation, Signal] | None]] = []

    async def aclose(self) -> None:
        """Nothing to close."""

    # ── mailbox ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, message: Message) -> Acceptance:
        self._check_up()
        if self._has_seen(message.id):
            return Acceptance.DUPLICATE
        room = self._rooms.setdefault(message.conversation, _Room())
        if len(room.inbox) >= self._inbox_limit:
            return Acceptance.FULL
        self._seen[message.id] = self._clock()
        self._insert(room, codec.load_message(codec.dump(message)))
        self._heard[message.conversation] = max(message.sent_at, self._heard.get(message.conversation, 0.0))
        if room.owner is None:
            room.owner = self._new_ticket(message.conversation)
        await self._wake()
        return Acceptance.ACCEPTED

    def _insert(self, room: _Room, message: Message) -> None:
        """By the platform's clock, but never before a message that a worker may have begun or shown."""
        first = 1 if room.owner is not None and (room.owner.epoch or room.owner.intent) else 0
        place = len(room.inbox)
        while place > first and room.inbox[place - 1].sent_at > message.sent_at:
            place -= 1
        room.inbox.insert(place, message)

    async def accepted(self, message: Message) -> bool:
        self._check_up()
        return self._has_seen(message.id)

    async def knows(self, conversation: Conversation) -> bool:
        self._check_up()
        return conversation in self._rooms

    async def conversation_of(self, platform: str, post_id: str) -> Conversation | None:
        self._check_up()
        return self._posts.get((platform, post_id))

    async def request_stop(self, conversation: Conversation) -> bool:
        self._check_up()
        room = self._rooms.get(conversation, _Room())
        if not room.inbox or room.owner is None:
            return False
        room.owner.stop = room.inbox[0].id
        self._tell(conversation, Signal.STOP)
        return True

    async def revise(self, message: Message) -> Change:
        self._check_up()
        room = self._rooms.get(message.conversation, _Room())
        place = _place(room, message.id)
        if place is None:
            return Change.LATE
        change = _change(room, place)
        old = room.inbox[place]
        if (old.text, old.kind) == (message.text, message.kind):
            return change
        room.inbox[place] = replace(old, text=message.text, kind=message.kind)
        if change is Change.ANSWERING and room.owner is not None:
            room.owner.revised = message.id
            self._tell(message.conversation, Signal.REVISED)
        return change

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        self._check_up()
        room = self._rooms.get(conversation, _Room())
        place = _place(room, message_id)
        if place is None:
            self._seen.setdefault(message_id, self._clock())
            return Change.LATE
        self._seen[message_id] = self._clock()
        change = _change(room, place)
        if change is Change.ANSWERING and room.owner is not None:
            room.owner.withdrawn = message_id
            self._tell(conversation, Signal.WITHDRAWN)
        else:
            room.inbox.pop(place)
        return change

    def _has_seen(self, message_id: str) -> bool:
        return self._seen.get(message_id, -SEEN_S) > self._clock() - SEEN_S

    def _tell(self, conversation: Conversation, signal: Signal) -> None:
        for listener in self._listeners:
            listener.put_nowait((conversation, signal))

    # ── tickets ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def take(self, worker: str, wait_s: float) -> Claim | None:
        deadline = time.monotonic() + wait_s
        while True:
            self._check_up()
            if claim := self._claim():
                return claim
            if not await self._wait(deadline):
                return None

    async def head(self, claim: Claim) -> Mail | None:
        room, owner = self._held(claim)
        if not room.inbox:
            return None
        message = room.inbox[0]
        owner.revised = ""
        return Mail(
            message,
            tuple(room.history),
            intended=owner.intent == message.id,
            stop_requested=owner.stop == message.id,
            withdrawn=owner.withdrawn == message.id,
        )

    async def renew(self, claim: Claim) -> Signal | None:
        room, owner = self._held(claim)
        owner.lease_until = self._clock() + self._lease_s
        noted = {Signal.WITHDRAWN: owner.withdrawn, Signal.STOP: owner.stop, Signal.REVISED: owner.revised}
        first = room.inbox[0].id if room.inbox else None
        return next((signal for signal, message_id in noted.items() if message_id == first), None)

    async def intend(self, claim: Claim, turn_id: str) -> None:
        self._held(claim)[1].intent = turn_id

    async def commit(self, claim: Claim, commit: Commit) -> bool:
        room, owner = self._held(claim)
        if owner.committed == commit.turn_id:
            return True
        if not room.inbox or room.inbox[0].id != commit.turn_id:
            raise Fenced(f"{commit.turn_id} is not the first waiting message of {claim.conversation}.")
        if owner.withdrawn == commit.turn_id and not commit.withdrawn:
            return False
        room.inbox.pop(0)
        del room.history[: len(room.history) if commit.clear else commit.drop]
        turns = [codec.load_turn(codec.dump(turn)) for turn in commit.append]
        if commit.place is None:
            room.history += turns
        elif commit.place < len(room.history):
            room.history[commit.place] = turns[0]
        if commit.interaction is not None:
            self._log[self._next_id()] = _Logged(codec.dump(commit.interaction), self._clock())
        for post in commit.posts:
            self._posts[claim.conversation.platform, post] = claim.conversation
            if commit.answered is not None:
                self._shown[claim.conversation.platform, post] = codec.dump(commit.answered)
        self._seen[commit.turn_id] = self._clock()
        self._answers[commit.turn_id] = commit.posts
        owner.committed, owner.begun = commit.turn_id, False
        owner.intent = owner.stop = owner.revised = owner.withdrawn = ""
        await self._wake()
        return True

    async def committed_posts(self, conversation: Conversation, turn_id: str) -> tuple[str, ...] | None:
        self._check_up()
        return self._answers.get(turn_id) if self._has_seen(turn_id) else None

    async def finish(self, claim: Claim) -> bool:
        self._check_up()
        room = self._rooms.setdefault(claim.conversation, _Room())
        if room.owner is None:
            return True
        self._held(claim)
        if room.inbox:
            return False
        del self._ready[claim.ticket]
        room.owner = None
        return True

    async def release(self, claim: Claim) -> None:
        self._check_up()
        owner = self._rooms.setdefault(claim.conversation, _Room()).owner
        if owner is None or (owner.ticket, owner.epoch) != (claim.ticket, claim.epoch):
            return
        del self._ready[owner.ticket]
        fresh = self._new_ticket(claim.conversation)
        owner.ticket, owner.began_at, owner.epoch, owner.lease_until = fresh.ticket, fresh.began_at, 0, 0.0
        await self._wake()

    async def signals(self) -> AsyncIterator[tuple[Conversation, Signal] | None]:
        queue: asyncio.Queue[tuple[Conversation, Signal] | None] = asyncio.Queue()
        queue.put_nowait(None)
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    # ── histories ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def turns(self, conversation: Conversation) -> tuple[Turn, ...]:
        self._check_up()
        room = self._rooms.get(conversation)
        return tuple(room.history) if room else ()

    # ── log stream ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self, writer: str, max_rows: int, wait_s: float) -> list[LogEntry]:
        deadline = time.monotonic() + wait_s
        while True:
            self._check_up()
            now = self._clock()
            free = [
                (id_, row) for id_, row in self._log.items() if not row.writer or now - row.read_at > WRITER_LEASE_S
            ]
            for _, row in free[:max_rows]:
                row.writer, row.read_at = writer, now
            if free or not await self._wait(deadline):
                return [LogEntry(id_, row.text, row.kind) for id_, row in free[:max_rows]]

    async def done(self, ids: Sequence[str]) -> None:
        self._check_up()
        for id_ in ids:
            self._log.pop(id_, None)

    async def bury(self, entry: LogEntry, reason: str) -> None:
        self._check_up()
        self.dead.append((entry, reason))
        await self.done([entry.id])

    # ── verdicts ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def answer_of(self, platform: str, post_id: str) -> Answered | None:
        self._check_up()
        shown = self._shown.get((platform, post_id))
        return codec.load_answered(shown) if shown else None

    async def tell(self, feedback: Feedback) -> None:
        self._check_up()
        key = (feedback.conversation, feedback.turn_id, feedback.person_id)
        last = self._words.get(key)
        if last is not None and last.id == feedback.id:
            return
        self._log[self._next_id()] = _Logged(codec.dump(feedback), self._clock(), "feedback")
        if last is None or (last.at, last.id) < (feedback.at, feedback.id):
            self._words[key] = feedback
        await self._wake()

    async def verdicts(self, conversation: Conversation, person_id: str) -> dict[str, Verdict]:
        self._check_up()
        said = [each for (where, _, who), each in self._words.items() if (where, who) == (conversation, person_id)]
        return {each.turn_id: each.verdict for each in said if each.verdict is not Verdict.TAKEN_BACK}

    # ── marks and depth ─────────────────────────────────────────────────────────────────────────────────────────────

    async def alive(self, gateway: str) -> float | None:
        self._check_up()
        return self._alive.get(gateway)

    async def mark_alive(self, gateway: str, at: float) -> None:
        self._check_up()
        self._alive[gateway] = max(at, self._alive.get(gateway, at))

    async def heard_since(self, platform: str, since: float, limit: int) -> list[Heard]:
        self._check_up()
        here = [Heard(where, sent_at) for where, sent_at in self._heard.items() if where.platform == platform]
        newest = sorted(here, key=lambda heard: heard.sent_at, reverse=True)
        return [heard for heard in newest if heard.sent_at > since][:limit]

    async def backlog(self) -> Backlog:
        self._check_up()
        now = self._clock()
        owners = [room.owner for room in self._rooms.values() if room.owner is not None]
        waits_s = max((now - owner.began_at for owner in owners), default=0.0)
        unlogged_s = max((now - row.logged_at for row in self._log.values()), default=0.0)
        return Backlog(len(owners), waits_s, len(self._log), unlogged_s, len(self.dead))

    # ── within ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("The memory store was told to be down.")

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._count}-0"

    def _new_ticket(self, conversation: Conversation) -> _Owner:
        ticket = self._next_id()
        self._ready[ticket] = conversation
        return _Owner(ticket, began_at=self._clock())

    def _claim(self) -> Claim | None:
        now = self._clock()
        for ticket, conversation in self._ready.items():
            owner = self._rooms[conversation].owner
            if owner is not None and owner.lease_until <= now:
                taken_over = bool(owner.epoch or owner.begun)
                self._count += 1
                owner.epoch, owner.lease_until, owner.begun = self._count, now + self._lease_s, True
                return Claim(conversation, ticket, owner.epoch, taken_over=taken_over)
        return None

    def _held(self, claim: Claim) -> tuple[_Room, _Owner]:
        self._check_up()
        room = self._rooms.get(claim.conversation)
        owner = room.owner if room else None
        if room is None or owner is None or (owner.ticket, owner.epoch) != (claim.ticket, claim.epoch):
            raise Fenced(f"Another worker holds {claim.conversation} now.")
        return room, owner

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, deadline: float) -> bool:
        """Until something changed or a lease may have ended; False when the deadline has passed."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        try:
            async with asyncio.timeout(min(left, _LOOK_S)), self._changed:
                await self._changed.wait()
        except TimeoutError:
            pass
        return True


def _place(room: _Room, message_id: str) -> int | None:
    return next((place for place, message in enumerate(room.inbox) if message.id == message_id), None)


def _change(room: _Room, place: int) -> Change:
    """Whether somebody may have begun the message at `place`."""
    owner = room.owner
    begun = owner is not None and (owner.epoch > 0 or owner.intent == room.inbox[place].id)
    return Change.ANSWERING if place == 0 and begun else Change.WAITING


class MemoryFeed:
    """Feed: keeps all events, for as many readers as come."""

    def __init__(self) -> None:
        self.kept: dict[Conversation, list[FeedEvent]] = {}
        self._changed = asyncio.Condition()

    async def aclose(self) -> None:
        """Nothing to close."""

    async def publish(self, conversation: Conversation, event: FeedEvent) -> None:
        events = self.kept.setdefault(conversation, [])
        events.append(replace(event, id=f"{len(events) + 1}-0"))
        async with self._changed:
            self._changed.notify_all()

    async def latest(self, conversation: Conversation) -> str:
        events = self.kept.get(conversation)
        return events[-1].id if events else "0"

    async def events(self, conversation: Conversation, after: str) -> AsyncIterator[FeedEvent]:
        position = int(after.partition("-")[0])
        while True:
            events = self.kept.get(conversation, [])
            if position < len(events):
                position += 1
                yield events[position - 1]
                continue
            async with self._changed:
                if len(self.kept.get(conversation, [])) <= position:
                    await self._changed.wait()


class MemoryLedger:
    """Ledger: rows by (day, turn id), oldest first. With `down` set every method raises StoreUnavailable."""

    def __init__(self) -> None:
        self.down = False
        self.rows: dict[tuple[str, str], Interaction] = {}
        self.feedback: dict[tuple[str, str, str], Feedback] = {}
        self.erased: list[str] = []

    async def aclose(self) -> None:
        """Nothing to close."""

    async def record(self, interactions: Sequence[Interaction]) -> None:
        self._check_up()
        for interaction in interactions:
            self.rows.setdefault((interaction.day.isoformat(), interaction.turn_id), interaction)

    async def record_feedback(self, said: Sequence[Feedback]) -> None:
        self._check_up()
        for each in said:
            self.feedback.setdefault((each.day.isoformat(), each.turn_id, each.id), each)

    async def feedback_on(self, turn_id: str) -> list[Feedback]:
        self._check_up()
        return sorted((each for each in self.feedback.values() if each.turn_id == turn_id), key=lambda each: each.at)

    async def find(self, turn_id: str) -> Interaction | None:
        self._check_up()
        return next((row for row in self.rows.values() if row.turn_id == turn_id), None)

    async def of_conversation(self, conversation: Conversation, limit: int) -> list[Interaction]:
        self._check_up()
        rows = [row for row in self.rows.values() if row.conversation == conversation]
        return sorted(rows, key=lambda row: row.sent_at, reverse=True)[:limit]

    async def erase_person(self, platform: str, workspace: str, person_id: str) -> int:
        self._check_up()
        if not person_id:
            return 0
        touched = 0
        own = {row.turn_id for row in self.rows.values() if row.person_id == person_id}
        for name, said in list(self.feedback.items()):
            if said.turn_id in own or said.person_id == person_id:
                del self.feedback[name]
        for key, row in list(self.rows.items()):
            if (row.conversation.platform, row.conversation.workspace) != (platform, workspace):
                continue
            if row.person_id == person_id:
                del self.rows[key]
                touched += 1
            elif any(message.person_id == person_id for message in row.messages):
                self.rows[key] = replace(row, messages=_without(row.messages, person_id))
                touched += 1
        self.erased.append(hashlib.sha256(person_id.encode()).hexdigest())
        return touched

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("The memory ledger was told to be down.")


def _without(messages: Sequence[PromptMessage], person_id: str) -> tuple[PromptMessage, ...]:
    return tuple(replace(m, content="[erased]", person_id="") if m.person_id == person_id else m for m in messages)
