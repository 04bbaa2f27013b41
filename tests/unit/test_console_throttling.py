"""How long one waits after failures: nothing at first, then longer, never for long, and forgotten after a while."""

from __future__ import annotations

import pytest

from core.loop.throttling import ACCOUNT, ADDRESS, FORGOTTEN_S, PAIR, Count, Slowness, wait_s

NOW = 1_000_000.0


@pytest.mark.parametrize(("failures", "expected"), [(0, 0), (4, 0), (5, 1), (6, 2), (10, 32), (40, 300), (10**9, 300)])
def test_the_wait_doubles_up_to_its_longest(failures: int, expected: float) -> None:
    assert wait_s(Count(failures, NOW), PAIR, NOW) == expected


def test_the_wait_passes_with_time() -> None:
    assert wait_s(Count(8, NOW - 5), PAIR, NOW) == 3
    assert wait_s(Count(8, NOW - 8), PAIR, NOW) == 0
    assert wait_s(Count(1000, NOW - FORGOTTEN_S), Slowness(0, 10 * FORGOTTEN_S), NOW) == 0


def test_an_account_that_is_guessed_at_from_everywhere_is_slow_for_half_a_minute_at_most() -> None:
    assert wait_s(Count(10**6, NOW), ACCOUNT, NOW) == 30
    assert wait_s(Count(10**6, NOW), ADDRESS, NOW) == 60
