"""The Slack courier: posts answers and notices through the Web API. Runs in the worker, needs no gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bots.slack.connection import SlackWeb, open_web
from bots.slack.draft import EditedPosts, SlackDraft, Streams
from bots.slack.errors import SLACK_FAILURES, delivery_failed
from bots.slack.markup import escaped
from bots.slack.pace import Pace
from bots.slack.posts import NOTICE, SlackPosts
from core.chat.message import Message
from core.chat.pacing import Pacer
from core.chat.ports import Draft

NOTICE_S = 2.0  # a gateway says notices before it acknowledges, for which Slack gives it three seconds


class SlackCourier:
    """The `Courier` for Slack, over one bot token. Post ids are `channel:ts`."""

    platform = "slack"

    def __init__(self, web: SlackWeb, pace: Pace | None = None) -> None:
        self._web = web
        self._pace = pace or Pace()
        self._streams = Streams()

    def draft(self, message: Message, *, resumed: bool) -> Draft:
        """A stream in a thread; in a direct message without thread a post that is edited, as streams need a thread."""
        if message.reply_to.get("thread_ts"):
            return SlackDraft(self._web, self._pace, message, self._streams, resumed=resumed)
        posts = SlackPosts(self._web, self._pace, message, resumed=resumed)
        return EditedPosts(posts, message, resumed=resumed)

    async def notice(self, message: Message, text: str) -> None:
        """One line where the message was said, unless its turn is far off. Raises DeliveryFailed."""
        place = self._pace.at(message.conversation.workspace, message.reply_to["channel"])
        try:
            await place.attempt("chat.postMessage", lambda: self._say(message, text), NOTICE_S)
        except SLACK_FAILURES as error:
            raise delivery_failed(error) from error

    async def retract(self, message: Message, posts: Sequence[str]) -> None:
        """Deletes posts of ours; one that is gone already is as good. Raises DeliveryFailed."""
        ours = SlackPosts(self._web, self._pace, message)
        for post_id in posts:
            await ours.remove(post_id)

    async def _say(self, message: Message, text: str) -> AsyncSlackResponse:
        return await self._web.prompt.chat_postMessage(
            channel=message.reply_to["channel"],
            thread_ts=message.reply_to.get("thread_ts") or None,
            text=escaped(text),
            metadata={"event_type": NOTICE, "event_payload": {"turn": message.id}},
            unfurl_links=False,
            unfurl_media=False,
        )


@asynccontextmanager
async def open_courier(
    bot_token: str, api_url: str | None = None, *, pacer: Pacer | None = None
) -> AsyncIterator[SlackCourier]:
    """A courier for the time of the block, with its one HTTP session.

    `Pacer(buckets, meter)` lets it keep Slack's pace together with all other processes; without, or with a `Pacer` that
    has no buckets, it only holds where Slack told this process so.
    """
    async with open_web(bot_token, api_url) as web:
        yield SlackCourier(web, Pace(pacer))
