"""The SDK's client, asking Discord for no more than we need; what it hears goes to a listener in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

import discord
import structlog
import yarl

from bots.discord.buttons import AnswerButton
from bots.discord.judging import Judging

_log = structlog.get_logger(__name__)

# The first connection of a client counts as lost until there is a session.
_FIRST = -1


class Listener(Protocol):
    """Gets what happens, in order. No method may wait: the heartbeat would stop, and Discord hang up."""

    def session_began(self, shard_id: int) -> None:
        """Discord told a shard that it begins anew: what happened before is lost to it. Its servers follow."""

    def servers_told(self, shard_id: int) -> None:
        """Discord has told a shard of its servers, their channels and their threads."""

    def server_told_late(self, guild: discord.Guild) -> None:
        """Discord tells of a server that was unavailable."""

    def said(self, message: discord.Message) -> None:
        """Somebody said something."""

    def edited(self, message: discord.Message) -> None:
        """A message may have another text."""

    def deleted(self, native_ids: Sequence[str], channel_id: int, guild_id: int | None) -> None:
        """Messages of one channel were deleted."""

    def reacted(self, payload: discord.RawReactionActionEvent, *, added: bool) -> None:
        """Somebody put a reaction below a message, or took it away."""


class GatewayClient(discord.AutoShardedClient):
    """One client for all shards. `listener` is to be set before it starts; without `judging` buttons do nothing."""

    listener: Listener
    judging: Judging | None = None

    def __init__(
        self, *, message_content: bool, gateway_url: str | None, guild_ready_s: float, identify_s: float
    ) -> None:
        super().__init__(
            intents=_intents(message_content=message_content),
            max_messages=None,
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=guild_ready_s,
            max_ratelimit_timeout=30.0,
        )
        self.had_session = False
        self._gateway_url = gateway_url
        self._identify_s = identify_s
        self._lost_at = {_FIRST: time.monotonic()}
        self.add_dynamic_items(AnswerButton)

    def lost_for(self) -> float:
        """For how many seconds a shard has been without a session; 0.0 when all have one."""
        return time.monotonic() - min(self._lost_at.values()) if self._lost_at else 0.0

    def is_lost(self, shard_id: int) -> bool:
        """Whether the shard is without a session."""
        return shard_id in self._lost_at

    def shard_of(self, guild_id: int | None) -> int:
        """The shard that hears of a server; direct messages come to the first."""
        return (guild_id >> 22) % (self.shard_count or 1) if guild_id else 0

    async def launch_shard(self, gateway: yarl.URL, shard_id: int, *, initial: bool = False) -> None:
        """Opens the first connection of a shard, at our gateway rather than the one that the API names."""
        ours = yarl.URL(self._gateway_url) if self._gateway_url else gateway
        await super().launch_shard(ours, shard_id, initial=initial)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Keeps the pace at which Discord lets a bot begin sessions."""
        if not initial:
            await asyncio.sleep(self._identify_s)

    async def on_shard_connect(self, shard_id: int) -> None:
        """A session has begun."""
        self._found(shard_id)
        self.listener.session_began(shard_id)
        _log.info("discord_connected", shard=shard_id, bot=str(self.user))

    async def on_shard_ready(self, shard_id: int) -> None:
        """The servers are known."""
        self.listener.servers_told(shard_id)

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """A server is known, of those that Discord tells us of at the start or of one that was in trouble."""
        self.listener.server_told_late(guild)

    async def on_shard_resumed(self, shard_id: int) -> None:
        """A session goes on, and Discord has told what happened meanwhile."""
        self._found(shard_id)
        _log.info("discord_resumed", shard=shard_id)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """A connection is gone, or its session is; the SDK goes on by itself."""
        self._lost_at.setdefault(shard_id, time.monotonic())

    async def on_message(self, message: discord.Message) -> None:
        """Somebody said something."""
        self.listener.said(message)

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """A message changed: its text, or only what Discord shows below it. Our own answers grow by edits, too."""
        if payload.message.edited_at is not None and not payload.message.author.bot:
            self.listener.edited(payload.message)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """A message was deleted."""
        self.listener.deleted([str(payload.message_id)], payload.channel_id, payload.guild_id)

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """Messages were deleted at once, as moderators do."""
        ids = [str(id_) for id_ in sorted(payload.message_ids)]
        self.listener.deleted(ids, payload.channel_id, payload.guild_id)

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        """A reaction was added."""
        self.listener.reacted(payload, added=True)

    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        """A reaction was taken away."""
        self.listener.reacted(payload, added=False)

    async def on_interaction(self, interaction: discord.Interaction[GatewayClient]) -> None:
        """A form was sent; buttons find their way by themselves."""
        if self.judging is not None:
            await self.judging.submitted(interaction)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """An event that we could not handle; the SDK would write it with the message's text."""
        _log.exception("discord_event_failed", discord_event=event_method)

    def _found(self, shard_id: int) -> None:
        self.had_session = True
        self._lost_at.pop(_FIRST, None)
        self._lost_at.pop(shard_id, None)


def _intents(*, message_content: bool) -> discord.Intents:
    intents = discord.Intents.none()
    intents.guilds = True
    intents.guild_messages = True
    intents.dm_messages = True
    intents.guild_reactions = True
    intents.dm_reactions = True
    intents.message_content = message_content
    return intents
