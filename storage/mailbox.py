"""The mailbox in Redis: inbox, tickets and history of each conversation, changed only by the scripts."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import structlog
from redis.asyncio import RedisCluster

from core.chat import codec
from core.chat.errors import BadConversationId, BadEntry, StoreUnavailable
from core.chat.message import Conversation, Message, Turn
from core.chat.ports import Acceptance, Change, Claim, Commit, Mail, Signal
from storage import items
from storage.connections import Client, ask, hear
from storage.keys import WORKERS, Keys
from storage.script import Script
from storage.tickets import TicketDesk

_log = structlog.get_logger(__name__)

SEEN_S = 24 * 3600
HISTORY_S = 30 * 24 * 3600
# Of each shard and platform, the conversations in which a backfill looks for what was missed: some platforms tell a bot
# of no direct messages but by their events, and people come back after days.
HEARD_S = 7 * 24 * 3600
HEARD_MAX = 10_000


class RedisMailbox:
    """Mailbox, Tickets and Histories of `core.chat.ports`; `open` it before use, `aclose` it after.

    `lease_s` is how long a worker may be silent before another takes over, `inbox_limit` how many messages of one
    conversation may wait, `history_ttl_s` how long a history is kept after its last turn. With `replicas`
    `accept`, `intend` and `commit` return only when that many replicas have the write, so that a fail-over to one of
    them loses none. The mailbox does not close the clients. Every method raises StoreUnavailable.
    """

    def __init__(
        self,
        client: Client,
        blocking_client: Client,
        *,
        prefix: str = "parley",
        shards: int = 1,
        lease_s: float = 15.0,
        inbox_limit: int = 20,
        history_ttl_s: float = HISTORY_S,
        replicas: int = 0,
    ) -> None:
        self._client = client
        self._blocking = blocking_client
        self._keys = Keys(prefix, shards)
        self._inbox_limit = inbox_limit
        self._history_s = max(1, int(history_ttl_s))
        self._desk = TicketDesk(client, blocking_client, self._keys, lease_s, self._give_back)
        self._accept = Script(client, "accept", replicas)
        self._head = Script(client, "head")
        self._renew = Script(client, "renew")
        self._intend = Script(client, "intend", replicas)
        self._commit = Script(client, "commit", replicas)
        self._finish = Script(client, "finish")
        self._release = Script(client, "release")
        self._request_stop = Script(client, "request_stop")
        self._revise = Script(client, "revise")
        self._withdraw = Script(client, "withdraw")
        self._set_aside = Script(client, "set_aside")

    async def open(self) -> None:
        """Fixes the number of shards at the first start, and creates the group of workers.

        Raises:
            StoreUnavailable: the mailbox was made with another number of shards.
        """
        await ask(self._client.set(self._keys.shard_count, self._keys.shards, nx=True))
        stored = await ask(self._client.get(self._keys.shard_count))
        if int(stored) != self._keys.shards:
            raise StoreUnavailable(
                f"The mailbox in REDIS_URL was made with {stored} shards and this start asks for {self._keys.shards}: "
                f"set MAILBOX_SHARDS={stored}, or name a Redis that is empty."
            )
        await self._desk.create_groups()

    async def aclose(self) -> None:
        """Ends the reads under way and gives back what they bring."""
        await self._desk.aclose()

    # ── mailbox ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def accept(self, message: Message) -> Acceptance:
        """See `Mailbox.accept`. On disk at return if the server runs with appendfsync always."""
        conversation = message.conversation
        keys = [
            self._keys.seen(conversation, message.id),
            *self._of(conversation, "inbox", "owner"),
            self._keys.beside(conversation, "ready"),
            self._keys.of(conversation, "known"),
            self._keys.heard(self._keys.shard(conversation), conversation.platform),
        ]
        args: list[str | int | float] = [uuid.uuid4().hex, SEEN_S, self._inbox_limit, items.written(message)]
        args += [str(conversation), self._history_s, message.sent_at, HEARD_S, HEARD_MAX]
        return Acceptance(await self._accept(keys, args))

    async def accepted(self, message: Message) -> bool:
        """See `Mailbox.accepted`. True as well for one that was deleted before it came."""
        return bool(await ask(self._client.exists(self._keys.seen(message.conversation, message.id))))

    async def knows(self, conversation: Conversation) -> bool:
        """See `Mailbox.knows`."""
        return bool(await ask(self._client.exists(self._keys.of(conversation, "known"))))

    async def conversation_of(self, platform: str, post_id: str) -> Conversation | None:
        """See `Mailbox.conversation_of`; forgotten with the history."""
        found = await ask(self._client.get(self._keys.post(platform, post_id)))
        return Conversation.parse(found) if found else None

    async def request_stop(self, conversation: Conversation) -> bool:
        """See `Mailbox.request_stop`."""
        args = [self._keys.stops, str(conversation)]
        return bool(await self._request_stop(self._of(conversation, "owner", "inbox"), args))

    async def revise(self, message: Message) -> Change:
        """See `Mailbox.revise`. With the text it has already, nothing starts anew."""
        keys = self._of(message.conversation, "inbox", "owner")
        waiting = await ask(self._client.lrange(keys[0], 0, -1))
        item = next((each for each in waiting if items.parts(each)[0] == message.id), None)
        if item is None:
            return Change.LATE
        told = [self._keys.signals, f"{Signal.REVISED} {message.conversation}"]
        return Change(await self._revise(keys, [message.id, items.revised(item, message), *told]))

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        """See `Mailbox.withdraw`; a message that was not accepted yet is barred for a day."""
        keys = [self._keys.seen(conversation, message_id), *self._of(conversation, "inbox", "owner")]
        told = [self._keys.signals, f"{Signal.WITHDRAWN} {conversation}"]
        return Change(await self._withdraw(keys, [uuid.uuid4().hex, SEEN_S, message_id, *told]))

    # ── tickets ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def take(self, worker: str, wait_s: float) -> Claim | None:
        """See `Tickets.take`. A cancelled `take` gives back what it was handed."""
        return await self._desk.take(worker, wait_s)

    async def head(self, claim: Claim) -> Mail | None:
        """See `Tickets.head`. A message that this version cannot read is set aside as a dead letter."""
        keys = self._of(claim.conversation, "owner", "inbox", "history")
        while True:
            found = await self._head(keys, [claim.epoch])
            try:
                return items.mail_of(claim.conversation, found)
            except BadEntry as error:
                _log.error("message_set_aside", conversation=str(claim.conversation), reason=str(error))
                await self._set_it_aside(claim, found[0])

    async def _set_it_aside(self, claim: Claim, item: str) -> None:
        keys = [*self._of(claim.conversation, "owner", "inbox"), self._keys.beside(claim.conversation, "inbox-dead")]
        await self._set_aside(keys, [claim.epoch, item, str(claim.conversation)])

    async def renew(self, claim: Claim) -> Signal | None:
        """See `Tickets.renew`. A stop weighs more than an edit: what was said is kept."""
        keys = [*self._of(claim.conversation, "owner", "inbox"), self._keys.beside(claim.conversation, "ready")]
        signal = await self._renew(keys, [claim.epoch, WORKERS, claim.ticket])
        return Signal(signal) if signal else None

    async def intend(self, claim: Claim, turn_id: str) -> None:
        """See `Tickets.intend`."""
        await self._intend(self._of(claim.conversation, "owner"), [claim.epoch, turn_id])

    async def commit(self, claim: Claim, commit: Commit) -> bool:
        """See `Tickets.commit`. The same turn again under the same claim changes nothing, and is True again."""
        conversation = claim.conversation
        posts = [self._keys.post(conversation.platform, post) for post in commit.posts]
        answers = [self._keys.answer(conversation.platform, post) for post in commit.posts]
        answer = codec.dump(commit.answered) if commit.answered else ""
        if isinstance(self._client, RedisCluster):
            # They lie in other slots. Before the script, for a commit that is refused leaves nothing wrong behind.
            await self._lead_back({post: str(conversation) for post in posts})
            await self._lead_back({key: answer for key in answers if answer})
            posts, answers = [], []
        keys = [
            *self._of(conversation, "owner", "inbox", "history"),
            self._keys.beside(conversation, "log"),
            self._keys.of(conversation, "known"),
            self._keys.seen(conversation, commit.turn_id),
            *posts,
            *answers,
        ]
        args: list[str | int | float] = [claim.epoch, commit.turn_id, -1 if commit.clear else commit.drop]
        args += [self._history_s, codec.dump(commit.interaction) if commit.interaction else ""]
        args += [int(commit.withdrawn), json.dumps(commit.posts), SEEN_S, str(conversation)]
        args += [answer, -1 if commit.place is None else commit.place]
        return bool(await self._commit(keys, [*args, *(codec.dump(turn) for turn in commit.append)]))

    async def _lead_back(self, values: dict[str, str]) -> None:
        sets = [self._client.set(key, value, ex=self._history_s) for key, value in values.items()]
        await asyncio.gather(*(ask(each) for each in sets))

    async def committed_posts(self, conversation: Conversation, turn_id: str) -> tuple[str, ...] | None:
        """See `Tickets.committed_posts`; known for a day after the commit."""
        seen = await ask(self._client.get(self._keys.seen(conversation, turn_id)))
        _, _, posts = (seen or "").partition("\nposts ")
        return tuple(json.loads(posts)) if posts else None

    async def finish(self, claim: Claim) -> bool:
        """See `Tickets.finish`. True as well when the conversation is finished already."""
        keys = [*self._of(claim.conversation, "owner", "inbox"), self._keys.beside(claim.conversation, "ready")]
        return bool(await self._finish(keys, [claim.epoch, WORKERS, claim.ticket]))

    async def release(self, claim: Claim) -> None:
        """See `Tickets.release`."""
        await self._hand_back(claim, untouched=False)

    async def _give_back(self, claim: Claim) -> None:
        """As `release`, for a claim that reached no worker: whoever takes it next takes nothing over."""
        await self._hand_back(claim, untouched=not claim.taken_over)

    async def _hand_back(self, claim: Claim, *, untouched: bool) -> None:
        keys = [self._keys.of(claim.conversation, "owner"), self._keys.beside(claim.conversation, "ready")]
        await self._release(keys, [claim.epoch, WORKERS, claim.ticket, str(claim.conversation), int(untouched)])

    async def signals(self) -> AsyncIterator[tuple[Conversation, Signal] | None]:
        """See `Tickets.signals`. Never raises for a lost connection: it connects anew."""
        async for heard in hear(self._blocking, self._keys.stops, self._keys.signals):
            if heard is None:
                yield None
            elif (signal := self._signal(*heard)) is not None:
                yield signal

    def _signal(self, channel: str, text: str) -> tuple[Conversation, Signal] | None:
        name, _, conversation_id = text.partition(" ")
        if channel == self._keys.stops:
            name, conversation_id = Signal.STOP, text
        try:
            return Conversation.parse(conversation_id), Signal(name)
        except (BadConversationId, ValueError):
            _log.warning("signal_not_known", signal=name)  # a newer Parley runs beside this one
            return None

    # ── histories ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def turns(self, conversation: Conversation) -> tuple[Turn, ...]:
        """See `Histories.turns`. Raises BadEntry for a turn that this version cannot read."""
        history = await ask(self._client.lrange(self._keys.of(conversation, "history"), 0, -1))
        return tuple(codec.load_turn(turn) for turn in history)

    def _of(self, conversation: Conversation, *kinds: str) -> list[str]:
        return [self._keys.of(conversation, kind) for kind in kinds]
