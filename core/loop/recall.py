"""Approved answers, found again by meaning: given as they are, shown to the model as examples, or left alone.

Pure, but for the ports. How near two questions are is measured by an `Embedder`, the nearest are found by an
`Approvals`; what is done with them is decided here. Thresholds and their figures: docs/recall.md.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Vector = Sequence[float]

# Similarities that differ by less are a tie: batches and machines round differently in the digits behind.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector of length 1 for each text. `embedder` names the model and its version: only their own compare.

    `cut` holds the places of texts that were longer than the model reads.
    """

    vectors: tuple[Vector, ...]
    embedder: str
    cut: tuple[int, ...] = ()


class Embedder(Protocol):
    """Turns texts into vectors whose dot product says how near they are in meaning."""

    async def embed(self, texts: Sequence[str], trace: str = "") -> Embedded:
        """The vectors of `texts`, none of which may be blank. Raises the HostError family; never waits long."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where an answer was approved for, or a question is asked: a channel, or with "" the whole workspace."""

    platform: str
    workspace: str
    channel: str = ""

    def covers(self, asked: Scope) -> bool:
        """Whether what was approved here may be used there. Nothing crosses from one workspace into another."""
        same = (self.platform, self.workspace) == (asked.platform, asked.workspace)
        return same and self.channel in {"", asked.channel}


@dataclass(frozen=True, slots=True)
class Approved:
    """A question and the answer that a reviewer stands for; `replaces` is the id of the pair that it corrects."""

    id: str
    question: str
    answer: str
    scope: Scope
    approved_at: float
    replaces: str = ""
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Near:
    """An approved pair, and the similarity of its question to the one that is asked: at most 1."""

    pair: Approved
    similarity: float


class Approvals(Protocol):
    """The approved pairs that stand, by the vectors of their questions."""

    async def nearest(self, asked: Scope, question: Embedded, most: int) -> Sequence[Near]:
        """At most `most` pairs that cover `asked`, nearest first; none where the embedder was another one."""


@dataclass(frozen=True, slots=True)
class Closeness:
    """How near is near: see docs/recall.md, where the defaults were chosen.

    From `exact_at` on, the approved answer is given as it is if the question has the same words as well; from
    `example_at` on, at most `examples` pairs of together `budget_tokens` go into the prompt.
    """

    exact_at: float = 0.9
    example_at: float = 0.35
    examples: int = 3
    budget_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Given:
    """The approved answer is the answer."""

    near: Near


@dataclass(frozen=True, slots=True)
class Examples:
    """Pairs that the model is shown, nearest first; none where nothing is near."""

    nears: tuple[Near, ...] = ()


def recall(
    question: str,
    nears: Iterable[Near],
    asked: Scope,
    closeness: Closeness,
    tokens_of: Callable[[Approved], int],
) -> Given | Examples:
    """What approved answers do for `question`; `tokens_of` says what a pair costs in the prompt.

    The same nears in any order give the same result.
    """
    ranked = _ranked(near for near in nears if near.pair.scope.covers(asked) and not near.pair.withdrawn)
    for near in ranked:
        if near.similarity >= closeness.exact_at and same_words(question, near.pair.question):
            return Given(near)
    return Examples(_fitting(ranked, closeness, tokens_of))


def standing(pairs: Iterable[Approved]) -> list[Approved]:
    """The pairs that hold, in the order of their ids: not those that were withdrawn, or corrected by a later one.

    A correction that is withdrawn does not bring back what it replaced: that was wrong. Of pairs with the same question
    for the same scope, the newest holds.
    """
    known = list(pairs)
    replaced = {pair.replaces for pair in known}
    newest: dict[tuple[Scope, str], Approved] = {}
    for pair in sorted(known, key=lambda pair: (pair.approved_at, pair.id)):
        if not pair.withdrawn and pair.id not in replaced:
            newest[pair.scope, folded(pair.question)] = pair
    return sorted(newest.values(), key=lambda pair: pair.id)


def same_words(one: str, other: str) -> bool:
    """Whether two questions ask in the same words, but for small ones, politeness, plurals, and mostly their order.

    Similarity alone cannot tell "Where do I send an invoice to a customer?" from "... from a supplier?" (0.90).
    """
    return bool(_words(one)) and _words(one) == _words(other)


def folded(text: str) -> str:
    """`text` without case, width and spare blanks: what is equal in it was asked alike."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _ranked(nears: Iterable[Near]) -> list[Near]:
    """Nearest first, each question once; of equals the one for the channel, then the newest, then by id."""
    sound = (near for near in nears if math.isfinite(near.similarity))
    ranked = sorted(
        sound,
        key=lambda near: (
            -round(near.similarity, _DIGITS),
            not near.pair.scope.channel,
            -near.pair.approved_at,
            near.pair.id,
        ),
    )
    first: dict[str, Near] = {}
    for near in ranked:
        first.setdefault(folded(near.pair.question), near)
    return list(first.values())


def _fitting(ranked: Sequence[Near], closeness: Closeness, tokens_of: Callable[[Approved], int]) -> tuple[Near, ...]:
    left = closeness.budget_tokens
    fitting: list[Near] = []
    for near in ranked:
        if len(fitting) == closeness.examples or near.similarity < closeness.example_at:
            break
        cost = tokens_of(near.pair)
        if cost <= left:
            fitting.append(near)
            left -= cost
    return tuple(fitting)


def _words(text: str) -> tuple[str, ...]:
    words = re.findall(r"\w+", re.sub(r"['\u2019](?:s|m|ve|re)\b", "", folded(text)))
    bare = [_singular(word) for word in words if word not in _SMALL]
    # From a to b is not from b to a; where no word points, "travel costs" and "costs of travel" are the same.
    return tuple(bare if _POINTING & set(bare) else sorted(bare))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


_POINTING = frozenset({"after", "before", "by", "from", "into", "than", "to", "until", "with", "without"})
# What may come or go without another answer being wanted. English, as the small embedding model is; in other languages
# more words must be the same. Not among them: not, no, from, to, with, without, where, when, who, why, how, much, long.
_SMALL_WORDS = """
    a an the i im ive me my we our us you your it its this that there here
    am is are was be been being do does did has have had can could may might will would shall should
    of in on at per what whats which please thanks thank hi hello hey now so
"""
_SMALL = frozenset(_SMALL_WORDS.split())
