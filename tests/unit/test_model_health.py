"""Passive health of one host: when it is set aside, for how long, who tries it, and what brings it back."""

from __future__ import annotations

import math

import pytest

from core.chat.errors import AnswerBroken, HostError, HostRefused, HostUnavailable, PromptTooLong
from model.client.errors import Overloaded, Stalled, UnknownModel, Unreachable
from model.client.health import BackOff, Health
from tests.support.asking import Ticking, never

BACK_OFF = BackOff(failures=3, first_s=1.0, most_s=8.0, pause_s=0.5)


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def health(clock: Ticking) -> Health:
    return Health(BACK_OFF, clock, never)


def fail(health: Health, clock: Ticking, error: HostError) -> None:
    """A request begins, and fails a little later."""
    began = clock()
    clock.tick(0.001)
    health.failed(error, began)


@pytest.mark.parametrize("error", [Unreachable("gone"), Stalled("silent")])
def test_host_without_a_word_is_set_aside_at_once(health: Health, clock: Ticking, error: HostError) -> None:
    fail(health, clock, error)

    assert (health.aside, health.wait_s(), health.reason) == (True, 1.0, str(error))


@pytest.mark.parametrize("error", [HostUnavailable("500"), AnswerBroken("abort"), Overloaded("502", 0.0)])
def test_other_failures_set_it_aside_when_they_are_three_in_a_row(
    health: Health, clock: Ticking, error: HostError
) -> None:
    seen = []
    for _ in range(3):
        fail(health, clock, error)
        seen.append(health.aside)

    assert seen == [False, False, True]


def test_proper_answer_between_failures_starts_the_count_anew(health: Health, clock: Ticking) -> None:
    for _ in range(5):
        fail(health, clock, AnswerBroken("abort"))
        fail(health, clock, AnswerBroken("abort"))
        health.finished(clock())

    assert not health.aside


def test_first_text_of_an_answer_is_no_proper_answer(health: Health, clock: Ticking) -> None:
    for _ in range(3):
        health.answering(clock())
        fail(health, clock, AnswerBroken("abort"))

    assert health.aside


@pytest.mark.parametrize(
    "error", [HostRefused("bad"), PromptTooLong(9, 8), UnknownModel("no"), Overloaded("429", 0.0, full=True)]
)
def test_refusals_are_no_failures(health: Health, clock: Ticking, error: HostError) -> None:
    for _ in range(5):
        fail(health, clock, error)

    assert not health.aside


def test_back_off_doubles_up_to_its_most(health: Health, clock: Ticking) -> None:
    waits = []
    for _ in range(6):
        fail(health, clock, Unreachable("gone"))
        waits.append(health.wait_s())
        clock.tick(health.wait_s())

    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_back_off_is_spread_by_up_to_half(clock: Ticking) -> None:
    health = Health(BACK_OFF, clock, lambda: 1.0)

    fail(health, clock, Unreachable("gone"))

    assert health.wait_s() == pytest.approx(0.5)


def test_proper_answer_starts_the_back_off_anew(health: Health, clock: Ticking) -> None:
    for _ in range(4):
        fail(health, clock, Unreachable("gone"))
        clock.tick(health.wait_s())

    health.finished(clock())
    fail(health, clock, Unreachable("gone"))

    assert health.wait_s() == 1.0


def test_twenty_answers_that_break_at_once_are_one_failure(health: Health, clock: Ticking) -> None:
    began = clock()
    clock.tick(1.0)

    for _ in range(20):
        health.failed(Unreachable("gone"), began)

    assert health.wait_s() == 1.0


def test_answers_from_before_do_not_bring_it_back(health: Health, clock: Ticking) -> None:
    began = clock()
    clock.tick(1.0)
    fail(health, clock, Unreachable("gone"))
    clock.tick(1.5)

    health.answering(began)
    health.finished(began)

    assert health.aside


def test_one_probe_at_a_time_and_its_first_text_brings_it_back(health: Health, clock: Ticking) -> None:
    fail(health, clock, Unreachable("gone"))
    clock.tick(1.0)
    before = health.wait_s()
    health.probing = True

    during = health.wait_s()
    health.answering(clock())

    assert (before, during, health.wait_s(), health.aside) == (0.0, math.inf, 0.0, False)


def test_failed_probe_sets_it_aside_for_longer(health: Health, clock: Ticking) -> None:
    fail(health, clock, Unreachable("gone"))
    clock.tick(1.0)
    health.probing = True

    fail(health, clock, Overloaded("503", None))

    assert (health.aside, health.probing, health.wait_s()) == (True, False, 2.0)


def test_time_that_the_host_asks_for_is_left_to_it(health: Health, clock: Ticking) -> None:
    fail(health, clock, Overloaded("429", 7.0, full=True))

    assert (health.aside, health.wait_s(), health.wait_s(small=True)) == (False, 7.0, 7.0)
    clock.tick(7.0)
    assert health.wait_s() == 0.0


def test_host_that_does_not_say_for_how_long_is_left_alone_for_a_moment(health: Health, clock: Ticking) -> None:
    fail(health, clock, Overloaded("503", None))

    assert health.wait_s() == 0.5


def test_stuck_engine_is_no_reason_not_to_count_tokens(health: Health, clock: Ticking) -> None:
    fail(health, clock, Stalled("silent"))

    assert (health.wait_s(), health.wait_s(small=True)) == (1.0, 0.0)


def test_small_answer_brings_back_who_was_gone_but_not_who_was_stuck(health: Health, clock: Ticking) -> None:
    fail(health, clock, Stalled("silent"))
    clock.tick(1.0)
    health.reached(clock())
    stuck = health.aside
    fail(health, clock, Unreachable("gone"))
    clock.tick(health.wait_s(small=True))
    health.reached(clock())

    assert (stuck, health.aside) == (True, False)
