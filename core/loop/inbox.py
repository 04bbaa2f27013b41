"""The inbox of answers to review: what is asked of it, and the contracts of whoever keeps it.

Items are numbered in the order of time. The number alone pages through them, however deep, and a span of time is a span
of numbers. All methods raise StoreUnavailable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, Self

from core.chat.interaction import Interaction
from core.chat.message import Outcome
from core.loop.errors import BadReview
from core.loop.review import Agreement, Draft, Opinion, Review, State

LEASE_S = 600.0
SLOW_MS = 10_000.0
LONG_CHARS = 2_000
MAX_PAGE = 200

# 42 bits of milliseconds last until 2109; with 21 bits of the turn's id two turns of one millisecond seldom meet, and
# where they do, the store gives the later one the next number.
_ID_BITS = 21
_MAX_MS = 2**42 - 1


def number_of(turn_id: str, sent_at: float) -> int:
    """The item's number, below 2^63: larger is later."""
    digest = hashlib.sha256(turn_id.encode()).digest()
    return first_number(sent_at) | (int.from_bytes(digest[:4]) >> (32 - _ID_BITS))


def first_number(at: float) -> int:
    """The lowest number that an item of that moment (Unix seconds) can have."""
    return min(max(int(at * 1000), 0), _MAX_MS) << _ID_BITS


def is_slow(interaction: Interaction) -> bool:
    """Whether somebody waited too long for the whole answer."""
    return interaction.total_ms >= SLOW_MS


def is_long(interaction: Interaction) -> bool:
    """Whether the answer is longer than people like to read in a chat."""
    return len(interaction.answer) >= LONG_CHARS


@dataclass(frozen=True, slots=True)
class Filter:
    """Which items: those that fit all fields that are set. Times are Unix seconds, `until` is not part of the span.

    `text` asks for all of its words, in question or answer; case does not count, nor do accents on SQLite.
    """

    platform: str = ""
    workspace: str = ""
    channel: str = ""
    person_id: str = ""
    model_version: str = ""
    outcome: Outcome | None = None
    opinion: Opinion | None = None
    state: State | None = None
    tag: str = ""
    text: str = ""
    since: float | None = None
    until: float | None = None
    slow: bool = False
    long: bool = False

    def as_dict(self) -> dict[str, str | float | bool]:
        """What is set, as a saved view keeps it."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value not in ("", None, False)}

    @classmethod
    def of(cls, kept: Mapping[str, str | float | bool]) -> Self:
        """The inverse of `as_dict`; what this version does not know is left out."""
        known = {name: value for name, value in kept.items() if name in cls.__dataclass_fields__}
        made = cls(**known)  # type: ignore[arg-type]
        outcome = Outcome(made.outcome) if made.outcome else None
        opinion = Opinion(made.opinion) if made.opinion else None
        return replace(made, outcome=outcome, opinion=opinion, state=State(made.state) if made.state else None)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: below this item. `weight` is None in the order of time."""

    number: int
    weight: int | None = None

    def __str__(self) -> str:
        return str(self.number) if self.weight is None else f"{self.number}.{self.weight}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`. Raises BadReview."""
        number, _, weight = text.partition(".")
        if not (number.isdecimal() and (weight.isdecimal() or not weight) and len(text) <= 22):
            raise BadReview(f"{text[:40]!r} is no place in the inbox; take the one that the page before gave.")
        return cls(min(int(number), 2**63 - 1), int(weight) if weight else None)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the inbox. `question` and `answer` are their beginnings; `row_version` changes with each step.

    `sign` is what there is to learn from it, `weight` the same while it waits and 0 once it is decided.
    """

    number: int
    turn_id: str
    conversation: str
    person_id: str
    person_name: str
    sent_at: float
    total_ms: float
    outcome: Outcome
    opinion: Opinion
    model_version: str
    question: str
    answer: str
    state: State
    sign: int
    weight: int
    claimed_by: str
    lease_until: float
    row_version: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, and where the next ones begin; None at the end."""

    items: Sequence[Item]
    following: Cursor | None


@dataclass(frozen=True, slots=True)
class View:
    """A filter that somebody keeps under a name of theirs."""

    owner: str
    name: str
    filter: Filter
    by_weight: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """How far review has come. `by_reviewer` counts verdicts that stand, and the milliseconds spent on them."""

    states: Mapping[State, int]
    by_reviewer: Mapping[str, tuple[int, int]]
    second_waiting: int
    agreement: Agreement


class Inbox(Protocol):
    """Finds items, and gives each to one reviewer at a time."""

    async def page(self, wanted: Filter, limit: int, after: Cursor | None = None, *, by_weight: bool = False) -> Page:
        """At most `limit` items (200 at most): the newest first, or those that wait, the most instructive first.

        What wears a tag, is in one state or holds a text comes in the order of time always.
        """

    async def item(self, turn_id: str) -> Item:
        """Raises NoSuchItem."""

    async def claim(self, turn_id: str, reviewer: str, lease_s: float = LEASE_S) -> Item:
        """Gives the item to `reviewer` until the lease ends; again to the same one renews it.

        Raises NoSuchItem, NotYours while another has it, NotAllowed when it is decided.
        """

    async def claim_next(self, wanted: Filter, reviewer: str, lease_s: float = LEASE_S) -> Item | None:
        """Gives the most instructive item that nobody has; None when there is none."""

    async def claim_second(self, reviewer: str, lease_s: float = LEASE_S) -> Item | None:
        """Gives an item whose second review waits, never to who gave the first verdict; it looks like any claimed one.

        None when there is none.
        """

    async def release(self, turn_id: str, reviewer: str) -> None:
        """Gives a claim back, of either review. Raises NoSuchItem, NotYours."""


class Reviews(Protocol):
    """Keeps verdicts, tags and saved views. Each change is noted in the audit trail with it."""

    async def judge(self, turn_id: str, reviewer: str, draft: Draft, row_version: int | None = None) -> Review:
        """Keeps the verdict on an item that `reviewer` has claimed; on their second review where they hold that.

        Raises BadReview, NoSuchItem, NotYours, ChangedMeanwhile when `row_version` is given and is not the item's.
        """

    async def undo(self, reviewer: str, lease_s: float = LEASE_S) -> Review:
        """Takes back the reviewer's own last verdict and gives them the item again.

        Raises NoSuchItem when there is none, NotAllowed when the item has gone on since.
        """

    async def of_item(self, turn_id: str, reader: str) -> Sequence[Review]:
        """The verdicts on an item, the oldest first; of others none as long as a second review waits."""

    async def tag(self, turn_id: str, actor: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Sequence[str]:
        """The item's tags after the change. Raises BadReview, NoSuchItem."""

    async def save_view(self, view: View) -> None:
        """Keeps a view; one of the same owner and name is replaced."""

    async def views(self, owner: str) -> Sequence[View]:
        """The owner's views by name."""

    async def drop_view(self, owner: str, name: str) -> bool:
        """Whether there was one."""

    async def stats(self) -> Stats:
        """Counts everything."""
