"""A Discord on loopback: its gateway and its HTTP API, refusing what Discord refuses."""

from tests.support.fake_discord.server import FakeDiscord

__all__ = ["FakeDiscord"]
