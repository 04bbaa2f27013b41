"""The prompt: within its budget, whole turns only, speakers told apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.chat.message import Person, Turn
from core.chat.prompt import KEPT_SHARE, Budget, Prompt, TooLong, build_prompt, label
from tests.support.wall import said

BUDGET = Budget(prompt_tokens=500, message_overhead_tokens=4, prompt_overhead_tokens=2)
NUMBERS = st.lists(st.tuples(st.integers(1, 80), st.integers(1, 80)), max_size=30)


def history(pairs: list[tuple[int, int]]) -> list[Turn]:
    turns: list[Turn] = []
    for number, (asked, replied) in enumerate(pairs):
        turns.append(Turn("user", f"q{number}", asked, f"t{number}", 0.0))
        turns.append(Turn("assistant", f"a{number}", replied, f"t{number}", 0.0))
    return turns


@given(NUMBERS, st.integers(1, 480))
def test_a_prompt_never_exceeds_its_budget(pairs: list[tuple[int, int]], question_tokens: int) -> None:
    prompt = build_prompt("be good", 10, history(pairs), said("hm"), question_tokens, BUDGET)

    if isinstance(prompt, TooLong):
        assert question_tokens > prompt.room
    else:
        assert prompt.tokens <= BUDGET.prompt_tokens


@given(NUMBERS, st.integers(1, 300))
def test_what_is_kept_is_the_newest_and_begins_with_a_question(pairs: list[tuple[int, int]], tokens: int) -> None:
    turns = history(pairs)

    prompt = build_prompt("be good", 10, turns, said("hm"), tokens, BUDGET)

    assert isinstance(prompt, Prompt)
    kept = prompt.messages[1:-1]
    assert [message.content for message in kept] == [turn.text for turn in turns[prompt.dropped :]]
    assert not kept or kept[0].role == "user"


def test_history_over_budget_is_cut_to_a_share_so_that_the_prefix_stays_for_some_turns() -> None:
    turns = history([(40, 40)] * 6)

    prompt = build_prompt("be good", 10, turns, said("hm"), 10, BUDGET)

    assert isinstance(prompt, Prompt)
    room = 500 - 2 - 10 - 4 - 10 - 4
    kept = sum(turn.tokens + 4 for turn in turns[prompt.dropped :])
    assert prompt.dropped > 0
    assert kept <= room * KEPT_SHARE
    assert kept + 88 > room * KEPT_SHARE


def test_a_history_within_budget_is_kept_whole() -> None:
    prompt = build_prompt("be good", 10, history([(20, 20)] * 3), said("hm"), 10, BUDGET)

    assert isinstance(prompt, Prompt)
    assert prompt.dropped == 0
    assert len(prompt.messages) == 1 + 6 + 1


def test_a_question_over_the_budget_is_named_with_its_figures() -> None:
    prompt = build_prompt("be good", 10, [], said("hm"), 600, BUDGET)

    assert prompt == TooLong(tokens=600, room=480)


def test_speakers_are_labelled_where_several_may_speak() -> None:
    shared = build_prompt("be good", 10, [], said("hi", person=Person("p2", "Grace"), shared=True), 5, BUDGET)
    alone = build_prompt("be good", 10, [], said("hi", person=Person("p2", "Grace")), 5, BUDGET)

    assert isinstance(shared, Prompt)
    assert isinstance(alone, Prompt)
    assert shared.messages[-1].content == "Grace: hi"
    assert alone.messages[-1].content == "hi"
    assert shared.messages[-1].person_id == "p2"


@given(st.text())
def test_a_label_is_one_line_without_a_colon(name: str) -> None:
    shown = label(Person("p1", name))

    assert shown
    assert ":" not in shown
    assert len(shown.splitlines()) == 1
    assert len(shown) <= 40
