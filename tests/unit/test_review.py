"""The states of a review item, how urgent it is, who looks twice, and how far two reviewers agree."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.chat.message import Outcome
from core.loop.errors import BadReview, NotAllowed
from core.loop.review import (
    JUDGING,
    MAX_NOTE_CHARS,
    MAX_TAGS,
    WAITING,
    Draft,
    Opinion,
    State,
    Step,
    Verdict,
    Weight,
    after,
    agreement,
    befores,
    checked,
    clean_tags,
    first_state,
    looks_twice,
    weight_of,
)

VERDICTS = st.sampled_from(Verdict)


class ItemsLife(RuleBasedStateMachine):
    """Whatever order the steps come in: what the words of the states promise holds."""

    state = State.NEW
    verdict: Verdict | None = None
    erased = False

    def _try(self, step: Step | Verdict) -> bool:
        allowed = self.state in befores(step)
        try:
            self.state = after(self.state, step)
        except NotAllowed:
            assert not allowed
            return False
        assert allowed
        return True

    @rule(step=st.sampled_from([Step.QUEUE, Step.CLAIM, Step.RELEASE]))
    def wait(self, step: Step) -> None:
        if self._try(step):
            self.verdict = None

    @rule(verdict=VERDICTS)
    def judge(self, verdict: Verdict) -> None:
        was = self.state
        if self._try(verdict):
            assert was is State.CLAIMED  # nobody judges what they have not claimed
            self.verdict = verdict

    @precondition(lambda self: self.verdict)
    @rule()
    def undo(self) -> None:
        assert self._try(Step.UNDO) or self.erased
        if not self.erased:
            assert self.state is State.CLAIMED
            self.verdict = None

    @rule()
    def qualify(self) -> None:
        if self._try(Step.QUALIFY):
            assert self.verdict in (Verdict.APPROVED, Verdict.EDITED)  # nothing unreviewed trains

    @rule()
    def erase(self) -> None:
        assert self._try(Step.ERASE)
        self.erased = True

    @invariant()
    def what_is_erased_stays_so(self) -> None:
        assert not self.erased or self.state is State.ERASED

    @invariant()
    def an_item_waits_or_has_its_verdict(self) -> None:
        if not self.erased:
            assert (self.state in WAITING) == (self.verdict is None)


TestItemsLife = ItemsLife.TestCase


def test_heavier_signs_count_before_lighter_ones() -> None:
    def weight(outcome: Outcome = Outcome.ANSWERED, opinion: Opinion = Opinion.NONE) -> Weight:
        return weight_of("t", outcome, opinion, share=0.0)

    order = [
        weight(opinion=Opinion.NOT_HELPFUL),
        weight(opinion=Opinion.REGENERATED),
        weight(Outcome.FAILED),
        weight_of("t", Outcome.ANSWERED, share=1.0),
        weight(),
        weight(Outcome.WITHDRAWN),
    ]

    assert order == sorted(Weight, reverse=True)
    assert weight(Outcome.FAILED, Opinion.NOT_HELPFUL) is Weight.NOT_HELPFUL
    assert weight(opinion=Opinion.HELPFUL) is Weight.REST
    assert [first_state(each) for each in order] == [State.QUEUED] * 4 + [State.NEW] * 2


def test_the_sample_is_as_large_as_stated_and_the_same_again() -> None:
    ids = [f"slack:T1:C1:{number}" for number in range(20_000)]

    sampled = [weight_of(each, Outcome.ANSWERED) for each in ids].count(Weight.SAMPLED)

    assert abs(sampled / 20_000 - 0.05) < 0.01
    assert sampled == [weight_of(each, Outcome.ANSWERED) for each in ids].count(Weight.SAMPLED)


def test_a_tenth_is_looked_at_twice_and_which_depends_on_the_salt() -> None:
    ids = [f"slack:T1:C1:{number}" for number in range(20_000)]

    chosen = {each for each in ids if looks_twice(b"salt", each)}
    others = {each for each in ids if looks_twice(b"other", each)}

    assert abs(len(chosen) / 20_000 - 0.1) < 0.01
    assert abs(len(chosen & others) / 20_000 - 0.01) < 0.005


def test_an_edit_needs_words_and_words_make_an_edit() -> None:
    with pytest.raises(BadReview):
        checked(Draft(Verdict.EDITED, answer=" \n"))
    for verdict in (Verdict.APPROVED, Verdict.REJECTED, Verdict.SKIPPED):
        with pytest.raises(BadReview):
            checked(Draft(verdict, answer="better"))
    with pytest.raises(BadReview):
        checked(Draft(Verdict.SKIPPED, note="x" * (MAX_NOTE_CHARS + 1)))
    with pytest.raises(BadReview):
        checked(Draft(Verdict.SKIPPED, ms_spent=-1))

    assert checked(Draft(Verdict.EDITED, " a ", " q ", " n ", 5)) == Draft(Verdict.EDITED, "a", "q", "n", 5)
    assert checked(Draft(Verdict.EDITED, question="only the question"))


def test_tags_have_one_spelling() -> None:
    assert clean_tags([" Wrong  Fact", "wrong fact", "\uff34one"]) == ("tone", "wrong fact")
    for bad in ([""], ["x" * 41], ["a\u202eb"], [f"t{n}" for n in range(MAX_TAGS + 1)]):
        with pytest.raises(BadReview):
            clean_tags(bad)


def test_kappa_of_a_published_table() -> None:
    # Fifty grants, two readers: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no give kappa 0.4.
    yes, no = Verdict.APPROVED, Verdict.REJECTED
    pairs = [(yes, yes)] * 20 + [(yes, no)] * 5 + [(no, yes)] * 10 + [(no, no)] * 15

    found = agreement([*pairs, (Verdict.SKIPPED, yes), (no, Verdict.ESCALATED)])

    assert (found.pairs, found.share) == (50, 0.7)
    assert found.kappa is not None
    assert math.isclose(found.kappa, 0.4)


def test_kappa_is_none_where_there_is_nothing_to_agree_on() -> None:
    assert agreement([]) == agreement([(Verdict.SKIPPED, Verdict.SKIPPED)])
    assert agreement([]).share is None
    assert agreement([(Verdict.APPROVED, Verdict.APPROVED)] * 3).kappa is None


@given(st.lists(st.tuples(VERDICTS, VERDICTS), max_size=60))
def test_agreement_stays_in_its_bounds_whoever_is_first(pairs: list[tuple[Verdict, Verdict]]) -> None:
    found = agreement(pairs)

    assert found == agreement([(second, first) for first, second in pairs])
    assert found.pairs == sum(JUDGING.issuperset(pair) for pair in pairs)
    assert found.share is None or 0 <= found.share <= 1
    assert found.kappa is None or -1 <= found.kappa <= 1
    if found.share == 1 and found.kappa is not None:
        assert found.kappa == 1
