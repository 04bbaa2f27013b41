"""The audit trail as a hash chain: each entry holds the hash of the one before, so that none can be changed unseen.

Pure. What is stored is in `storage/audit.py`; who was allowed to do it is in `core/loop/people.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

GENESIS = "0" * 64
# Whoever works at the command line has the machine, and no account.
COMMAND_LINE = "command-line"


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be noted: `actor` did `action` to `subject` ("account:…"). `details` hold no secret and no prose."""

    actor: str
    action: str
    subject: str
    details: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of the chain. `details` is canonical JSON, kept as text: every byte of it is hashed."""

    seq: int
    at_ms: int
    actor: str
    action: str
    subject: str
    details: str
    prev: str
    hash: str


@dataclass(frozen=True, slots=True)
class Break:
    """The first entry that does not fit, and why."""

    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry. Noted elsewhere, it shows later that nothing before it was changed or cut off."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Raises ValueError where `text` is no head as `str` writes it."""
        seq, _, digest = text.strip().partition(":")
        if not seq.isdecimal() or len(digest) != len(GENESIS):
            raise ValueError(f"{text!r} is no head; expected NUMBER:HASH as 'parley audit verify' prints it.")
        return cls(int(seq), digest.lower())


EMPTY = Head(0, GENESIS)


def canonical(value: object) -> str:
    """`value` as JSON in the one form that is hashed: sorted keys, no blanks, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def link(head: Head, note: Note, at_ms: int) -> Entry:
    """The entry that follows `head`."""
    details = canonical(dict(note.details))
    bare = Entry(head.seq + 1, at_ms, note.actor, note.action, note.subject, details, head.hash, "")
    return replace(bare, hash=digest(bare))


def digest(entry: Entry) -> str:
    """The hash of everything in `entry` but its own hash, hex."""
    hashed = [entry.seq, entry.at_ms, entry.actor, entry.action, entry.subject, entry.details, entry.prev]
    return hashlib.sha256(canonical(hashed).encode("ascii")).hexdigest()


@dataclass(slots=True)
class Walk:
    """Goes along the chain from its beginning, entry by entry; `expected` is a head that was noted elsewhere."""

    expected: Head | None = None
    head: Head = EMPTY

    def step(self, entry: Entry) -> Break | None:
        """Why `entry` does not follow the ones before; None when it does."""
        if entry.seq != self.head.seq + 1:
            return Break(self.head.seq + 1, f"it is missing; the next one is {entry.seq}")
        if entry.prev != self.head.hash:
            return Break(entry.seq, "it does not follow the entry before it, which was changed or replaced")
        if entry.hash != digest(entry):
            return Break(entry.seq, "it was changed after it was written")
        self.head = Head(entry.seq, entry.hash)
        if self.expected and self.expected.seq == entry.seq and self.expected.hash != entry.hash:
            return Break(entry.seq, "it is not the entry that was noted: the chain up to here was written anew")
        return None

    def end(self) -> Break | None:
        """Why the chain may not end here; None when it may."""
        if self.expected and self.head.seq < self.expected.seq:
            return Break(self.head.seq + 1, f"it is missing; there were {self.expected.seq} entries before")
        return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk along the whole chain found; `broken` is None when it is whole."""

    head: Head
    broken: Break | None

    def __str__(self) -> str:
        if self.broken:
            return f"Entry {self.broken.seq} of the audit trail is broken: {self.broken.reason}."
        return f"The audit trail is whole: {self.head.seq} entries, head {self.head}"
