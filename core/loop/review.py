"""What becomes of an answer in review: its states, verdicts, how urgent it is, who looks twice, and how far they agree.

Pure. What is stored is in `core/loop/inbox.py` (the contracts) and `storage/inbox.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from core.chat.message import Outcome
from core.loop import feedback
from core.loop.errors import BadReview, NotAllowed
from core.loop.feedback import Feedback, last_words

MAX_TAGS = 20
MAX_TAG_CHARS = 40
MAX_NOTE_CHARS = 4_000
MAX_TEXT_CHARS = 32_000


class State(StrEnum):
    """Where an item stands."""

    NEW = "new"
    QUEUED = "queued"
    CLAIMED = "claimed"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    ESCALATED = "escalated"
    ELIGIBLE = "eligible"  # approved or edited, and may be trained on
    ERASED = "erased"


class Verdict(StrEnum):
    """What a reviewer makes of an item."""

    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    ESCALATED = "escalated"


class Step(StrEnum):
    """What can befall an item, beside a verdict."""

    QUEUE = "queue"
    CLAIM = "claim"
    RELEASE = "release"
    UNDO = "undo"
    QUALIFY = "qualify"
    ERASE = "erase"


WAITING = frozenset({State.NEW, State.QUEUED, State.CLAIMED})
_PUT_OFF = (State.SKIPPED, State.ESCALATED)
_GOOD = (State.APPROVED, State.EDITED)
_DECIDED = (*_GOOD, State.REJECTED, *_PUT_OFF)

_AFTER: dict[tuple[State, Step | Verdict], State] = {
    (State.NEW, Step.QUEUE): State.QUEUED,
    **{(state, Step.CLAIM): State.CLAIMED for state in (State.NEW, State.QUEUED, *_PUT_OFF)},
    **{(state, Step.QUEUE): State.QUEUED for state in _PUT_OFF},
    (State.CLAIMED, Step.RELEASE): State.QUEUED,
    **{(State.CLAIMED, verdict): State(verdict.value) for verdict in Verdict},
    **{(state, Step.UNDO): State.CLAIMED for state in (*_DECIDED, State.ELIGIBLE)},
    **{(state, Step.QUALIFY): State.ELIGIBLE for state in _GOOD},
    **{(state, Step.ERASE): State.ERASED for state in State},
}


def after(state: State, step: Step | Verdict) -> State:
    """The state that follows. Raises NotAllowed where nothing does."""
    try:
        return _AFTER[state, step]
    except KeyError:
        raise NotAllowed(f"An item that is {state.value} cannot take the step '{step.value}'.") from None


def befores(step: Step | Verdict) -> frozenset[State]:
    """The states in which `step` is allowed."""
    return frozenset(state for state, taken in _AFTER if taken is step)


# ── how urgent ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Weight(IntEnum):
    """How much there is to learn from an answer: the heaviest of its signs counts; equals come newest first."""

    NONE = 0  # decided already, or nothing is there to judge
    REST = 1
    SAMPLED = 2
    FAILED = 3
    REGENERATED = 4
    NOT_HELPFUL = 5


# Of answers without a sign, this share is looked at before the others, so that reviewers see more than complaints.
SAMPLE_SHARE = 0.05


class Opinion(StrEnum):
    """What people think of an answer: the strongest of what they said or did."""

    NONE = ""
    HELPFUL = "helpful"
    REGENERATED = "regenerated"  # somebody asked for another answer
    NOT_HELPFUL = "not_helpful"


def opinion_of(said: Iterable[Feedback], *, regenerated: bool) -> Opinion:
    """From all feedback on one answer, and whether another was asked for."""
    words = {each.verdict for each in last_words(said).values()}
    if feedback.Verdict.NOT_HELPFUL in words:
        return Opinion.NOT_HELPFUL
    if regenerated:
        return Opinion.REGENERATED
    return Opinion.HELPFUL if words else Opinion.NONE


def weight_of(turn_id: str, outcome: Outcome, opinion: Opinion = Opinion.NONE, share: float = SAMPLE_SHARE) -> Weight:
    """How much there is to learn from the answer `turn_id`: the same at each asking."""
    if outcome is Outcome.WITHDRAWN:
        return Weight.NONE
    if opinion is Opinion.NOT_HELPFUL:
        return Weight.NOT_HELPFUL
    if opinion is Opinion.REGENERATED:
        return Weight.REGENERATED
    if outcome is Outcome.FAILED:
        return Weight.FAILED
    return Weight.SAMPLED if _portion(hashlib.sha256(turn_id.encode()).digest()) < share else Weight.REST


def first_state(weight: Weight) -> State:
    """Where an item begins: in the queue when it has a sign or is in the sample."""
    return State.QUEUED if weight > Weight.REST else State.NEW


def _portion(digest: bytes) -> float:
    """A number in [0, 1) that is spread evenly over digests. 53 bits: as many as a float holds exactly."""
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


# ── a review ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Draft:
    """What a reviewer hands in.

    `answer` is the better answer of an edit; `question` and `answer` may both be rewritten in the reviewer's own words,
    and only what was rewritten is theirs. "" leaves the original. `ms_spent` is from opening the item to the verdict.
    """

    verdict: Verdict
    answer: str = ""
    question: str = ""
    note: str = ""
    ms_spent: int = 0


@dataclass(frozen=True, slots=True)
class Review:
    """One verdict that was given, at Unix time `at`. `blind` where it is the second one, given without the first."""

    id: str
    turn_id: str
    reviewer: str
    at: float
    draft: Draft
    blind: bool = False
    undone: bool = False


def checked(draft: Draft) -> Draft:
    """`draft` without blank edges. Raises BadReview when it does not fit its verdict, or is too long."""
    fit = Draft(draft.verdict, draft.answer.strip(), draft.question.strip(), draft.note.strip(), draft.ms_spent)
    if fit.verdict is Verdict.EDITED and not (fit.answer or fit.question):
        raise BadReview("An edit needs the better answer, or the question in other words.")
    if fit.verdict not in (Verdict.EDITED, Verdict.ESCALATED) and (fit.answer or fit.question):
        raise BadReview(f"Another question or answer makes this an edit; the verdict is '{fit.verdict.value}'.")
    if max(len(fit.answer), len(fit.question)) > MAX_TEXT_CHARS:
        raise BadReview(f"A question or an answer has {MAX_TEXT_CHARS} characters at most.")
    if len(fit.note) > MAX_NOTE_CHARS:
        raise BadReview(f"A note has {MAX_NOTE_CHARS} characters at most.")
    if fit.ms_spent < 0:
        raise BadReview("The time spent cannot be below zero.")
    return fit


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags in one spelling, each once, in order. Raises BadReview for one that cannot be a tag, or too many."""
    clean = sorted({" ".join(unicodedata.normalize("NFKC", tag).casefold().split()) for tag in tags})
    if len(clean) > MAX_TAGS:
        raise BadReview(f"An item has {MAX_TAGS} tags at most.")
    for tag in clean:
        if not 0 < len(tag) <= MAX_TAG_CHARS or any(unicodedata.category(char)[0] == "C" for char in tag):
            raise BadReview(f"A tag has 1 to {MAX_TAG_CHARS} visible characters.")
    return tuple(clean)


# ── looking twice ───────────────────────────────────────────────────────────────────────────────────────────────────

SECOND_SHARE = 0.1
# A skip or a hand-over judges nothing.
JUDGING = frozenset({Verdict.APPROVED, Verdict.EDITED, Verdict.REJECTED})


def looks_twice(salt: bytes, turn_id: str, share: float = SECOND_SHARE) -> bool:
    """Whether somebody else reviews this answer as well. Without the salt no reviewer can tell which it will be."""
    return _portion(hmac.digest(salt, turn_id.encode(), "sha256")) < share


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two reviewers agree over `pairs` answers.

    `kappa` is Cohen's: what they agree beyond chance, at most 1. None where it is not defined: no pair yet, or one
    verdict alone was ever given.
    """

    pairs: int
    share: float | None
    kappa: float | None


def agreement(pairs: Sequence[tuple[Verdict, Verdict]]) -> Agreement:
    """Of pairs of first and second verdict; pairs with one that judges nothing are left out."""
    judged = [pair for pair in pairs if JUDGING.issuperset(pair)]
    if not judged:
        return Agreement(0, None, None)
    n = len(judged)
    same = sum(first is second for first, second in judged)
    firsts, seconds = Counter(first for first, _ in judged), Counter(second for _, second in judged)
    chance = sum(firsts[verdict] * seconds[verdict] for verdict in JUDGING)  # times n², exact
    kappa = None if chance == n * n else (same * n - chance) / (n * n - chance)
    return Agreement(n, same / n, kappa)
