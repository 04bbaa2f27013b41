"""Chat in the terminal: the same way through the rooms as on any platform, seen through the feed."""

from __future__ import annotations

import asyncio
import getpass
import json
import platform
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from bots.web.courier import FeedCourier
from core.chat.errors import StoreUnavailable
from core.chat.intake import Receipt
from core.chat.interaction import Interaction
from core.chat.lines import BUSY
from core.chat.message import Address, Conversation, Message, Outcome, Person
from core.chat.ports import FeedEvent
from parley.compose import Stores, open_intake, open_ledger, open_stores
from parley.errors import NotRunning
from parley.settings import Settings

PLATFORM = "terminal"
FIRST_SIGN_S = 30.0
ANSWER_S = 330.0  # the model client's own limit, and some room for delivery
LOGGED_S = 10.0
LOOK_S = 2.0
Write = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seat:
    """One person at one terminal, in one conversation."""

    stores: Stores
    conversation: Conversation
    person: Person

    async def ask(self, text: str) -> tuple[Message, Receipt, str]:
        """Hands `text` over; returns the message, what became of it, and where its events begin in the feed."""
        message = Message(
            id=self.conversation.message_id(uuid.uuid4().hex),
            conversation=self.conversation,
            person=self.person,
            text=text,
            address=Address.DIRECT,
            sent_at=time.time(),
        )
        after = await self.stores.feed.latest(self.conversation)
        intake = open_intake(self.stores, FeedCourier(PLATFORM, self.stores.feed))
        return message, await intake.receive(message), after

    async def events(self, message: Message, after: str) -> AsyncIterator[FeedEvent]:
        """What becomes of `message`, up to its end.

        Raises:
            NotRunning: no worker showed a sign within 30 s.
        """
        feed = self.stores.feed.events(self.conversation, after)
        async with aclosing(feed) as events:  # type: ignore[type-var]
            deadline = time.monotonic() + FIRST_SIGN_S
            coming = asyncio.ensure_future(anext(events))
            try:
                while True:
                    await asyncio.wait({coming}, timeout=LOOK_S)
                    if not coming.done():
                        await self._look(deadline)
                        continue
                    event = coming.result()
                    coming = asyncio.ensure_future(anext(events))
                    if event.turn_id != message.id:
                        continue
                    deadline = time.monotonic() + ANSWER_S
                    yield event
                    if event.kind in ("closed", "removed"):
                        return
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _look(self, deadline: float) -> None:
        """Raises NotRunning when the mailbox went away, or nobody has given a sign by `deadline`."""
        try:
            await self.stores.mailbox.knows(self.conversation)
        except StoreUnavailable as error:
            raise NotRunning(f"Parley went away; your question is kept for its next start. {error}") from error
        if time.monotonic() > deadline:
            raise NotRunning(
                "Nobody answers. Is 'parley up' (or 'parley worker') running? Your question is kept, and will be "
                "answered when one is."
            )


def seat(stores: Stores, conversation_id: str) -> Seat:
    """The terminal's conversation `conversation_id` of whoever is logged in here."""
    user = getpass.getuser()
    conversation = Conversation(PLATFORM, platform.node(), user, conversation_id)
    return Seat(stores, conversation, Person(user, user))


async def ask_once(settings: Settings, question: str, write: Write, *, as_json: bool) -> bool:
    """Asks one question in a conversation of its own; True when it was answered.

    The answer streams to `write`; with `as_json` the log's interaction is written instead, once it is in the log.

    Raises:
        NotRunning, SetupError: no Parley is there to answer.
    """
    async with open_stores(settings) as stores:
        here = seat(stores, uuid.uuid4().hex)
        message, receipt, after = await here.ask(question)
        if receipt is not Receipt.ACCEPTED:
            write(f"{BUSY if receipt is Receipt.BUSY else 'This is a command, not a question.'}\n")
            return False
        printer = Printer(_nothing if as_json else write)
        outcome = await printer.follow(here.events(message, after))
    if as_json:
        interaction = await _logged(settings, message.id)
        write(json.dumps(as_dict(interaction), ensure_ascii=False, indent=2) + "\n")
    return outcome == Outcome.ANSWERED


def _nothing(_: str) -> None:
    return


async def _logged(settings: Settings, turn_id: str) -> Interaction:
    deadline = time.monotonic() + LOGGED_S
    away: StoreUnavailable | None = None
    async with open_ledger(settings) as ledger:
        while time.monotonic() < deadline:
            try:
                if found := await ledger.find(turn_id):
                    return found
                away = None
            except StoreUnavailable as error:
                away = error  # at a first start its tables may be a moment away
            await asyncio.sleep(0.05)
    if away is not None:
        raise NotRunning(f"The question was answered, but the log cannot be read: {away}") from away
    raise NotRunning(
        f"The question was answered, but {turn_id} is not in the log after {LOGGED_S:.0f} s; it follows when the log "
        "writer is back. Does DATABASE_URL name the same database here as for the worker?"
    )


def as_dict(interaction: Interaction) -> dict[str, Any]:
    """An interaction as JSON shows it."""
    raw = asdict(interaction)
    raw["conversation"] = str(interaction.conversation)
    return {"day": interaction.day.isoformat(), **raw, "prompt_hash": interaction.prompt_hash}


@dataclass(slots=True)
class Printer:
    """Writes a growing answer as a stream: only what is new."""

    write: Write
    shown: str = ""

    async def follow(self, events: AsyncIterator[FeedEvent]) -> str:
        """Writes until the answer is closed; returns its outcome."""
        async for event in events:
            if event.kind in ("growing", "closed"):
                self._extend(event.text)
            if event.kind == "closed":
                self.write("\n")
                return event.outcome
            if event.kind == "removed":
                self.write("\n(taken back)\n")
                return Outcome.WITHDRAWN
        return ""

    def _extend(self, text: str) -> None:
        if text.startswith(self.shown):
            self.write(text[len(self.shown) :])
        else:  # begun again by another worker: shown whole, on a line of its own
            self.write(f"\n{text}")
        self.shown = text


async def stop(here: Seat) -> None:
    """Asks for the end of the answer under way."""
    await here.stores.mailbox.request_stop(here.conversation)
