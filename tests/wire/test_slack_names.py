"""Names of people: asked once in a while, and never held against a message."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bots.slack import names as limits
from bots.slack.connection import SlackWeb, open_web
from bots.slack.names import Names
from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.server import BOT_TOKEN


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as fake:
        fake.workspace.people |= {"U1": "Ada", "U2": "Bo\nnie"}
        yield fake


@pytest.fixture
async def web(slack: FakeSlack) -> AsyncIterator[SlackWeb]:
    async with open_web(BOT_TOKEN, slack.url) as opened:
        yield opened


async def test_names_are_one_line_and_unknown_people_their_id(web: SlackWeb) -> None:
    assert await Names(web.prompt).of(["U1", "U2", "U9"]) == {"U1": "Ada", "U2": "Bo nie", "U9": "U9"}


async def test_a_name_is_asked_again_when_it_is_old(slack: FakeSlack, web: SlackWeb) -> None:
    now = 0.0
    names = Names(web.prompt, lambda: now)

    await names.of(["U1"])
    slack.workspace.people["U1"] = "Ada L."
    now = limits.KEPT_S - 1
    kept = await names.of(["U1"])
    now = limits.KEPT_S + 1
    renewed = await names.of(["U1"])

    assert (kept["U1"], renewed["U1"]) == ("Ada", "Ada L.")


async def test_a_failure_is_not_repeated_with_every_message(slack: FakeSlack, web: SlackWeb) -> None:
    now = 0.0
    names = Names(web.prompt, lambda: now)
    slack.refuse("users.info", status=429, error="ratelimited")

    first = await names.of(["U1"])
    second = await names.of(["U1"])
    now = limits.KEPT_UNKNOWN_S + 1
    third = await names.of(["U1"])

    assert (first["U1"], second["U1"], third["U1"]) == ("U1", "U1", "Ada")
    assert slack.asked["users.info"] == 2


async def test_a_message_full_of_mentions_asks_for_few(slack: FakeSlack, web: SlackWeb) -> None:
    await Names(web.prompt).of([f"U{number}" for number in range(50_000)])

    assert slack.asked["users.info"] == limits.MAX_ASKED
