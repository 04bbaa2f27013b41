"""What approved answers do for a question: given as they are, shown as examples, or left alone."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.loop.recall import Approved, Closeness, Examples, Given, Near, Scope, recall, same_words, standing

HERE = Scope("slack", "T1", "C1")
CLOSENESS = Closeness(exact_at=0.85, example_at=0.4, examples=3, budget_tokens=100)


def pair(
    id: str = "p1",  # noqa: A002 - the field's name
    question: str = "Where can I park?",
    answer: str = "In the garage.",
    *,
    scope: Scope = HERE,
    at: float = 1.0,
    replaces: str = "",
    withdrawn: bool = False,
) -> Approved:
    return Approved(id, question, answer, scope, at, replaces, withdrawn)


def asked(
    question: str, *nears: Near, scope: Scope = HERE, closeness: Closeness = CLOSENESS, cost: int = 10
) -> Given | Examples:
    return recall(question, nears, scope, closeness, lambda _: cost)


def ids(result: Given | Examples) -> list[str]:
    assert isinstance(result, Examples)
    return [near.pair.id for near in result.nears]


# ── given as it is ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_question_that_was_answered_before_gets_that_answer() -> None:
    near = Near(pair(), 0.97)

    assert asked("hey, where can we park?", near) == Given(near)


def test_same_words_far_from_the_meaning_are_an_example_only() -> None:
    assert ids(asked("Where can I park?", Near(pair(), 0.84))) == ["p1"]


@pytest.mark.parametrize(
    "question", ["Where can I park my bicycle?", "When can I park?", "Where can't I park?", "Where can I not park?"]
)
def test_other_words_are_another_question_however_near(question: str) -> None:
    assert ids(asked(question, Near(pair(), 0.99))) == ["p1"]


def test_nearest_with_the_same_words_is_given_also_where_another_is_nearer() -> None:
    other, same = Near(pair("other", "Where can I park my car?"), 0.95), Near(pair("same"), 0.9)

    assert asked("where can i park", other, same) == Given(same)


# ── scopes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "scope",
    [Scope("slack", "T2", "C1"), Scope("slack", "T2"), Scope("discord", "T1", "C1"), Scope("slack", "T1", "C2")],
)
def test_nothing_crosses_from_another_workspace_platform_or_channel(scope: Scope) -> None:
    assert asked("Where can I park?", Near(pair(scope=scope), 1.0)) == Examples()


def test_what_holds_for_the_workspace_holds_in_its_channels() -> None:
    near = Near(pair(scope=Scope("slack", "T1")), 1.0)

    assert asked("Where can I park?", near) == Given(near)


def test_channels_own_answer_goes_before_the_workspaces() -> None:
    wide, own = Near(pair("a", scope=Scope("slack", "T1"), at=9.0), 1.0), Near(pair("b"), 1.0)

    assert asked("Where can I park?", wide, own) == Given(own)


# ── examples ────────────────────────────────────────────────────────────────────────────────────────────────────────


def nears(*similarities: float) -> list[Near]:
    return [Near(pair(f"p{place}", f"question {place}"), number) for place, number in enumerate(similarities)]


def test_examples_are_the_nearest_first_and_no_more_than_are_wanted() -> None:
    assert ids(asked("other", *nears(0.5, 0.9, 0.6, 0.7))) == ["p1", "p3", "p2"]


def test_what_is_too_far_is_left_alone() -> None:
    assert asked("other", *nears(0.39, 0.1, -0.5)) == Examples()


def test_similarity_that_is_no_number_is_left_alone() -> None:
    assert asked("other", *nears(math.nan)) == Examples()


def test_examples_keep_to_the_budget_and_a_shorter_one_may_follow_a_long_one() -> None:
    costs = {"p0": 60, "p1": 50, "p2": 40}

    result = recall("other", nears(0.9, 0.8, 0.7), HERE, CLOSENESS, lambda pair: costs[pair.id])

    assert ids(result) == ["p0", "p2"]


def test_no_budget_shows_nothing() -> None:
    assert asked("other", *nears(0.9), closeness=Closeness(budget_tokens=0)) == Examples()


def test_question_is_shown_once_with_its_newest_answer() -> None:
    old, new = pair("a", "Where  can I PARK?", at=1.0), pair("b", "where can i park?", at=2.0)

    assert ids(asked("other", Near(old, 0.7), Near(new, 0.7))) == ["b"]


def test_order_does_not_depend_on_the_order_of_what_was_found() -> None:
    found = [Near(pair("b", "one", at=2.0), 0.70003), Near(pair("a", "two", at=3.0), 0.70001), *nears(0.7, 0.8)]

    results = {tuple(ids(asked("other", *order))) for order in itertools.permutations(found)}

    assert results == {("p1", "a", "b")}  # the newer goes first where similarities differ by a rounding only


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 200), st.sampled_from(["T1", "T2"])), max_size=12),
    st.integers(0, 300),
)
def test_examples_never_break_their_bounds(found: list[tuple[float, int, str]], budget: int) -> None:
    costs = {f"p{place}": cost for place, (_, cost, _) in enumerate(found)}
    near = [
        Near(pair(f"p{place}", f"question {place}", scope=Scope("slack", workspace)), similarity)
        for place, (similarity, _, workspace) in enumerate(found)
    ]

    result = recall("other", near, HERE, replace(CLOSENESS, budget_tokens=budget), lambda pair: costs[pair.id])

    assert isinstance(result, Examples)
    assert sum(costs[each.pair.id] for each in result.nears) <= budget
    assert len(result.nears) <= 3
    assert all(each.pair.scope.workspace == "T1" and each.similarity >= 0.4 for each in result.nears)


# ── what stands ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_corrected_answer_loses_however_the_correction_is_asked() -> None:
    old, new = pair("old"), pair("new", "Which places are free for cars?", at=2.0, replaces="old")

    assert standing([new, old]) == standing([old, new]) == [new]


def test_chain_of_corrections_leaves_the_last() -> None:
    chain = [pair("a", "1"), pair("b", "2", replaces="a"), pair("c", "3", replaces="b")]

    assert [each.id for each in standing(chain)] == ["c"]


def test_correction_that_is_withdrawn_does_not_bring_back_what_was_wrong() -> None:
    assert standing([pair("old"), pair("new", "x", replaces="old", withdrawn=True)]) == []


def test_newest_answer_to_the_same_question_stands_and_one_elsewhere_is_left_alone() -> None:
    elsewhere = pair("c", scope=Scope("slack", "T2"), at=0.5)

    assert standing([pair("b", at=1.0), elsewhere, pair("a", "where can i park?", at=2.0)]) == [
        pair("a", "where can i park?", at=2.0),
        elsewhere,
    ]


def test_pair_that_was_withdrawn_is_not_used_even_where_it_is_found() -> None:
    assert asked("Where can I park?", Near(pair(withdrawn=True), 1.0)) == Examples()


# ── the same words ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I book a desk?", "hi, how can we book desks please"),
        ("How much may a hotel cost on a business trip?", "how much may a hotel on a business trip cost"),
        ("What's our notice period?", "what is the notice period"),
        ("Wo kann ich parken?", "wo KANN ich  parken"),
        ("京都はどこですか", "京都はどこですか?"),
    ],
)
def test_small_words_order_and_spelling_do_not_count(one: str, other: str) -> None:
    assert same_words(one, other)
    assert same_words(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where do I send an invoice to a customer?", "Where do I send an invoice from a supplier?"),
        ("Do I move from Berlin to Paris?", "Do I move from Paris to Berlin?"),
        ("How many days of paid leave?", "How many days of unpaid leave?"),
        ("How long do we keep files?", "Where do we keep files?"),
        ("Is it 3 days?", "Is it 5 days?"),
        ("Can I do this?", "Can you do that?"),
        ("?", "!"),
    ],
)
def test_words_that_change_the_answer_count(one: str, other: str) -> None:
    assert not same_words(one, other)
