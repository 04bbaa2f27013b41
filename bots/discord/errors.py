"""What an operator has to put right on Discord's side.

ParleyError
└── DiscordSetupError      the token or a switch in the developer portal is wrong: no retry can help
"""

from __future__ import annotations

from core.chat.errors import ParleyError

PORTAL = "https://discord.com/developers/applications"


class DiscordSetupError(ParleyError):
    """Discord refuses the bot as it is set up; the message names the setting or the switch."""


def wrong_token() -> DiscordSetupError:
    """The token is not valid."""
    return DiscordSetupError(
        f"Discord refuses DISCORD_TOKEN; copy the bot's token anew from {PORTAL} (Bot, Reset Token)."
    )


def intent_is_off() -> DiscordSetupError:
    """The bot asks for the content of all messages, and the application may not have it."""
    return DiscordSetupError(
        "Discord refuses the message content intent (close code 4014); turn on 'Message Content Intent' at "
        f"{PORTAL} (Bot, Privileged Gateway Intents), or let Parley answer mentions, replies and direct messages only."
    )
