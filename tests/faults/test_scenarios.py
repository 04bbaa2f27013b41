"""Every scenario in its short form: nothing lost, doubled, out of order, in the wrong place, or missing in the log."""

from __future__ import annotations

import pytest

from tests.faults.scenarios.playbill import SCENARIOS, Scenario
from tests.faults.scenarios.theatre import Theatre

CASES = [
    pytest.param(scenario, platform, id=scenario.id(platform))
    for scenario in SCENARIOS
    for platform in scenario.short_platforms
]


@pytest.mark.parametrize(("scenario", "platform"), CASES)
async def test_scenario(scenario: Scenario, theatre: Theatre) -> None:
    report = await scenario.play(theatre, scenario.short)

    assert report.messages > 0
    assert not report.harm, str(report.harm)
