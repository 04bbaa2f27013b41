"""An answer that grows in Slack: as a stream while Slack plays along, as posts that are edited when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bots.slack.buttons import below_answer
from bots.slack.connection import SlackWeb
from bots.slack.errors import SLACK_FAILURES, NoTurn, delivery_failed, is_refusal, reason, retry_after_s
from bots.slack.markup import harmless, settled
from bots.slack.pace import Pace
from bots.slack.posts import MAX_CHARS, SlackPosts
from core.chat.errors import DeliveryFailed
from core.chat.growing import GrowingPosts
from core.chat.message import Message, Outcome
from core.chat.split import split_reply

_log = structlog.get_logger(__name__)

# How often one answer grows; the tiers of `pace.py` hold for all answers together.
STREAM_PACE_S = 0.7
POST_PACE_S = 1.2
START_S = 1.0  # how long an answer waits for a turn at a stream before it makes do with posts
_REFUSED_S = 600.0  # how long a workspace that has no streams is not asked again

_SAID = (Outcome.ANSWERED, Outcome.STOPPED)
_OVER = frozenset({"message_not_in_streaming_state", "message_not_found"})


@dataclass(slots=True)
class Streams:
    """Whether this workspace has streams at all; shared by all drafts of a courier."""

    now: Callable[[], float] = time.monotonic
    refused_until: float = 0.0

    def allowed(self) -> bool:
        """Whether to try `chat.startStream`."""
        return self.now() >= self.refused_until

    def refused(self, error: BaseException) -> None:
        """Notes why a stream was not started: a missing method stays missing for a while."""
        if is_refusal(error) and retry_after_s(error) is None:
            self.refused_until = self.now() + _REFUSED_S


class EditedPosts:
    """The `Draft` of posts that are edited. A growing text that gets no turn is left out: the next one holds it too."""

    def __init__(self, posts: SlackPosts, message: Message, *, resumed: bool) -> None:
        self.pace_s = POST_PACE_S
        self._posts = posts
        self._judged = message.kind != "reset"
        self._draft = GrowingPosts(
            posts,
            max_chars=MAX_CHARS,
            pace_s=POST_PACE_S,
            resumed=resumed,
            over=message.over,
            sealed=self._judged,
        )

    async def begin(self) -> None:
        """Shows that an answer is on its way."""
        await self._draft.begin()

    async def show(self, text: str) -> None:
        """Shows the text if there is a turn for it."""
        try:
            with self._posts.growing_text():
                await self._draft.show(text)
        except NoTurn as error:
            _log.debug("slack_growing_text_left_out", reason=str(error))

    async def close(self, text: str, outcome: Outcome) -> tuple[str, ...]:
        """Shows the final text, however long its turn takes to come."""
        if text and self._judged and outcome in _SAID:
            self._posts.last_text = split_reply(text, MAX_CHARS)[-1]
        return await self._draft.close(text, outcome)

    async def leave(self) -> tuple[str, ...]:
        """Ends the indicator; the posts stay as they are."""
        return await self._draft.leave()


class SlackDraft:
    """The `Draft` in a thread. What Slack was given as a stream is only ever extended; anything else is an update."""

    def __init__(self, web: SlackWeb, pace: Pace, message: Message, streams: Streams, *, resumed: bool) -> None:
        self.pace_s = STREAM_PACE_S
        self._web = web
        self._pace = pace
        self._message = message
        self._posts = SlackPosts(web, pace, message)
        self._streams = streams
        self._resumed = resumed
        self._ts = ""
        self._streamed = ""  # what Slack has of the stream
        self._stopped_there = False
        self._plain: EditedPosts | None = None

    async def begin(self) -> None:
        """Shows that an answer is on its way."""
        await self._posts.indicate(on=True)

    async def show(self, text: str) -> None:
        """Appends what is new."""
        if self._plain is None and not self._stopped_there:
            with self._posts.growing_text():
                if await self._stream(settled(harmless(text))):
                    return
        if self._plain is not None:
            await self._plain.show(text)

    async def close(self, text: str, outcome: Outcome) -> tuple[str, ...]:
        """Ends the stream with the rest of the text, or shows the text as posts."""
        if self._stopped_there and text:
            return await self._sign(outcome)
        if self._plain is None and self._ts and await self._end(harmless(text), outcome):
            return (self._posts.id_of(self._ts),)
        if self._plain is None:
            self._as_posts(resumed=self._resumed)
        assert self._plain is not None  # noqa: S101 - tells mypy what the line above did
        return await self._plain.close(text, outcome)

    async def leave(self) -> tuple[str, ...]:
        """Ends the status; a stream under way stays open for the worker that goes on in its post."""
        posts: tuple[str, ...] = ()
        if self._plain is not None:
            posts = await self._plain.leave()
        else:
            await self._posts.indicate(on=False)
        return posts or ((self._posts.id_of(self._ts),) if self._ts else ())

    async def _stream(self, text: str) -> bool:
        """Starts or extends the stream; False when posts are to show this text."""
        if not text.strip():
            return True
        if not self._ts:
            return await self._start(text)
        if not self._continues(text):
            await self._leave_stream(ended=False)
            return False
        if len(text) > len(self._streamed):
            await self._append(text)
        return True

    async def _start(self, text: str) -> bool:
        # An earlier attempt's posts go on by update; a text that needs several posts is split from the start.
        if self._resumed or self._message.over or not self._streams.allowed() or len(text) > MAX_CHARS:
            self._as_posts(resumed=self._resumed)
            return False
        await self._posts.text_comes()
        try:
            answer = await self._posts.place.attempt("chat.startStream", lambda: self._start_stream(text), START_S)
        except (NoTurn, *SLACK_FAILURES) as error:
            _log.info("slack_stream_refused", turn=self._message.id, reason=reason(error))
            self._streams.refused(error)
            # Where the reply was lost the stream may stand there all the same: look before posting beside it.
            self._as_posts(resumed=not (isinstance(error, NoTurn) or is_refusal(error)))
            return False
        self._ts, self._streamed = str(answer["ts"]), text
        return True

    async def _start_stream(self, text: str) -> AsyncSlackResponse:
        return await self._web.prompt.chat_startStream(
            channel=self._posts.channel,
            thread_ts=self._posts.thread_ts,
            markdown_text=text,
            # Required outside direct messages; the team is the reader's own, which Slack Connect makes differ.
            recipient_team_id=self._message.reply_to.get("team"),
            recipient_user_id=self._message.reply_to.get("user"),
        )

    async def _append(self, text: str) -> None:
        """Appends if there is a turn: what was left out goes out with the next show, or with the end of the stream."""
        append, more = self._web.prompt.chat_appendStream, text[len(self._streamed) :]
        try:
            await self._posts.place.attempt(
                "chat.appendStream", lambda: append(channel=self._posts.channel, ts=self._ts, markdown_text=more)
            )
        except NoTurn:
            return
        except SLACK_FAILURES as error:
            await self._after_failed_append(error)
            return
        self._streamed = text

    async def _after_failed_append(self, error: BaseException) -> None:
        if retry_after_s(error) is not None:
            return
        if reason(error) == "stopped_by_user":
            self._stopped_there = True
        else:
            # Whether the piece arrived is not known after a timeout; an update of the whole text settles that too. It
            # comes with the next show: if another worker ended the stream, core learns of it in between.
            await self._leave_stream(ended=reason(error) in _OVER)

    async def _end(self, text: str, outcome: Outcome) -> bool:
        """Ends the stream with the rest of `text`; False when the stream had to be left."""
        if not self._continues(text):
            await self._leave_stream(ended=False)
            return False
        stop, more = self._web.prompt.chat_stopStream, text[len(self._streamed) :] or None
        metadata = self._posts.metadata()
        below = below_answer() if outcome in _SAID else None
        try:
            await self._posts.place.insist(
                "chat.stopStream",
                lambda: stop(
                    channel=self._posts.channel, ts=self._ts, markdown_text=more, metadata=metadata, blocks=below
                ),
            )
        except SLACK_FAILURES as error:
            if retry_after_s(error) is not None:
                raise delivery_failed(error) from error
            over = reason(error) in _OVER
            await self._leave_stream(ended=over)
            if over:
                # Slack ended it after some minutes, or another worker did: core looks at its claim and tries again.
                raise DeliveryFailed("Slack: the stream was ended meanwhile") from error
            return False
        return True

    async def _sign(self, outcome: Outcome) -> tuple[str, ...]:
        """Leaves the text that the reader stopped, and says whose it is: a later attempt takes no other for its own."""
        post_id = self._posts.id_of(self._ts)
        self._posts.last_text = self._streamed if outcome in _SAID else ""
        await self._posts.edit(post_id, self._streamed)
        return (post_id,)

    def _continues(self, text: str) -> bool:
        return text.startswith(self._streamed) and len(text) <= MAX_CHARS

    async def _leave_stream(self, *, ended: bool) -> None:
        """Goes on in the stream's own post by updates. Slack ends a stream after about five minutes; its `ts` stays."""
        post_id = self._posts.id_of(self._ts)
        if not ended:
            await self._posts.end_stream(post_id)
        self._posts = SlackPosts(self._web, self._pace, self._message, known=(post_id,))
        self._as_posts(resumed=True)

    def _as_posts(self, *, resumed: bool) -> None:
        self._plain = EditedPosts(self._posts, self._message, resumed=resumed)
        self.pace_s = POST_PACE_S
