"""A real bot process on each platform: limits, absences and lost connections, as they are set and as they are seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from storage.connections import open_redis
from storage.marks import RedisMarks
from tests.support.discord_harness import DiscordHarness
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN
from tests.support.running import Home, until
from tests.support.slack_harness import SlackHarness
from tests.support.wall import Wall
from tests.support.watched import running

MARKS = {"slack": "slack:T1", "discord": "discord"}  # the name under which a platform's gateway keeps its mark

People = SlackHarness | DiscordHarness


@pytest.fixture(params=["slack", "discord"])
async def people(request: pytest.FixtureRequest) -> AsyncIterator[People]:
    if request.param == "slack":
        async with FakeSlack() as slack:
            yield SlackHarness(slack, Wall())
    else:
        async with FakeDiscord() as discord:
            yield DiscordHarness(discord, Wall())


@pytest.fixture
def home(people: People, tmp_path: Path, redis_url: str) -> Home:
    return Home(tmp_path, {"REDIS_URL": redis_url, **settings_of(people)})


def settings_of(people: People) -> dict[str, str]:
    if isinstance(people, SlackHarness):
        return {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_API_URL": people.slack.url}
    return {
        "DISCORD_TOKEN": people.discord.token,
        "DISCORD_API_URL": people.discord.api_url,
        "DISCORD_GATEWAY_URL": people.discord.gateway_url,
    }


def is_ready(page: Any) -> bool:
    return bool(page["ready"])


async def test_who_asks_too_much_is_told_and_counted(home: Home, people: People) -> None:
    home.settings["PERSON_MESSAGES_PER_MINUTE"] = "1"
    async with running(home, "bot") as bot:
        await bot.until(is_ready)
        await people.say_direct("U1", "one")
        await people.say_direct("U1", "two")
        await people.say_direct("U2", "one")

        await until(lambda: len(people.visible()) == 1)
        await bot.until_count(2, "parley_messages_total", receipt="accepted")
        limited = await bot.count("parley_messages_total", receipt="limited")

    assert "ask again in" in people.visible()[0]
    assert limited == 1


async def test_a_bot_that_hears_nothing_says_so(home: Home, people: People) -> None:
    async with running(home, "bot") as bot:
        await bot.until(is_ready)

        await people.disconnect()
        away = await bot.until(lambda page: not page["ready"])

    assert list(away["missing"]) == [people.platform]


async def test_what_was_said_while_the_bot_was_away_is_read_once_and_counted(home: Home, people: People) -> None:
    client = open_redis(home.settings["REDIS_URL"])
    marks = RedisMarks(client)
    async with running(home, "bot") as bot:
        await bot.until(is_ready)
        await people.say_direct("U1", "heard")
        await bot.until_count(1, "parley_messages_total", receipt="accepted")
        async with asyncio.timeout(20.0):
            while await marks.alive(MARKS[people.platform]) is None:
                await asyncio.sleep(0.05)
    await client.aclose()

    await people.say_direct("U1", "missed")
    async with running(home, "bot") as bot:
        await bot.until(is_ready)
        await bot.until_count(1, "parley_backfilled_total", platform=people.platform)
        accepted = await bot.count("parley_messages_total", receipt="accepted")
        repeated = await bot.count("parley_messages_total", receipt="duplicate")

    assert accepted == 1
    assert repeated >= 1  # what was heard before the bot went away
