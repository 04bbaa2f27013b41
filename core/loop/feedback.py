"""What people say of an answer: one click, a reason, a better answer. Append-only; the last word of a person counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Protocol

from core.chat.message import Answered, Conversation

MAX_NOTE_CHARS = 1_000
MAX_BETTER_CHARS = 8_000


class Verdict(StrEnum):
    """What a person thinks of an answer."""

    HELPFUL = "helpful"
    NOT_HELPFUL = "not_helpful"
    TAKEN_BACK = "taken_back"  # as if nothing had been said


class Reason(StrEnum):
    """Why an answer was not helpful; NONE where nobody said."""

    NONE = ""
    WRONG = "wrong"
    INCOMPLETE = "incomplete"
    OFF_TOPIC = "off_topic"
    UNCLEAR = "unclear"
    TOO_LONG = "too_long"
    HARMFUL = "harmful"
    OTHER = "other"


REASON_NAMES: Mapping[Reason, str] = {
    Reason.WRONG: "It is wrong",
    Reason.INCOMPLETE: "Something is missing",
    Reason.OFF_TOPIC: "It is not what I asked",
    Reason.UNCLEAR: "It is hard to understand",
    Reason.TOO_LONG: "It is too long",
    Reason.HARMFUL: "It is harmful or offensive",
    Reason.OTHER: "Something else",
}


class Source(StrEnum):
    """The way on which it was said."""

    BUTTON = "button"
    MODAL = "modal"
    REACTION = "reaction"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Feedback:
    """One thing that a person said of the answer `turn_id`, which answered what was sent at `sent_at`.

    `id` names it: however often it is delivered, it is one. Times are Unix seconds. `note` is the person's reason in
    their own words, `better` the answer that they would have liked.
    """

    id: str
    turn_id: str
    conversation: Conversation
    sent_at: float
    person_id: str
    verdict: Verdict
    source: Source
    at: float
    reason: Reason = Reason.NONE
    note: str = ""
    better: str = ""

    @property
    def day(self) -> date:
        """The UTC day of `sent_at`: with the turn id the key of the answer's row."""
        return datetime.fromtimestamp(self.sent_at, UTC).date()


def last_words(said: Iterable[Feedback]) -> dict[str, Feedback]:
    """Of each person the feedback that counts, whatever the order in which it came; nothing for one taken back.

    All of it is about one answer. Of two at the same moment the greater id counts: the same at every reading.
    """
    last: dict[str, Feedback] = {}
    for each in sorted(said, key=lambda said_once: (said_once.at, said_once.id)):
        last[each.person_id] = each
    return {person: each for person, each in last.items() if each.verdict is not Verdict.TAKEN_BACK}


class Verdicts(Protocol):
    """Takes feedback durably, and knows which answer it is about. Every method raises StoreUnavailable."""

    async def answer_of(self, platform: str, post_id: str) -> Answered | None:
        """The answer that the bot's post `post_id` shows; None when it is none of ours, or was too long ago."""

    async def tell(self, feedback: Feedback) -> None:
        """Keeps `feedback` on its way to the ledger; on return it is on disk. The same one again changes nothing."""

    async def verdicts(self, conversation: Conversation, person_id: str) -> dict[str, Verdict]:
        """The last word of a person on each answer in `conversation`, by turn id; those taken back are left out."""
