"""The history checker sees each kind of harm, and sees none where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.chat import lines
from core.chat.message import Outcome, Turn
from tests.support.history_checker import Fate, Harm, Key, Question, Row, Seen, answer_text, check, question_text

ADA, BEN = "slack:T1:DADA:", "slack:T1:DBEN:"
KINDS = ("lost", "doubled", "reordered", "foreign", "half", "history", "rows_missing", "rows_extra", "rows_wrong")


class World:
    """Two conversations of three questions each, in which all is well; a test spoils it."""

    def __init__(self) -> None:
        self.keys: list[Key] = [("ada", 1), ("ben", 1), ("ada", 2), ("ben", 2), ("ada", 3), ("ben", 3)]
        self.asked = [Question(key, place_of(key), turn_id(key)) for key in self.keys]
        self.seen = [Seen(place_of(key), answer_text(key)) for key in self.keys]
        self.turns = {
            place: [t for key in self.keys if place_of(key) == place for t in pair(key)] for place in (ADA, BEN)
        }
        self.rows = [row_of(key) for key in self.keys]
        self.prompts = [f"system\n{question_text(key)}" for key in self.keys]

    def check(self) -> Harm:
        return check(self.asked, self.seen, self.turns, self.rows, self.prompts)

    def fated(self, key: Key, fate: Fate, outcome: Outcome | None = None, said: str | None = None) -> None:
        """The question is meant to end so; `outcome` is what its row says, `said` what is visible instead."""
        self.asked[self.keys.index(key)].fate = fate
        at = self.seen.index(Seen(place_of(key), answer_text(key)))
        self.seen[at : at + 1] = [] if said is None else [Seen(place_of(key), said)]
        self.turns[place_of(key)] = [turn for turn in self.turns[place_of(key)] if turn.turn_id != turn_id(key)]
        row = next(row for row in self.rows if row.turn_id == turn_id(key))
        self.rows.remove(row)
        if outcome is Outcome.WITHDRAWN:
            self.rows.append(replace(row, outcome=outcome, question="", answer=""))
        elif outcome is not None:
            self.rows.append(replace(row, outcome=outcome, answer=""))


def place_of(key: Key) -> str:
    return ADA if key[0] == "ada" else BEN


def turn_id(key: Key) -> str:
    return f"{place_of(key)}{key[1]}"


def pair(key: Key) -> tuple[Turn, Turn]:
    return (
        Turn("user", question_text(key), 3, turn_id(key), 0.0),
        Turn("assistant", answer_text(key), 6, turn_id(key), 0.0),
    )


def row_of(key: Key) -> Row:
    return Row(turn_id(key), place_of(key), Outcome.ANSWERED, question_text(key), answer_text(key))


def counts(harm: Harm) -> dict[str, int]:
    return {kind: getattr(harm, kind) for kind in KINDS if getattr(harm, kind)}


@pytest.fixture
def world() -> World:
    return World()


def test_sees_no_harm_where_all_is_well(world: World) -> None:
    harm = world.check()

    assert counts(harm) == {}
    assert not harm
    assert str(harm) == "no harm"


def test_sees_an_answer_that_is_lost(world: World) -> None:
    del world.seen[2]

    assert counts(world.check()) == {"lost": 1}


def test_sees_a_question_that_nobody_ever_took(world: World) -> None:
    world.fated(("ada", 3), Fate.ANSWERED)

    assert counts(world.check()) == {"lost": 1, "rows_missing": 1}


def test_sees_each_answer_too_many(world: World) -> None:
    world.seen += [Seen(ADA, answer_text(("ada", 1)))] * 2

    assert counts(world.check()) == {"doubled": 2}


def test_sees_answers_that_changed_places(world: World) -> None:
    world.seen[0], world.seen[2] = world.seen[2], world.seen[0]

    assert counts(world.check()) == {"reordered": 1}


def test_takes_answers_of_two_conversations_in_any_order(world: World) -> None:
    world.seen[0], world.seen[1] = world.seen[1], world.seen[0]

    assert counts(world.check()) == {}


def test_sees_an_answer_in_the_wrong_conversation(world: World) -> None:
    world.seen[2] = replace(world.seen[2], place=BEN)

    assert counts(world.check()) == {"lost": 1, "foreign": 1}


def test_sees_an_answer_to_what_was_never_asked(world: World) -> None:
    world.seen.append(Seen(ADA, answer_text(("ada", 9))))

    assert counts(world.check()) == {"foreign": 1}


def test_sees_words_of_one_conversation_in_a_prompt_of_another(world: World) -> None:
    world.prompts.append("ada number 1\nben number 2")

    assert counts(world.check()) == {"foreign": 1}


def test_sees_half_of_another_conversations_answer(world: World) -> None:
    world.seen.append(Seen(BEN, "answer to ada number 1"))

    assert counts(world.check()) == {"foreign": 1, "half": 1}


@pytest.mark.parametrize("left", ["answer to", "answer to ada number 3", lines.FAULT, lines.BUSY, "…", lines.STOPPED])
def test_sees_what_was_left_standing_beside_the_answers(world: World, left: str) -> None:
    world.seen.append(Seen(ADA, left))

    assert counts(world.check()) == {"half": 1}


def test_sees_an_answer_that_only_begins_well(world: World) -> None:
    world.seen[4] = Seen(ADA, f"{answer_text(('ada', 3))} and more")

    assert counts(world.check()) == {"lost": 1, "half": 1}


def test_sees_a_history_that_forgot_a_turn(world: World) -> None:
    del world.turns[ADA][3]

    assert counts(world.check()) == {"history": 1}


def test_sees_a_history_that_holds_a_turn_twice(world: World) -> None:
    world.turns[ADA] += pair(("ada", 3))

    assert counts(world.check()) == {"history": 1}


def test_sees_a_history_out_of_order(world: World) -> None:
    world.turns[ADA][0:2], world.turns[ADA][2:4] = world.turns[ADA][2:4], world.turns[ADA][0:2]

    assert counts(world.check()) == {"history": 1}


def test_sees_a_history_that_is_gone(world: World) -> None:
    del world.turns[BEN]

    assert counts(world.check()) == {"history": 1}


def test_reads_through_the_labels_of_speakers(world: World) -> None:
    world.turns[ADA][0] = replace(world.turns[ADA][0], text="Ada: ada number 1")

    assert counts(world.check()) == {}


def test_lets_the_oldest_turns_make_room_and_no_others() -> None:
    keys = [("ada", number) for number in range(50)]
    asked = [Question(key, ADA, turn_id(key)) for key in keys]
    seen = [Seen(ADA, answer_text(key)) for key in keys]
    rows = [row_of(key) for key in keys]
    turns = [turn for key in keys for turn in pair(key)]

    assert not check(asked, seen, {ADA: turns[-60:]}, rows)
    assert check(asked, seen, {ADA: turns[:60]}, rows).history == 1
    assert check(asked, seen, {ADA: turns[-20:]}, rows).history == 1


def test_sees_a_row_that_is_missing(world: World) -> None:
    del world.rows[1]

    assert counts(world.check()) == {"rows_missing": 1, "history": 1}


@pytest.mark.parametrize("extra", [row_of(("ada", 1)), row_of(("ada", 9))], ids=["twice", "unknown"])
def test_sees_a_row_too_many(world: World, extra: Row) -> None:
    world.rows.append(extra)

    assert counts(world.check()) == {"rows_extra": 1}


@pytest.mark.parametrize("change", [{"place": BEN}, {"question": "ben number 1"}, {"answer": "answer to ada"}])
def test_sees_a_row_that_tells_another_story(world: World, change: dict[str, str]) -> None:
    world.rows[0] = replace(world.rows[0], **change)  # type: ignore[arg-type]

    assert counts(world.check()) == {"rows_wrong": 1}


def test_sees_a_success_that_was_none(world: World) -> None:
    world.fated(("ada", 2), Fate.FAILED, Outcome.ANSWERED, lines.HOST_AWAY)

    assert counts(world.check())["rows_wrong"] == 1


def test_sees_a_failure_where_there_should_be_an_answer(world: World) -> None:
    world.fated(("ada", 2), Fate.ANSWERED, Outcome.FAILED, lines.HOST_AWAY)

    assert counts(world.check()) == {"lost": 1, "half": 1, "rows_wrong": 1}


@pytest.mark.parametrize("said", [lines.HOST_AWAY, f"answer to ada\n\n{lines.BROKE_OFF}"])
def test_a_failure_that_was_due_needs_one_line(world: World, said: str) -> None:
    world.fated(("ada", 2), Fate.FAILED, Outcome.FAILED, said)
    assert counts(world.check()) == {}

    world.seen.append(Seen(ADA, lines.HOST_AWAY))
    assert counts(world.check()) == {"half": 1}


def test_sees_a_failure_that_nobody_was_told_of(world: World) -> None:
    world.fated(("ada", 2), Fate.FAILED, Outcome.FAILED)

    assert counts(world.check()) == {"lost": 1}


def test_a_stopped_answer_keeps_what_was_said(world: World) -> None:
    world.fated(("ada", 2), Fate.STOPPED, Outcome.STOPPED, f"answer to\n\n{lines.STOPPED}")

    assert counts(world.check()) == {}


def test_a_withdrawn_question_leaves_a_row_without_text(world: World) -> None:
    world.fated(("ada", 2), Fate.WITHDRAWN, Outcome.WITHDRAWN)

    assert counts(world.check()) == {}


def test_sees_what_a_withdrawn_question_left_behind(world: World) -> None:
    world.fated(("ada", 2), Fate.WITHDRAWN, Outcome.WITHDRAWN)
    world.rows[-1] = replace(world.rows[-1], question="ada number 2")
    world.seen.append(Seen(ADA, answer_text(("ada", 2))))
    world.turns[ADA][2:2] = pair(("ada", 2))

    assert counts(world.check()) == {"half": 1, "history": 1, "rows_wrong": 1, "reordered": 1}


def test_a_question_that_was_turned_away_may_be_told_so_and_leaves_nothing(world: World) -> None:
    world.fated(("ada", 2), Fate.TURNED_AWAY, None, lines.LIMITED.format(wait="7 seconds"))
    assert counts(world.check()) == {}

    world.rows.append(row_of(("ada", 2)))
    assert counts(world.check()) == {"rows_extra": 1}


def test_a_deletion_that_may_be_late_leaves_all_or_nothing(world: World) -> None:
    world.asked[2].fate = Fate.ANSWERED_OR_WITHDRAWN
    assert counts(world.check()) == {}

    world.fated(("ada", 2), Fate.ANSWERED_OR_WITHDRAWN, Outcome.WITHDRAWN)
    assert counts(world.check()) == {}

    world.seen.append(Seen(ADA, answer_text(("ada", 2))))
    assert counts(world.check()) == {"half": 1, "reordered": 1}


def test_an_answer_that_may_fail_must_fail_in_one_piece(world: World) -> None:
    world.fated(("ada", 2), Fate.ANSWERED_OR_FAILED, Outcome.FAILED, lines.HOST_AWAY)
    assert counts(world.check()) == {}

    world.seen.remove(Seen(ADA, lines.HOST_AWAY))
    assert counts(world.check()) == {"lost": 1}
