"""What Discord says of the bot, for `parley check`: is the token good, what may it read, how is it invited."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import discord

from bots.discord.api import http_client
from bots.discord.endpoints import use_endpoints
from bots.discord.errors import DiscordSetupError, wrong_token

CHECK_S = 20.0


@dataclass(frozen=True, slots=True)
class DiscordFacts:
    """The bot as Discord knows it. `invite_url` adds it to a server with exactly the permissions it needs."""

    bot_name: str
    bot_id: str
    message_content: bool
    public: bool
    guild_count: int
    invite_url: str


async def check_discord(token: str, api_url: str | None = None) -> DiscordFacts:
    """Asks Discord about the bot behind `token`.

    Raises:
        DiscordSetupError: the token is refused, or Discord cannot be reached.
    """
    use_endpoints(api_url)
    client = http_client(aiohttp.TraceConfig())
    try:
        async with asyncio.timeout(CHECK_S):
            await client.login(token)
    except discord.LoginFailure as error:
        raise wrong_token() from error
    except (discord.HTTPException, aiohttp.ClientError, OSError, TimeoutError) as error:
        where = discord.http.Route.BASE
        raise DiscordSetupError(
            f"Discord cannot be asked at {where} ({type(error).__name__}: {error}); "
            "check this machine's way to the internet, or DISCORD_API_URL."
        ) from error
    finally:
        await client.close()
    return _facts(client)


def needed_permissions() -> discord.Permissions:
    """What the bot needs in a channel in order to answer there."""
    return discord.Permissions(
        view_channel=True,
        send_messages=True,
        send_messages_in_threads=True,
        read_message_history=True,  # a reply needs it, and so does finding our own earlier post
    )


def _facts(client: discord.Client) -> DiscordFacts:
    application, user = client.application, client.user
    if application is None or user is None:
        raise DiscordSetupError("Discord accepted DISCORD_TOKEN but named no application behind it.")
    flags = application.flags
    return DiscordFacts(
        bot_name=user.name,
        bot_id=str(user.id),
        # "limited" is the same switch for bots in fewer than a hundred servers.
        message_content=flags.gateway_message_content or flags.gateway_message_content_limited,
        public=application.bot_public,
        guild_count=application.approximate_guild_count,
        invite_url=discord.utils.oauth_url(
            application.id, permissions=needed_permissions(), scopes=("bot", "applications.commands")
        ),
    )
