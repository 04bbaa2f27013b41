"""The buckets that keep Slack's tiers."""

from __future__ import annotations

import pytest

from bots.slack.pace import TIERS


@pytest.mark.parametrize("method", TIERS)
def test_no_minute_has_more_calls_than_the_tier(method: str) -> None:
    bucket = TIERS[method].bucket(method)

    assert bucket.burst + 60.0 * bucket.per_s <= TIERS[method].per_minute


def test_growing_texts_leave_turns_for_the_final_ones() -> None:
    spare, whole = TIERS["chat.update:spare"], TIERS["chat.update"]

    assert spare.per_minute < whole.per_minute
    assert spare.burst < whole.burst
