"""The figures of recall: what is given and shown at each threshold, and which one is chosen. See bench/recall.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from core.loop.recall import Approved, Closeness, Given, Near, Scope, recall

HERE = Scope("web", "handbook", "bench")
STEPS = tuple(round(0.30 + 0.05 * step, 2) for step in range(14))
EXAMPLES_WANTED = 0.75  # of the paraphrases, whose answer shall be among the examples

Kind = Literal["retyped", "paraphrase", "near miss"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the id of the pair that answers it ("" for none), and what is near it."""

    text: str
    kind: Kind
    answered_by: str
    half: int
    nears: tuple[Near, ...]


@dataclass(frozen=True, slots=True)
class AsItIs:
    """Answers given as they are from `exact_at` on: shares of the questions of a kind, and of what was given."""

    exact_at: float
    given: int
    wrong: int
    retyped: float
    paraphrases: float

    @property
    def precision(self) -> float:
        """The share of right answers among those given; 1 where none is."""
        return 1.0 - self.wrong / self.given if self.given else 1.0


@dataclass(frozen=True, slots=True)
class Shown:
    """Examples shown from `example_at` on: paraphrases with the right one among them, and how many come with it."""

    example_at: float
    paraphrases: float
    right_share: float
    per_question: float
    near_misses_shown: float


@dataclass(frozen=True, slots=True)
class Figures:
    """All that is measured, over all questions; `chosen` on the one half, `held_out` counted on the other."""

    embedder: str
    alone: list[AsItIs]
    with_words: list[AsItIs]
    shown: list[Shown]
    chosen: Closeness
    held_out: dict[str, float]
    embed_ms: float
    search_ms: dict[int, float]


def given_alone(asked: Asked, exact_at: float) -> str:
    """The id of the answer that similarity alone would give; "" for none."""
    best = asked.nears[0]
    return best.pair.id if best.similarity >= exact_at else ""


def given_with_words(asked: Asked, exact_at: float) -> str:
    """The id of the answer that people are given; "" for none."""
    result = recall(asked.text, asked.nears, HERE, Closeness(exact_at=exact_at), _costs_nothing)
    return result.near.pair.id if isinstance(result, Given) else ""


def as_it_is(asked: Sequence[Asked], given: Callable[[Asked, float], str], exact_at: float) -> AsItIs:
    """How it goes with answers given as they are, by `given`."""
    answers = [(each, given(each, exact_at)) for each in asked]
    return AsItIs(
        exact_at,
        sum(bool(answer) for _, answer in answers),
        sum(bool(answer) and answer != each.answered_by for each, answer in answers),
        _share(answer == each.answered_by for each, answer in answers if each.kind == "retyped"),
        _share(answer == each.answered_by for each, answer in answers if each.kind == "paraphrase"),
    )


def shown(asked: Sequence[Asked], example_at: float) -> Shown:
    """How it goes with examples."""
    closeness = Closeness(exact_at=2.0, example_at=example_at)
    sets = [(each, _example_ids(each, closeness)) for each in asked]
    paraphrased = [(each, ids) for each, ids in sets if each.kind == "paraphrase"]
    examples = sum(len(ids) for _, ids in paraphrased)
    right = sum(each.answered_by in ids for each, ids in paraphrased)
    return Shown(
        example_at,
        right / len(paraphrased),
        right / examples if examples else 1.0,
        examples / len(paraphrased),
        _share(bool(ids) for each, ids in sets if each.kind == "near miss"),
    )


def choose(asked: Sequence[Asked]) -> Closeness:
    """The thresholds by these questions: the highest steps that give up nothing, or no more than was said.

    As it is: the highest step at which no right answer is lost that the words let pass. Examples: the highest at which
    `EXAMPLES_WANTED` of the paraphrases have their answer among them.
    """
    whole = as_it_is(asked, given_with_words, STEPS[0]).retyped
    exact_at = max(step for step in STEPS if as_it_is(asked, given_with_words, step).retyped == whole)
    enough = [step for step in STEPS if shown(asked, step).paraphrases >= EXAMPLES_WANTED]
    return Closeness(exact_at=exact_at, example_at=max(enough, default=STEPS[0]))


def held_out(asked: Sequence[Asked], chosen: Closeness) -> dict[str, float]:
    """What the thresholds do for questions that had no part in choosing them."""
    exact, examples = as_it_is(asked, given_with_words, chosen.exact_at), shown(asked, chosen.example_at)
    alone = as_it_is(asked, given_alone, chosen.exact_at)
    return {
        "given": exact.given,
        "wrong": exact.wrong,
        "retyped given": exact.retyped,
        "paraphrases given": exact.paraphrases,
        "wrong by similarity alone": alone.wrong,
        "paraphrases with their answer among the examples": examples.paraphrases,
        "share of the examples that are right": examples.right_share,
    }


def _example_ids(asked: Asked, closeness: Closeness) -> list[str]:
    result = recall(asked.text, asked.nears, HERE, closeness, _costs_nothing)
    return [] if isinstance(result, Given) else [near.pair.id for near in result.nears]


def _costs_nothing(_: Approved) -> int:
    return 0


def _share(marks: Iterable[bool]) -> float:
    found = list(marks)
    return sum(found) / len(found)
