"""Where Discord is: the official endpoints or a proxy's, set once per process as the SDK keeps them in its classes."""

from __future__ import annotations

import logging

import yarl
from discord import VoiceClient
from discord.gateway import DiscordWebSocket
from discord.http import Route


def use_endpoints(api_url: str | None = None, gateway_url: str | None = None) -> None:
    """Points the SDK to `api_url` (with its version, as in ".../api/v10") and `gateway_url`, where they are given."""
    if api_url:
        Route.BASE = api_url.rstrip("/")
    if gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    VoiceClient.warn_nacl = VoiceClient.warn_dave = False  # warnings about voice, which we never use
    # At debug level the SDK writes whole events and request bodies: what people say belongs in no process log.
    sdk_log = logging.getLogger("discord")
    if sdk_log.getEffectiveLevel() < logging.INFO:
        sdk_log.setLevel(logging.INFO)
