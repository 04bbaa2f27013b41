"""What a host's Retry-After means, and how many retries all answers together may make."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.client.timing import Retries, RetryBudget, seconds_of
from tests.support.asking import Ticking

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("86400", 60.0),
        ("inf", 60.0),
        ("nan", 0.0),
        ("soon", None),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 14:00:30 +0200", 30.0),
        ("Sun, 01 Mar 2026 11:59:00 GMT", 0.0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", 60.0),
        ("Sun, 01 Mar 99999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header, NOON) == seconds


@given(st.text() | st.from_regex(r"\A\w{3}, [0-9]{1,5} \w{3} [0-9]{1,6} [0-9:]{1,8} [+-]?\w{1,5}\Z"))
def test_no_header_breaks_it(header: str) -> None:
    seconds = seconds_of(header, NOON)

    assert seconds is None or 0.0 <= seconds <= 60.0


def test_retries_are_a_share_of_the_answers_after_a_first_burst() -> None:
    budget = RetryBudget(Retries(share=0.2, per_minute=0.0, burst=10.0), Ticking())

    made = 0
    for _ in range(1000):
        budget.asked()
        made += budget.spend()

    assert 200 <= made <= 210


def test_quiet_bot_may_retry_some_each_minute() -> None:
    clock = Ticking()
    budget = RetryBudget(Retries(share=0.0, per_minute=6.0, burst=2.0), clock)
    assert [budget.spend() for _ in range(3)] == [True, True, False]

    clock.tick(10.0)

    assert [budget.spend() for _ in range(2)] == [True, False]


def test_long_silence_saves_up_no_more_than_the_burst() -> None:
    clock = Ticking()
    budget = RetryBudget(Retries(burst=3.0), clock)

    clock.tick(86_400.0)

    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
