"""What a message, its edits and its deletion mean to core: the gateway's events and the history end here alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import discord
import structlog

from bots.discord.reading import Reader
from core.chat.intake import Intake, Receipt
from core.chat.message import Message
from core.chat.ports import Change

_log = structlog.get_logger(__name__)

# An edit is taken for a new question only while the mailbox would know the old one: for a day, less some difference of
# the clocks. An older one could be answered twice.
NEW_BY_EDIT_S = 23 * 3600.0


@dataclass(frozen=True, slots=True)
class Hearing:
    """Hands on what `reader` can read. Every method is safe to repeat, and raises StoreUnavailable."""

    intake: Intake
    reader: Reader
    now: Callable[[], float] = time.time

    async def said(self, message: discord.Message, client: discord.Client) -> None:
        """A message was said."""
        if said := await self.reader.read(message, client):
            await self.receive(message, said)

    async def receive(self, message: discord.Message, said: Message) -> Receipt:
        """Hands on `message`, read as `said`."""
        receipt = await self.intake.receive(said)
        self.reader.remember(message, said)
        _log.info("discord_message_heard", turn=said.id, address=said.address.value, receipt=receipt.value)
        return receipt

    async def edited(self, message: discord.Message, client: discord.Client) -> None:
        """A message has another text, as far as Discord tells; pins and embeds come as edits, too.

        One that is now for us and was not before is a question like any other: people add the mention they forgot, and
        expect an answer. One that no longer is for us was taken back.
        """
        known = self.reader.known(str(message.id))
        if known is not None and known.content_hash == hash(message.content):
            return
        said = await self.reader.read(message, client)
        if said is None:
            if known is not None:
                await self.deleted([str(message.id)], message.channel.id, _guild_id(message), client)
            return
        if message.content:  # without the message content intent Discord hides that of a reply without a mention
            await self.revise(message, said)

    async def revise(self, message: discord.Message, said: Message) -> None:
        """Hands on the edit of `message`, read as `said`."""
        change = await self.intake.revise(said)
        _log.info("discord_edit_heard", turn=said.id, change=change.value)
        if change is Change.LATE and said.sent_at > self.now() - NEW_BY_EDIT_S:
            await self.receive(message, said)  # a duplicate, unless it was never for us
        self.reader.remember(message, said)

    async def deleted(
        self, native_ids: Sequence[str], channel_id: int, guild_id: int | None, client: discord.Client
    ) -> None:
        """Messages were deleted."""
        for native_id in native_ids:
            conversation = self.reader.whereabouts(native_id, channel_id, guild_id, client)
            turn_id = conversation.message_id(native_id)
            change = await self.intake.withdraw(conversation, turn_id)
            if change is not Change.LATE:
                _log.info("discord_deletion_heard", turn=turn_id, change=change.value)


def _guild_id(message: discord.Message) -> int | None:
    return message.guild.id if message.guild else None
