"""The Slack courier: posts answers and notices through the Web API. Runs in the worker, needs no gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bots.slack.connection import SlackWeb, open_web
from bots.slack.draft import POST_PACE_S, SlackDraft, Streams
from bots.slack.errors import SLACK_FAILURES, delivery_failed
from bots.slack.markup import escaped
from bots.slack.posts import MAX_CHARS, NOTICE, SlackPosts
from core.chat.growing import GrowingPosts
from core.chat.message import Message
from core.chat.ports import Draft


class SlackCourier:
    """The `Courier` for Slack, over one bot token. Post ids are `channel:ts`."""

    platform = "slack"

    def __init__(self, web: SlackWeb) -> None:
        self._web = web
        self._streams = Streams()

    def draft(self, message: Message, *, resumed: bool) -> Draft:
        """A stream in a thread; in a direct message without thread a post that is edited, as streams need a thread."""
        if message.reply_to.get("thread_ts"):
            return SlackDraft(self._web, message, self._streams, resumed=resumed)
        posts = SlackPosts(self._web, message)
        return GrowingPosts(posts, max_chars=MAX_CHARS, pace_s=POST_PACE_S, resumed=resumed)

    async def notice(self, message: Message, text: str) -> None:
        """One line where the message was said. Raises DeliveryFailed."""
        try:
            await self._web.careful.chat_postMessage(
                channel=message.reply_to["channel"],
                thread_ts=message.reply_to.get("thread_ts") or None,
                text=escaped(text),
                metadata={"event_type": NOTICE, "event_payload": {"turn": message.id}},
                unfurl_links=False,
                unfurl_media=False,
            )
        except SLACK_FAILURES as error:
            raise delivery_failed(error) from error

    async def retract(self, message: Message, posts: Sequence[str]) -> None:
        """Deletes posts of ours; one that is gone already is as good. Raises DeliveryFailed."""
        ours = SlackPosts(self._web, message)
        for post_id in posts:
            await ours.remove(post_id)


@asynccontextmanager
async def open_courier(bot_token: str, api_url: str | None = None) -> AsyncIterator[SlackCourier]:
    """A courier for the time of the block, with its one HTTP session."""
    async with open_web(bot_token, api_url) as web:
        yield SlackCourier(web)
