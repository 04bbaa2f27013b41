"""What arrives from Slack, handed to core one event at a time a channel, in the order of arrival."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import structlog

from bots.slack.connection import Identity
from bots.slack.errors import NotCaughtUp
from bots.slack.hearing import conversation_of, deleted, edited, message_from, people_in, worth_hearing
from bots.slack.missed import Missed
from bots.slack.names import Names
from core.chat.errors import StoreUnavailable
from core.chat.intake import Intake, Receipt
from core.chat.message import Address, Message
from core.chat.ports import Change

_log = structlog.get_logger(__name__)

# Duplicates are known for a day; what is older could be taken for new, and answered a second time.
KNOWN_S = 23.5 * 3600.0


class Inflow:
    """Gives `intake` what was said, edited and deleted, and before it what was `missed` in the same channel.

    All methods raise StoreUnavailable or NotCaughtUp: then nothing was kept, and the event is not to be acknowledged.
    """

    def __init__(
        self,
        intake: Intake,
        me: Identity,
        names: Names,
        missed: Missed | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.closing = False  # nothing more that was missed is handed over
        self.handing = 0  # messages that were missed and are being handed over
        self._intake = intake
        self._me = me
        self._names = names
        self._missed = missed
        self._now = now
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def hear(self, event: Mapping[str, Any]) -> None:
        """Takes any event of Slack's; most say nothing to us."""
        if not _concerns_us(event, self._me):
            return
        channel = str(event["channel"])
        async with self._lane(channel):
            try:
                await self._catch_up(channel)
                await self._take(event)
            except StoreUnavailable:
                if self._missed is not None:
                    self._missed.not_handed_over(channel)
                raise

    async def catch_up(self, channel: str) -> None:
        """Hands over what was missed in `channel`; what is said there meanwhile waits."""
        async with self._lane(channel):
            await self._catch_up(channel)

    def _lane(self, channel: str) -> asyncio.Lock:
        """To be held while something of `channel` is handed over: looking up a name must not let others pass."""
        return self._lanes.setdefault(channel, asyncio.Lock())

    async def _catch_up(self, channel: str) -> None:
        while self._missed is not None and (gap := await self._missed.gap(channel)) is not None:
            said = [await self._message(event) for event in gap.events if worth_hearing(event, self._me)]
            news = [message for message in said if gap.is_new(message)]
            if len(news) > gap.room:
                _log.warning("slack_backfill_cut", channel=channel, left_out=len(news) - gap.room)
            accepted = 0
            for message in news[-gap.room :] if gap.room else []:
                accepted += await self._receive_missed(message) is Receipt.ACCEPTED
            self._missed.caught_up(gap, accepted)

    async def _receive_missed(self, message: Message) -> Receipt:
        if self.closing:
            raise NotCaughtUp("The gateway is being stopped.")
        self.handing += 1
        try:
            return await self._intake.receive(message)
        except StoreUnavailable:
            raise
        except Exception:
            # One message that we cannot take must not keep the channel from being heard.
            _log.exception("slack_message_not_taken", turn=message.id)
            return Receipt.IGNORED
        finally:
            self.handing -= 1

    async def _take(self, event: Mapping[str, Any]) -> None:
        if worth_hearing(event, self._me):
            await self._intake.receive(await self._message(event))
        elif said := edited(event, self._me):
            await self._revise(said)
        elif gone := deleted(event, self._me):
            conversation = conversation_of(gone, self._me)
            await self._intake.withdraw(conversation, conversation.message_id(str(gone["ts"])))

    async def _revise(self, said: Mapping[str, Any]) -> None:
        message = await self._message(said)
        change = await self._intake.revise(message)
        # Whoever mentions us by an edit expects an answer as much as if they had said it so at once, and a question
        # that never reached us is one now. What was answered already is a duplicate, as long as that is known.
        to_us = message.address is not Address.OVERHEARD
        if change is Change.LATE and to_us and self._now() - message.sent_at < KNOWN_S:
            await self._intake.receive(message)

    async def _message(self, event: Mapping[str, Any]) -> Message:
        return message_from(event, self._me, await self._names.of(people_in(event)))


def _concerns_us(event: Mapping[str, Any], me: Identity) -> bool:
    return worth_hearing(event, me) or edited(event, me) is not None or deleted(event, me) is not None
