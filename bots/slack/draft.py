"""An answer that grows in Slack: as a stream while Slack plays along, as posts that are edited when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from bots.slack.connection import SlackWeb
from bots.slack.errors import SLACK_FAILURES, delivery_failed, is_refusal, reason, retry_after_s
from bots.slack.markup import harmless, settled
from bots.slack.posts import MAX_CHARS, SlackPosts
from core.chat.growing import GrowingPosts
from core.chat.message import Message, Outcome

_log = structlog.get_logger(__name__)

STREAM_PACE_S = 0.7  # chat.appendStream: 100 calls a minute and workspace, over all answers under way
POST_PACE_S = 1.2  # chat.update: 50 calls a minute and workspace
_REFUSED_S = 600.0  # how long a workspace that has no streams is not asked again

_OVER = frozenset({"message_not_in_streaming_state", "message_not_found"})


@dataclass(slots=True)
class Streams:
    """Whether this workspace takes streams at present; shared by all drafts of a courier."""

    now: Callable[[], float] = time.monotonic
    refused_until: float = 0.0

    def allowed(self) -> bool:
        """Whether to try `chat.startStream`."""
        return self.now() >= self.refused_until

    def refused(self, error: BaseException) -> None:
        """Notes why a stream was not started: a rate limit passes soon, a missing method does not."""
        wait_s = retry_after_s(error)
        if wait_s is None and not is_refusal(error):
            return
        self.refused_until = self.now() + (_REFUSED_S if wait_s is None else wait_s)


class SlackDraft:
    """The `Draft` in a thread. What Slack was given as a stream is only ever extended; anything else is an update."""

    def __init__(self, web: SlackWeb, message: Message, streams: Streams, *, resumed: bool) -> None:
        self.pace_s = STREAM_PACE_S
        self._web = web
        self._message = message
        self._posts = SlackPosts(web, message)
        self._streams = streams
        self._resumed = resumed
        self._ts = ""
        self._streamed = ""  # what Slack has of the stream
        self._quiet_until = 0.0
        self._stopped_there = False
        self._plain: GrowingPosts | None = None

    async def begin(self) -> None:
        """Shows that an answer is on its way."""
        await self._posts.indicate(on=True)

    async def show(self, text: str) -> None:
        """Appends what is new."""
        if self._plain is None and not self._stopped_there:
            await self._stream(settled(harmless(text)))
        if self._plain is not None:
            await self._plain.show(text)

    async def close(self, text: str, outcome: Outcome) -> tuple[str, ...]:
        """Ends the stream with the rest of the text, or shows the text as posts."""
        if self._stopped_there:
            return (self._posts.id_of(self._ts),)
        if self._plain is None and self._ts and await self._end(harmless(text)):
            return (self._posts.id_of(self._ts),)
        if self._plain is None:
            self._as_posts(resumed=self._resumed)
        assert self._plain is not None  # noqa: S101 - tells mypy what the line above did
        return await self._plain.close(text, outcome)

    async def leave(self) -> tuple[str, ...]:
        """Ends the status; a stream under way stays open for the worker that goes on in its post."""
        if self._plain is not None:
            return await self._plain.leave()
        await self._posts.indicate(on=False)
        return (self._posts.id_of(self._ts),) if self._ts else ()

    async def _stream(self, text: str) -> None:
        if not text.strip():
            return
        if not self._ts:
            await self._start(text)
        elif not self._continues(text):
            await self._leave_stream(ended=False)
        elif len(text) > len(self._streamed):
            await self._append(text)

    async def _start(self, text: str) -> None:
        # An earlier attempt's posts go on by update; a text that needs several posts is split from the start.
        if self._resumed or not self._streams.allowed() or len(text) > MAX_CHARS:
            self._as_posts(resumed=self._resumed)
            return
        try:
            answer = await self._web.prompt.chat_startStream(
                channel=self._posts.channel,
                thread_ts=self._posts.thread_ts,
                markdown_text=text,
                # Required outside direct messages; the team is the reader's own, which Slack Connect makes differ.
                recipient_team_id=self._message.reply_to.get("team"),
                recipient_user_id=self._message.reply_to.get("user"),
            )
        except SLACK_FAILURES as error:
            _log.info("slack_stream_refused", turn=self._message.id, reason=reason(error))
            self._streams.refused(error)
            # Where the reply was lost the stream may stand there all the same: look before posting beside it.
            self._as_posts(resumed=not is_refusal(error))
            return
        self._ts, self._streamed = str(answer["ts"]), text

    async def _append(self, text: str) -> None:
        if self._streams.now() < self._quiet_until:
            return
        try:
            await self._web.prompt.chat_appendStream(
                channel=self._posts.channel, ts=self._ts, markdown_text=text[len(self._streamed) :]
            )
        except SLACK_FAILURES as error:
            await self._after_failed_append(error)
            return
        self._streamed = text

    async def _after_failed_append(self, error: BaseException) -> None:
        wait_s = retry_after_s(error)
        if wait_s is not None:
            # What was not appended goes out with the next show, or with the end of the stream.
            self._quiet_until = self._streams.now() + wait_s
        elif reason(error) == "stopped_by_user":
            self._stopped_there = True
        else:
            # Whether the piece arrived is not known after a timeout; an update of the whole text settles that too.
            await self._leave_stream(ended=reason(error) in _OVER)

    async def _end(self, text: str) -> bool:
        """Ends the stream with the rest of `text`; False when the stream had to be left."""
        if not self._continues(text):
            await self._leave_stream(ended=False)
            return False
        try:
            await self._web.careful.chat_stopStream(
                channel=self._posts.channel,
                ts=self._ts,
                markdown_text=text[len(self._streamed) :] or None,
                metadata=self._posts.metadata(),
            )
        except SLACK_FAILURES as error:
            if retry_after_s(error) is not None:
                raise delivery_failed(error) from error
            await self._leave_stream(ended=reason(error) in _OVER)
            return False
        return True

    def _continues(self, text: str) -> bool:
        return text.startswith(self._streamed) and len(text) <= MAX_CHARS

    async def _leave_stream(self, *, ended: bool) -> None:
        """Goes on in the stream's own post by updates. Slack ends a stream after about five minutes; its `ts` stays."""
        post_id = self._posts.id_of(self._ts)
        if not ended:
            await self._posts.end_stream(post_id)
        self._posts = SlackPosts(self._web, self._message, known=(post_id,))
        self._as_posts(resumed=True)

    def _as_posts(self, *, resumed: bool) -> None:
        self._plain = GrowingPosts(self._posts, max_chars=MAX_CHARS, pace_s=POST_PACE_S, resumed=resumed)
        self.pace_s = POST_PACE_S
