"""Working fakes of everything in `storage/`: the mailbox with its tickets and log, the feed, the ledger, in memory."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from core.chat import codec
from core.chat.errors import Fenced, StoreUnavailable
from core.chat.interaction import Interaction, PromptMessage
from core.chat.message import Conversation, Message, Turn
from core.chat.ports import Acceptance, Claim, Commit, FeedEvent, LogEntry, Mail

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
    intent: str = ""
    stop: str = ""
    committed: str = ""


@dataclass(slots=True)
class _Logged:
    text: str
    writer: str = ""
    read_at: float = 0.0


@dataclass(slots=True)
class _Room:
    """All that is kept of one conversation."""

    inbox: list[Message] = field(default_factory=list)
    history: list[Turn] = field(default_factory=list)
    owner: _Owner | None = None


class MemoryStore:
    """Mailbox, Tickets, Histories and LogStream. With `down` set every method raises StoreUnavailable.

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
        self._posts: dict[tuple[str, str], Conversation] = {}
        self._ready: dict[str, Conversation] = {}
        self._log: dict[str, _Logged] = {}
        self._count = 0
        self._changed = asyncio.Condition()
        self._listeners: list[asyncio.Queue[Conversation]] = []

    async def aclose(self) -> None:
        """Nothing to close."""

    # ── mailbox ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, message: Message) -> Acceptance:
        self._check_up()
        if self._seen.get(message.id, -SEEN_S) > self._clock() - SEEN_S:
            return Acceptance.DUPLICATE
        room = self._rooms.setdefault(message.conversation, _Room())
        if len(room.inbox) >= self._inbox_limit:
            return Acceptance.FULL
        self._seen[message.id] = self._clock()
        self._insert(room, codec.load_message(codec.dump(message)))
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
        for listener in self._listeners:
            listener.put_nowait(conversation)
        return True

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
        stop = owner.stop == message.id
        return Mail(message, tuple(room.history), intended=owner.intent == message.id, stop_requested=stop)

    async def renew(self, claim: Claim) -> bool:
        room, owner = self._held(claim)
        owner.lease_until = self._clock() + self._lease_s
        return bool(room.inbox) and owner.stop == room.inbox[0].id

    async def intend(self, claim: Claim, turn_id: str) -> None:
        self._held(claim)[1].intent = turn_id

    async def commit(self, claim: Claim, commit: Commit) -> None:
        room, owner = self._held(claim)
        if owner.committed == commit.turn_id:
            return
        if not room.inbox or room.inbox[0].id != commit.turn_id:
            raise Fenced(f"{commit.turn_id} is not the first waiting message of {claim.conversation}.")
        room.inbox.pop(0)
        del room.history[: len(room.history) if commit.clear else commit.drop]
        room.history += [codec.load_turn(codec.dump(turn)) for turn in commit.append]
        if commit.interaction is not None:
            self._log[self._next_id()] = _Logged(codec.dump(commit.interaction))
        for post in commit.posts:
            self._posts[claim.conversation.platform, post] = claim.conversation
        owner.committed, owner.intent, owner.stop = commit.turn_id, "", ""
        await self._wake()

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
        owner.ticket, owner.epoch, owner.lease_until = fresh.ticket, 0, 0.0
        await self._wake()

    async def stops(self) -> AsyncIterator[Conversation]:
        queue: asyncio.Queue[Conversation] = asyncio.Queue()
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
                return [LogEntry(id_, row.text) for id_, row in free[:max_rows]]

    async def done(self, ids: Sequence[str]) -> None:
        self._check_up()
        for id_ in ids:
            self._log.pop(id_, None)

    async def bury(self, entry: LogEntry, reason: str) -> None:
        self._check_up()
        self.dead.append((entry, reason))
        await self.done([entry.id])

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
        return _Owner(ticket)

    def _claim(self) -> Claim | None:
        now = self._clock()
        for ticket, conversation in self._ready.items():
            owner = self._rooms[conversation].owner
            if owner is not None and owner.lease_until <= now:
                self._count += 1
                owner.epoch, owner.lease_until = self._count, now + self._lease_s
                return Claim(conversation, ticket, owner.epoch)
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
        self.erased: list[str] = []

    async def aclose(self) -> None:
        """Nothing to close."""

    async def record(self, interactions: Sequence[Interaction]) -> None:
        self._check_up()
        for interaction in interactions:
            self.rows.setdefault((interaction.day.isoformat(), interaction.turn_id), interaction)

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
