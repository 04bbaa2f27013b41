"""What arrives from Slack, handed to core one event at a time a channel, in the order of arrival."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from bots.slack.connection import Identity
from bots.slack.hearing import conversation_of, deleted, edited, message_from, people_in, worth_hearing
from bots.slack.names import Names
from core.chat.intake import Intake
from core.chat.message import Address, Message
from core.chat.ports import Change

# Duplicates are known for a day; what is older could be taken for new, and answered a second time.
KNOWN_S = 23.5 * 3600.0


class Inflow:
    """Gives `intake` what was said, edited and deleted. All methods raise StoreUnavailable: then nothing was kept."""

    def __init__(self, intake: Intake, me: Identity, names: Names, now: Callable[[], float] = time.time) -> None:
        self._intake = intake
        self._me = me
        self._names = names
        self._now = now
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lane(self, channel: str) -> asyncio.Lock:
        """To be held while something of `channel` is handed over: looking up a name must not let others pass."""
        return self._lanes.setdefault(channel, asyncio.Lock())

    async def hear(self, event: Mapping[str, Any]) -> None:
        """Takes any event of Slack's; most say nothing to us."""
        if not _concerns_us(event, self._me):
            return
        async with self.lane(str(event["channel"])):
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
