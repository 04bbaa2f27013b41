"""What core needs from outside, as small Protocols: a mailbox, a ledger, a model host, a courier per platform."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from core.chat.interaction import Interaction, PromptMessage, Sampling
from core.chat.message import Answered, Conversation, Message, Outcome, Turn
from core.loop.feedback import Feedback

# ── the mailbox, seen by those who receive ──────────────────────────────────────────────────────────────────────────


class Acceptance(StrEnum):
    """What the mailbox did with a message."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    FULL = "full"


class Change(StrEnum):
    """Where an edit or a deletion met its message."""

    WAITING = "waiting"  # nobody had begun it: it is changed, or gone
    ANSWERING = "answering"  # its answer is under way, and the worker is told
    LATE = "late"  # it is answered already, or was never for us: nothing changes


class Mailbox(Protocol):
    """Takes messages durably. Every method raises StoreUnavailable when nothing was written."""

    async def accept(self, message: Message) -> Acceptance:
        """Keeps `message` in its conversation's inbox, once; on return it is on disk."""

    async def knows(self, conversation: Conversation) -> bool:
        """Whether the bot already takes part in `conversation` (a message was accepted, and it has not expired)."""

    async def conversation_of(self, platform: str, post_id: str) -> Conversation | None:
        """The conversation in which the bot made the post `post_id` (as returned by `Draft.close`)."""

    async def accepted(self, message: Message) -> bool:
        """Whether `message` was accepted before (within the time for which duplicates are known)."""

    async def request_stop(self, conversation: Conversation) -> bool:
        """Asks whoever answers the first waiting message to stop; False when nothing waits."""

    async def revise(self, message: Message) -> Change:
        """Gives the accepted message of the same id the text and kind of `message`; an answer under way starts anew."""

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        """Takes a deleted message back; an answer under way ends and is removed.

        A message that was not accepted yet will not be: its deletion may overtake it.
        """


@dataclass(frozen=True, slots=True)
class Heard:
    """A conversation and when the last message that was accepted there was sent: its watermark."""

    conversation: Conversation
    sent_at: float


class Marks(Protocol):
    """Until when a gateway surely heard everything, for the backfill of what it missed. Raises StoreUnavailable."""

    async def alive(self, gateway: str) -> float | None:
        """Unix seconds until which `gateway` ("slack:T1", "discord") surely heard all; None at its first start."""

    async def mark_alive(self, gateway: str, at: float) -> None:
        """Moves the mark of `gateway` forward to `at`; never back."""

    async def heard_since(self, platform: str, since: float, limit: int) -> list[Heard]:
        """The conversations of `platform` in which something was accepted after `since`, the newest first."""


# ── the mailbox, seen by those who answer ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Mail:
    """The first waiting message of a claimed conversation.

    `intended` says that an earlier attempt at this message may already have posted something visible; `withdrawn` that
    its person has deleted it meanwhile.
    """

    message: Message
    history: tuple[Turn, ...]
    intended: bool
    stop_requested: bool
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on one conversation; `epoch` is the fencing token.

    `taken_over` says that another worker held it before and let its lease run out. `first` is the mail that was found
    with it, as `Tickets.head` gives it, where that was known already; what befell it since then comes with `renew`.
    """

    conversation: Conversation
    ticket: str
    epoch: int
    taken_over: bool = False
    first: Mail | None = field(default=None, compare=False, repr=False)


class Signal(StrEnum):
    """What people did to a message while it was being answered."""

    STOP = "stop"
    REVISED = "revised"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Commit:
    """What one answered message changes, in one step.

    First `drop` of the oldest turns go (all of them with `clear`), then `append` is added. `posts` are the platform's
    ids of what was posted, by which a later reply or reaction finds the conversation, and with `answered` the answer.
    `withdrawn` says that the message was deleted and its answer taken back. With `place` the one turn of `append` takes
    the place of the turn that stands there, counted from the oldest; nothing when the history is gone meanwhile.
    """

    turn_id: str
    append: tuple[Turn, ...] = ()
    drop: int = 0
    clear: bool = False
    interaction: Interaction | None = None
    posts: tuple[str, ...] = ()
    withdrawn: bool = False
    answered: Answered | None = None
    place: int | None = None


class Tickets(Protocol):
    """Gives conversations with mail to workers, each to one at a time.

    `head`, `renew`, `intend`, `commit` and `finish` raise Fenced when the claim's epoch is over.
    """

    async def take(self, worker: str, wait_s: float) -> Claim | None:
        """Claims a conversation that has mail, or one whose worker let its lease run out; None after `wait_s`."""

    async def head(self, claim: Claim) -> Mail | None:
        """The first waiting message with the history, or None when the inbox is empty."""

    async def renew(self, claim: Claim) -> Signal | None:
        """Extends the lease; returns what befell the first waiting message since `head`, the gravest if several."""

    async def intend(self, claim: Claim, turn_id: str) -> None:
        """Notes, durably, that the answer `turn_id` is about to become visible."""

    async def commit(self, claim: Claim, commit: Commit) -> bool:
        """Takes the first message out of the inbox, changes the history, adds the log entry: all or nothing.

        False, and nothing, when the message was withdrawn meanwhile and `commit` does not know of it.
        """

    async def committed_posts(self, conversation: Conversation, turn_id: str) -> tuple[str, ...] | None:
        """The posts of the answer that was committed; None while none was (or it is too long ago)."""

    async def finish(self, claim: Claim) -> bool:
        """Gives the conversation back when its inbox is empty; False when mail came meanwhile."""

    async def release(self, claim: Claim) -> None:
        """Gives the conversation back with its mail, for the next worker to take at once. Never raises Fenced."""

    def signals(self) -> AsyncIterator[tuple[Conversation, Signal] | None]:
        """What befalls messages that are being answered, as it happens; None when some may have been missed."""


class Histories(Protocol):
    """Reads what is remembered of a conversation."""

    async def turns(self, conversation: Conversation) -> tuple[Turn, ...]:
        """All turns, oldest first; empty when unknown or expired."""


# ── the feed: how web pages and terminals see a draft grow ──────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One step of a conversation as its page sees it.

    kind `said`: a message was accepted (`text` is the question). `growing`: `text` is the whole answer so far.
    `closed`: `text` is the final answer and `outcome` says how it ended. `again`: another answer was asked for, and
    `kept`: there is none, the one that was there stays, `text` says why. `notice`: a line from the bot outside an
    answer. `removed`: the question was taken back, and its answer with it. `reset`: the history was forgotten. `id`
    grows with each event and resumes a broken stream.
    """

    kind: str
    turn_id: str
    text: str = ""
    outcome: str = ""
    id: str = ""


class Feed(Protocol):
    """A short, resumable stream of events per conversation."""

    async def publish(self, conversation: Conversation, event: FeedEvent) -> None:
        """Appends `event`."""

    async def latest(self, conversation: Conversation) -> str:
        """The id of the newest event, "0" when there is none: where to begin to read."""

    def events(self, conversation: Conversation, after: str) -> AsyncIterator[FeedEvent]:
        """All events after the id `after`, then each new one; never ends by itself."""


# ── the log ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry of the log stream: its id there, the raw text that `codec.dump` wrote, and what it holds."""

    id: str
    text: str
    kind: Literal["interaction", "feedback"] = "interaction"


class LogStream(Protocol):
    """The way from the mailbox to the ledger; an entry stays until it is `done`."""

    async def read(self, writer: str, max_rows: int, wait_s: float) -> list[LogEntry]:
        """Up to `max_rows` entries for `writer`, those of dead writers included; empty after `wait_s`."""

    async def done(self, ids: Sequence[str]) -> None:
        """Removes entries that are in the ledger."""

    async def bury(self, entry: LogEntry, reason: str) -> None:
        """Moves an entry that no ledger can take to the dead letters, where an operator finds it."""


class Ledger(Protocol):
    """The log of interactions in SQL. Raises StoreUnavailable when the database cannot be reached."""

    async def record(self, interactions: Sequence[Interaction]) -> None:
        """Writes all or none; the same turn again changes nothing."""

    async def record_feedback(self, said: Sequence[Feedback]) -> None:
        """Writes all or none; the same feedback again changes nothing. It may come before the row of its turn."""

    async def feedback_on(self, turn_id: str) -> list[Feedback]:
        """All that was said of the answer `turn_id`, oldest first; `core.loop.feedback.last_words` says what counts."""

    async def find(self, turn_id: str) -> Interaction | None:
        """One interaction by its turn id."""

    async def of_conversation(self, conversation: Conversation, limit: int) -> list[Interaction]:
        """The newest interactions of a conversation, newest first."""

    async def erase_person(self, platform: str, workspace: str, person_id: str) -> int:
        """Removes what `person_id` said and was told, and their words in others' prompts; returns rows touched."""


# ── the model host ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a host says of its model.

    `context_tokens` bounds prompt and answer together. Each prompt message costs `message_overhead_tokens` beside its
    text, each prompt `prompt_overhead_tokens` once. `exact` is false where counts are upper bounds.
    """

    id: str
    version: str
    context_tokens: int
    message_overhead_tokens: int
    prompt_overhead_tokens: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The proper end of an answer: `reason` is `stop` or `length`. Token counts are None where none were reported."""

    reason: str
    prompt_tokens: int | None
    completion_tokens: int | None


class ModelHost(Protocol):
    """Answers prompts. All methods raise the HostError family."""

    async def describe(self) -> ModelInfo:
        """The model behind the host; may be cached for some seconds."""

    async def count_tokens(self, text: str) -> int:
        """Tokens of `text` without special tokens; an upper bound where `ModelInfo.exact` is false."""

    def stream(
        self, messages: Sequence[PromptMessage], sampling: Sampling, session: str, trace: str = ""
    ) -> AsyncIterator[ModelInfo | Piece | Finish]:
        """The answer piece by piece, then exactly one Finish.

        A host that knows better than `describe` which model answers yields its ModelInfo before the first piece: of
        several hosts, one may already serve the next version. Closing the iterator early frees the host's slot.
        `session` keeps a conversation on one host's prefix cache, `trace` is the W3C `traceparent` to pass on.
        """


# ── platforms ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Draft(Protocol):
    """One answer as it grows on a platform. Texts are Markdown and always the whole answer so far.

    Raises DeliveryFailed. Core calls one method at a time, and `show` at most once in `pace_s` seconds.
    """

    pace_s: float

    async def begin(self) -> None:
        """Shows that an answer is on its way (typing, status). Best effort: never raises."""

    async def show(self, text: str) -> None:
        """Makes `text` visible; a draft that cannot grow waits for `close`."""

    async def close(self, text: str, outcome: Outcome) -> tuple[str, ...]:
        """Makes the final text visible and ends the indicator; returns the ids of the posts, oldest first.

        An empty text takes back whatever this attempt or an earlier one posted, and returns no ids.
        """

    async def leave(self) -> tuple[str, ...]:
        """Ends the indicator without a word: another attempt goes on. Best effort: never raises.

        Returns the ids of the posts that this draft made or went on in, as far as it can know.
        """


class Poster(Protocol):
    """The posts that answer one message, on a platform where posts are made and edited.

    `core.chat.growing.GrowingPosts` makes a Draft of it. Raises DeliveryFailed.
    """

    async def indicate(self, *, on: bool) -> None:
        """Shows or ends "is typing". Best effort: never raises."""

    async def earlier(self) -> tuple[str, ...]:
        """The ids of posts that an earlier attempt at the same message made, oldest first."""

    async def post(self, text: str, part: int) -> str:
        """Posts part number `part` (from 0) of the answer; returns the post's id.

        Where the platform has an idempotency key it is made from the message and `part`.
        """

    async def edit(self, post_id: str, text: str) -> None:
        """Replaces the text of a post."""

    async def remove(self, post_id: str) -> None:
        """Removes a post of ours."""


class Courier(Protocol):
    """Posts to one platform. Runs in the worker; needs no gateway."""

    platform: str

    def draft(self, message: Message, *, resumed: bool) -> Draft:
        """A draft that answers `message`.

        With `resumed` an earlier attempt may have posted for the same message: the draft looks for that post on the
        platform first and goes on in it rather than post twice.
        """

    async def notice(self, message: Message, text: str) -> None:
        """A line outside any answer, such as "busy". Raises DeliveryFailed."""

    async def retract(self, message: Message, posts: Sequence[str]) -> None:
        """Removes posts of ours that answered `message`; one that is gone is as good. Raises DeliveryFailed."""


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket, full at first; `per_s` a second refill it up to `burst`. All processes know it by `name`."""

    name: str
    per_s: float
    burst: float


class Buckets(Protocol):
    """Token buckets that all processes share. Raises StoreUnavailable."""

    async def spend(self, wants: Sequence[tuple[Bucket, float]]) -> float:
        """Takes each amount out of its bucket, from all or from none.

        Returns 0.0 when taken, else the seconds after which it is worth another try. An amount of 0 asks only that
        the bucket is not overdrawn.
        """

    async def charge(self, wants: Sequence[tuple[Bucket, float]]) -> None:
        """Takes the amounts whatever is left: a bucket may be overdrawn. A negative amount gives back."""

    async def hold(self, bucket: Bucket, wait_s: float) -> None:
        """Nothing can be spent of `bucket` for `wait_s` seconds: the platform said so."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What has not come to its end yet; ages in seconds, of the oldest.

    `conversations` have mail (being answered or waiting for a worker), `unlogged` entries are not in the ledger yet,
    `dead` ones could not be read or recorded and wait for an operator.
    """

    conversations: int
    oldest_s: float
    unlogged: int
    unlogged_s: float
    dead: int


class Depth(Protocol):
    """How much waits, for whoever watches."""

    async def backlog(self) -> Backlog:
        """Over all shards. Raises StoreUnavailable."""


# ── what is seen from outside ───────────────────────────────────────────────────────────────────────────────────────


class Meter(Protocol):
    """Counts what happens, for whoever watches. Never raises, never waits."""

    def received(self, platform: str, receipt: str) -> None:
        """A message was heard; `receipt` is what became of it (`core.chat.intake.Receipt`)."""

    def answered(self, interaction: Interaction) -> None:
        """An answer was committed."""

    def taken_over(self, platform: str) -> None:
        """A message was begun that another worker had begun before."""

    def fenced(self, platform: str) -> None:
        """A worker found that another one holds its conversation."""

    def platform_limited(self, platform: str, method: str) -> None:
        """A platform refused a call because of its rate limit."""

    def backfilled(self, platform: str, messages: int) -> None:
        """Messages that were missed and then read from the platform."""

    def logged(self, rows: int, lag_s: float) -> None:
        """Rows were written to the ledger, the oldest `lag_s` after its answer."""


class Tracer(Protocol):
    """Follows a message over all its hops. Never raises."""

    def span(self, name: str, parent: str = "", **attributes: str | float) -> AbstractContextManager[str]:
        """A span for the time of the block, under `parent` or the current span; gives its W3C `traceparent`, or ""."""
