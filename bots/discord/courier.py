"""Discord's courier: answers as posts that grow by editing, through HTTP only."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from discord import ui

from bots.discord.api import Api
from bots.discord.buttons import below_answer
from bots.discord.endpoints import use_endpoints
from bots.discord.markup import harmless
from bots.discord.patience import Patience
from bots.discord.turns import NoTurn, Turns
from core.chat.errors import DeliveryFailed
from core.chat.growing import GrowingPosts
from core.chat.message import Message, Outcome
from core.chat.pacing import Pacer
from core.chat.ports import Draft
from core.chat.split import split_reply

_log = structlog.get_logger(__name__)

MAX_CHARS = 2000  # content of one message
TYPING_AFTER_S = 0.3  # an answer that is there sooner needs none
TYPING_REPEAT_S = 5.0  # Discord shows it for ten seconds
TYPING_REPEATS = 60  # a draft that is given up without a close types for five minutes, not for ever
# How long a call waits for its turn in a channel where much goes on, in seconds. A growing text does not: the next one
# says more. After the last wait core asks whether the answer is still ours, and tries again.
LAST_TURN_S = 15.0
NOTICE_TURN_S = 5.0
ALONE = Pacer()
# Parts whose nonces are compared with the history; longer answers do not occur.
_MOST_PARTS = 32


@dataclass(frozen=True, slots=True)
class CourierSettings:
    """How the courier reaches Discord and how it writes.

    With `ring` the person who asked is notified of the answer. `pace_s` is how often a growing answer is edited while
    its channel is calm.
    """

    token: str = field(repr=False)
    api_url: str | None = None
    pace_s: float = 1.0
    ring: bool = False
    patience: Patience = field(default_factory=Patience)


@asynccontextmanager
async def discord_courier(settings: CourierSettings, pacer: Pacer = ALONE) -> AsyncIterator[DiscordCourier]:
    """A courier that works until the block ends; all couriers that share the buckets of `pacer` keep one pace."""
    use_endpoints(settings.api_url)
    courier = DiscordCourier(settings, pacer)
    try:
        yield courier
    finally:
        await courier.aclose()


class DiscordCourier:
    """A `Courier`; made by `discord_courier`."""

    platform = "discord"

    def __init__(self, settings: CourierSettings, pacer: Pacer) -> None:
        self._api = Api(settings.token, settings.patience, Turns(pacer))
        self._settings = settings
        self._typing: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Ends typing everywhere and closes the connections."""
        for task in self._typing:
            task.cancel()
        await asyncio.gather(*self._typing, return_exceptions=True)
        await self._api.aclose()

    def draft(self, message: Message, *, resumed: bool) -> Draft:
        """A draft that replies to `message`; a resumed one goes on in the reply that is already there."""
        poster = DiscordPoster(self._api, self, message, ring=self._settings.ring)
        posts = GrowingPosts(
            poster,
            max_chars=MAX_CHARS,
            pace_s=self._settings.pace_s,
            resumed=resumed,
            over=message.over,
            sealed=message.kind != "reset",
        )
        return DiscordDraft(posts, poster)

    async def notice(self, message: Message, text: str) -> None:
        """Replies to `message` with one line. Raises DeliveryFailed."""
        line = harmless(text)[:MAX_CHARS]
        place = message.reply_to
        nonce = nonce_for(message.id, f"notice {line}")
        await self._api.post(
            place["channel_id"], line, nonce=nonce, answers=place["message_id"], within_s=NOTICE_TURN_S
        )

    async def retract(self, message: Message, posts: Sequence[str]) -> None:
        """Removes posts of ours; one that is gone, alone or with its channel, is as good. Raises DeliveryFailed."""
        for post_id in posts:
            await self._api.remove(message.reply_to["channel_id"], post_id, within_s=LAST_TURN_S)

    def start_typing(self, channel_id: str) -> asyncio.Task[None]:
        """Shows typing in a channel, soon and again and again, until the task is cancelled."""
        task = asyncio.create_task(self._type(channel_id))
        self._typing.add(task)
        task.add_done_callback(self._typing.discard)
        return task

    async def _type(self, channel_id: str) -> None:
        try:
            await asyncio.sleep(TYPING_AFTER_S)
            for _ in range(TYPING_REPEATS):
                await self._api.show_typing(channel_id)
                await asyncio.sleep(TYPING_REPEAT_S)
        except DeliveryFailed as error:
            _log.info("typing_not_shown", channel=channel_id, reason=str(error))


class DiscordDraft:
    """A `Draft` whose growing text gives way where too much goes on; the final text waits for its turn."""

    def __init__(self, posts: GrowingPosts, poster: DiscordPoster) -> None:
        self.pace_s = posts.pace_s
        self._posts = posts
        self._poster = poster

    async def begin(self) -> None:
        """Shows typing."""
        await self._posts.begin()

    async def show(self, text: str) -> None:
        """Makes `text` visible, unless a later text has to do that."""
        try:
            await self._posts.show(text)
        except NoTurn as error:
            _log.debug("growing_text_skipped", reason=str(error))

    async def close(self, text: str, outcome: Outcome) -> tuple[str, ...]:
        """Makes the final text visible, or takes all back for an empty one; returns the ids of the posts."""
        self._poster.turn_s = LAST_TURN_S
        if outcome in (Outcome.ANSWERED, Outcome.STOPPED) and self._poster.can_be_judged:
            self._poster.last_text = split_reply(text, MAX_CHARS)[-1] if text else ""
        return await self._posts.close(text, outcome)

    async def leave(self) -> tuple[str, ...]:
        """Ends typing; returns the ids of the posts."""
        return await self._posts.leave()


class DiscordPoster:
    """The `Poster` of one answer; each call waits `turn_s` seconds at most for its turn."""

    turn_s = 0.0
    last_text = ""  # of the part with which the answer ends: below it stand the buttons

    def __init__(self, api: Api, courier: DiscordCourier, message: Message, *, ring: bool) -> None:
        self._api = api
        self._courier = courier
        self._turn_id = message.id
        self._channel_id = message.reply_to["channel_id"]
        self._question_id = message.reply_to["message_id"]
        self._ring = ring
        self.can_be_judged = message.kind != "reset"
        self._typing: asyncio.Task[None] | None = None

    async def indicate(self, *, on: bool) -> None:
        """Starts or ends "is typing"; waits for nothing."""
        if self._typing is not None:
            self._typing.cancel()
            self._typing = None
        if on:
            self._typing = self._courier.start_typing(self._channel_id)

    async def earlier(self) -> tuple[str, ...]:
        """The posts of an earlier attempt, as far as the channel's history shows them."""
        nonces = frozenset(nonce_for(self._turn_id, str(part)) for part in range(_MOST_PARTS))
        return await self._api.own_replies(self._channel_id, self._question_id, nonces)

    async def post(self, text: str, part: int) -> str:
        """Posts a part. All parts reply to the question, or nobody could tell later which answer they belong to."""
        return await self._api.post(
            self._channel_id,
            harmless(text),
            nonce=nonce_for(self._turn_id, str(part)),
            answers=self._question_id,
            ring=self._ring and part == 0,
            within_s=self.turn_s,
            below=self._below(text),
        )

    async def edit(self, post_id: str, text: str) -> None:
        """Replaces a part."""
        await self._api.edit(self._channel_id, post_id, harmless(text), within_s=self.turn_s, below=self._below(text))

    def _below(self, text: str) -> ui.View | None:
        return below_answer() if text and text == self.last_text else None

    async def remove(self, post_id: str) -> None:
        """Removes a part."""
        await self._api.remove(self._channel_id, post_id, within_s=self.turn_s)


def nonce_for(turn_id: str, part: str) -> str:
    """The idempotency key of one post: the same at every attempt; Discord allows 25 characters."""
    return hashlib.sha256(f"{turn_id}\n{part}".encode()).hexdigest()[:24]
