"""The harness itself: with a guard taken out, the scenario that is named for it sees the harm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.scenarios import platforms, processes
from tests.faults.scenarios.theatre import Size, Theatre


def without(guard: str, theatre: Theatre) -> Theatre:
    """All processes run without `guard`; the harm they do does not go away by waiting."""
    return replace(theatre, entry=("tests.support.saboteur", guard), patience_s=1.0)


@pytest.mark.parametrize("platform", ["slack", "discord"])
async def test_without_the_reconcile_a_worker_that_dies_mid_answer_leaves_harm(theatre: Theatre) -> None:
    report = await processes.killed_mid_answer(without("reconcile", theatre), Size(4, 1))

    assert report.harm.half > 0, str(report.harm)


@pytest.mark.parametrize("platform", ["slack", "discord"])
async def test_without_the_dedupe_an_event_that_comes_again_does_harm(theatre: Theatre) -> None:
    # Direct messages only: Slack tells of a mention in a thread twice at once, and what waits twice is never done.
    report = await platforms.delivered_late(without("dedupe", theatre), Size(4, 2, rooms=False))

    # Discord itself takes the second post for the first, by its nonce; what is remembered is doubled all the same.
    assert report.harm.history > 0, str(report.harm)
    assert report.harm.doubled > 0 or theatre.platform == "discord", str(report.harm)
