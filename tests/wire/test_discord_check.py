"""The check over a real socket: what an operator is told of the bot."""

from __future__ import annotations

import pytest

from bots.discord.check import check_discord
from bots.discord.errors import DiscordSetupError
from tests.support.fake_discord import FakeDiscord


@pytest.mark.parametrize("message_content", [True, False])
async def test_check_tells_what_the_bot_is_and_may(message_content: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async with FakeDiscord(message_content=message_content) as fake:
        facts = await check_discord(fake.token, fake.api_url)

        assert (facts.bot_name, facts.bot_id) == ("Parley", fake.world.bot.id)
        assert (facts.message_content, facts.public, facts.guild_count) == (message_content, True, 1)


async def test_invite_asks_for_the_needed_permissions_and_no_more() -> None:
    async with FakeDiscord() as fake:
        facts = await check_discord(fake.token, fake.api_url)

    view, send, history, in_threads = 1 << 10, 1 << 11, 1 << 16, 1 << 38
    assert f"client_id={fake.world.bot.id}" in facts.invite_url
    assert f"permissions={view | send | history | in_threads}" in facts.invite_url
    assert "scope=bot" in facts.invite_url


async def test_wrong_token_is_named() -> None:
    async with FakeDiscord() as fake:
        with pytest.raises(DiscordSetupError, match="DISCORD_TOKEN"):
            await check_discord("wrong", fake.api_url)


async def test_unreachable_discord_is_named_with_its_address() -> None:
    async with FakeDiscord() as fake:
        nowhere = "http://127.0.0.1:9/api/v10"

        with pytest.raises(DiscordSetupError, match=r"127\.0\.0\.1:9.*DISCORD_API_URL"):
            await check_discord(fake.token, nowhere)
