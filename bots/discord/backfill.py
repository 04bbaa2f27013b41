"""What was said while nobody listened, read from Discord's history of each channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import discord
import structlog

from bots.discord.hearing import Hearing
from bots.discord.inflow import NotYet
from bots.discord.patience import Calls
from bots.discord.reading import DIRECT_MESSAGES, PLATFORM
from core.chat.errors import DeliveryFailed, StoreUnavailable
from core.chat.intake import STOP_WORDS, Receipt
from core.chat.message import Message
from core.chat.ports import Marks, Meter

_log = structlog.get_logger(__name__)

# The mailbox knows duplicates for a day; what is older, by a clock that may differ from ours, could be answered twice.
_OLDEST_S = 24 * 3600 - 600.0
# How far back a direct message may lie for its channel to be looked into, and how many are.
_DIRECT_S = 7 * 24 * 3600.0
_MOST_DIRECT = 100
_PAGE = 100  # messages that Discord gives at once

Room = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread
Readable = Room | discord.PartialMessageable


@dataclass(frozen=True, slots=True)
class BackfillSettings:
    """How far a backfill reaches: back from now, beyond the mark, and in messages over all channels.

    `at_once` channels are read at a time. The mark of a gateway that hears all is moved every `mark_s` seconds.
    """

    longest_s: float = 24 * 3600.0
    overlap_s: float = 60.0
    most_messages: int = 1000
    at_once: int = 4
    mark_s: float = 5.0


@dataclass(slots=True)
class Backfill:
    """Finds the channels in which something was missed, and reads them."""

    marks: Marks
    hearing: Hearing
    calls: Calls
    meter: Meter
    settings: BackfillSettings
    now: Callable[[], float] = time.time

    async def since(self) -> float | None:
        """The time from which to read; None when there is nothing to catch up with. Raises StoreUnavailable."""
        heard_until = await self.marks.alive(PLATFORM)
        if heard_until is None:
            return None
        longest_s = min(self.settings.longest_s, _OLDEST_S)
        return max(heard_until - self.settings.overlap_s, self.now() - longest_s)

    def rooms(self, guilds: Iterable[discord.Guild], since: float) -> list[Readable]:
        """The channels and threads of `guilds` in which somebody has spoken after `since`."""
        after = discord.utils.time_snowflake(datetime.fromtimestamp(since, UTC))
        return [room for guild in guilds for room in _spoken_in(guild, after)]

    async def direct(self, client: discord.Client) -> list[Readable]:
        """The direct messages of people who spoke to us lately, for Discord tells a bot of no others.

        Raises:
            StoreUnavailable: it is not known who did.
        """
        heard = await self.marks.heard_since(PLATFORM, self.now() - _DIRECT_S, _MOST_DIRECT)
        channels = (each.conversation.channel for each in heard if each.conversation.workspace == DIRECT_MESSAGES)
        return [client.get_partial_messageable(int(channel)) for channel in channels]


@dataclass(slots=True)
class Budget:
    """The messages that a backfill may still read; no channel takes more than half of them, or a page."""

    left: int
    slots: asyncio.Semaphore

    def share(self) -> int:
        """How many messages the next channel may read."""
        return min(self.left, max(_PAGE, self.left // 2))


@dataclass(slots=True)
class Missed:
    """A step of a channel's lane that hands on what was missed there, oldest first; `done` is set at its end.

    It is safe to repeat, and goes on where it was.
    """

    backfill: Backfill
    client: discord.Client
    channel: Readable
    since: float
    budget: Budget
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _read: list[discord.Message] | None = None
    _waiting: list[tuple[discord.Message, Message]] | None = None
    _accepted: int = 0

    async def __call__(self) -> None:
        """Raises StoreUnavailable, or NotYet while Discord cannot be read."""
        if self.client.is_closed():
            return  # the next client reads it, for the mark has not moved
        if self._read is None:
            self._read = await self._fetch()
        if self._waiting is None:
            self._waiting = await self._understood(self._read)
        while self._waiting:
            await self._hand_on(*self._waiting[0])
            self._waiting.pop(0)
        if self._read:
            _log.info("discord_backfilled", channel=self.channel.id, read=len(self._read), accepted=self._accepted)
        if self._accepted:
            self.backfill.meter.backfilled(PLATFORM, self._accepted)
        self.done.set()

    async def _fetch(self) -> list[discord.Message]:
        try:
            async with self.budget.slots:
                messages = await self.backfill.calls.make("a look at what was missed", self._history)
        except DeliveryFailed as error:
            if error.retryable:
                raise NotYet(str(error)) from error
            _log.info("discord_channel_not_read", channel=self.channel.id, reason=str(error))
            return []
        self.budget.left -= len(messages)
        return messages

    async def _history(self) -> list[discord.Message]:
        """The newest messages since then, as many as the budget allows; oldest first."""
        share, found = self.budget.share(), list[discord.Message]()
        if share > 0:
            async for message in self.channel.history(limit=share, oldest_first=False):
                if message.created_at.timestamp() < self.since:
                    return found[::-1]
                found.append(message)
        if len(found) == share:
            _log.warning("discord_backfill_cut", channel=self.channel.id, read=share)
        return found[::-1]

    async def _understood(self, messages: list[discord.Message]) -> list[tuple[discord.Message, Message]]:
        """Those that are for us, without a "stop" that has had its time: it would stop what was asked after it."""
        ours = [(message, said) for message in messages if (said := await self._understand(message))]
        newest = {said.conversation: said.id for _, said in ours}
        return [(message, said) for message, said in ours if not _is_stop(said) or newest[said.conversation] == said.id]

    async def _understand(self, message: discord.Message) -> Message | None:
        try:
            return await self.backfill.hearing.reader.read(message, self.client)
        except (StoreUnavailable, NotYet):
            raise
        except Exception:
            # One message that cannot be read must not take the others with it.
            _log.exception("discord_message_not_read", channel=self.channel.id)
            return None

    async def _hand_on(self, message: discord.Message, said: Message) -> None:
        hearing = self.backfill.hearing
        receipt = await hearing.receive(message, said)
        if receipt is Receipt.DUPLICATE and message.edited_at and message.edited_at.timestamp() >= self.since:
            await hearing.revise(message, said)
        self._accepted += receipt is Receipt.ACCEPTED


def _is_stop(said: Message) -> bool:
    return said.text.strip().lower() in STOP_WORDS


def _spoken_in(guild: discord.Guild, after: int) -> Iterator[Room]:
    """The channels and active threads that hold something newer than `after`; Discord names their newest message."""
    places: list[Room] = [*guild.text_channels, *guild.voice_channels, *guild.stage_channels, *guild.threads]
    return (place for place in places if (place.last_message_id or 0) > after and _is_readable(place, guild.me))


def _is_readable(place: Room, me: discord.Member) -> bool:
    try:
        may = place.permissions_for(me)
    except discord.ClientException:
        return True  # a thread of a channel that we do not know: Discord will say
    return may.view_channel and may.read_message_history
