"""Discord's HTTP API under the bot's token, without a gateway: all that a worker needs to answer."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import discord
from discord import ui

from bots.discord.patience import Calls, Patience
from bots.discord.turns import Turns

# How many of a channel's newest messages are searched for an earlier attempt at an answer.
SEARCHED_MESSAGES = 500
_NO_MENTIONS = discord.AllowedMentions.none()
# Discord's error codes.
_UNKNOWN_CHANNEL = 10003
_UNKNOWN_MESSAGE = 10008
_MAY_NOT_REPLY = 160002  # a reply needs the right to read the history


class Api:
    """The few calls an answer is made of, each tried with patience. Ids are Discord's, as text.

    Logs in at the first call, so that a worker starts while Discord is away. All methods raise DeliveryFailed; those
    that change something wait `within_s` seconds for their turn, and raise NoTurn when it does not come.
    """

    def __init__(self, token: str, patience: Patience, turns: Turns) -> None:
        self._token = token
        self._turns = turns
        self._calls = Calls(patience)
        self._client: discord.Client | None = None
        self._logging_in = asyncio.Lock()

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def post(
        self,
        channel_id: str,
        text: str,
        *,
        nonce: str,
        answers: str,
        within_s: float,
        ring: bool = False,
        below: ui.View | None = None,
    ) -> str:
        """Posts `text` in reply to the message `answers`, with buttons `below`; with `ring` its author is notified.

        Discord answers a nonce that it saw within the last minutes with the message it made then, so a call whose
        response was lost is safe to repeat. That message may show an older text, which is then replaced.
        """

        async def call() -> discord.Message:
            await self._turns.take("post", channel_id, within_s)
            channel = await self._channel(channel_id)
            # Discord refuses a reply to a deleted message unless told that a plain post will do.
            question = discord.MessageReference(
                message_id=int(answers), channel_id=int(channel_id), fail_if_not_exists=False
            )
            shown: dict[str, Any] = {"view": below} if below else {}
            mentions = discord.AllowedMentions(everyone=False, users=False, roles=False, replied_user=ring)
            try:
                return await channel.send(
                    text, nonce=nonce, reference=question, allowed_mentions=mentions, suppress_embeds=True, **shown
                )
            except discord.HTTPException as error:
                if error.code != _MAY_NOT_REPLY:
                    raise
            return await channel.send(text, nonce=nonce, allowed_mentions=_NO_MENTIONS, suppress_embeds=True, **shown)

        message = await self._calls.make("a post", call)
        if message.content != text.strip():
            await self.edit(channel_id, str(message.id), text, within_s=within_s, below=below)
        return str(message.id)

    async def edit(
        self, channel_id: str, post_id: str, text: str, *, within_s: float, below: ui.View | None = None
    ) -> None:
        """Replaces the text of one of our posts, and what stands below it."""

        async def call() -> None:
            await self._turns.take("edit", channel_id, within_s)
            channel = await self._channel(channel_id)
            await channel.get_partial_message(int(post_id)).edit(
                content=text, allowed_mentions=_NO_MENTIONS, view=below
            )

        await self._calls.make("an edit", call)

    async def remove(self, channel_id: str, post_id: str, *, within_s: float) -> None:
        """Removes one of our posts; one that is gone already, or whose channel is gone, is fine."""

        async def call() -> None:
            await self._turns.take("delete", channel_id, within_s)
            channel = await self._channel(channel_id)
            try:
                await channel.get_partial_message(int(post_id)).delete()
            except discord.NotFound as error:
                if error.code not in (_UNKNOWN_MESSAGE, _UNKNOWN_CHANNEL):
                    raise

        await self._calls.make("the removal of a post", call)

    async def show_typing(self, channel_id: str) -> None:
        """Shows for ten seconds that the bot is typing."""

        async def call() -> None:
            await (await self._logged_in()).http.send_typing(int(channel_id))

        await self._calls.make("typing", call)

    async def own_replies(self, channel_id: str, question_id: str, nonces: frozenset[str]) -> tuple[str, ...]:
        """Our posts that reply to the message `question_id`, or still show one of `nonces`; oldest first.

        Discord mostly forgets a nonce in the history. It names a reply's question even where that is gone.
        """

        async def call() -> tuple[str, ...]:
            own_id = self._own_id(await self._logged_in())
            found: list[str] = []
            try:
                async for message in (await self._channel(channel_id)).history(limit=SEARCHED_MESSAGES):
                    if message.id <= int(question_id):
                        break
                    quoted = str(message.reference.message_id) if message.reference else ""
                    if message.author.id == own_id and (quoted == question_id or str(message.nonce) in nonces):
                        found.append(str(message.id))
            except discord.Forbidden:
                # A bot may be allowed to write where it may not read the history: the nonce alone must do.
                return ()
            return tuple(reversed(found))

        return await self._calls.make("a look into the history", call)

    def _own_id(self, client: discord.Client) -> int:
        return client.user.id if client.user else 0

    async def _channel(self, channel_id: str) -> discord.PartialMessageable:
        return (await self._logged_in()).get_partial_messageable(int(channel_id))

    async def _logged_in(self) -> discord.Client:
        async with self._logging_in:
            if self._client is None:
                client = http_client(self._turns.watch())
                try:
                    await client.login(self._token)
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client


def http_client(trace: aiohttp.TraceConfig) -> discord.Client:
    """A client that is never connected to the gateway; `trace` sees its requests."""
    return discord.Client(
        intents=discord.Intents(guilds=True),  # never sent; without it the SDK warns
        max_messages=None,
        allowed_mentions=_NO_MENTIONS,
        max_ratelimit_timeout=30.0,
        http_trace=trace,
    )
