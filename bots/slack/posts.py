"""The posts that answer one message in Slack: made, edited, removed, and found again after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bots.slack.buttons import with_text
from bots.slack.connection import SlackWeb
from bots.slack.errors import SLACK_FAILURES, NoTurn, delivery_failed, is_refusal, reason
from bots.slack.markup import harmless
from bots.slack.pace import Do, Pace
from bots.slack.status import AFTER_S, Status
from core.chat.message import Message

_log = structlog.get_logger(__name__)

MAX_CHARS = 12_000  # Slack's limit for `markdown_text`
ANSWER = "parley_answer"
NOTICE = "parley_notice"
_FALLBACK_CHARS = 3000  # what notifications show
_STATUS = "is thinking…"
_STATUS_S = 3.0
_PAGE = 200
_MAX_PAGES = 5


class SlackPosts:
    """The `Poster` for one message. Ids of posts are `channel:ts`, as `ts` alone is unique in its channel only.

    `known` are posts that this attempt made already; `earlier` gives them without asking Slack. With `resumed` an
    earlier attempt may have left its status.
    """

    def __init__(
        self,
        web: SlackWeb,
        pace: Pace,
        message: Message,
        known: tuple[str, ...] = (),
        *,
        resumed: bool = False,
        status_after_s: float = AFTER_S,
    ) -> None:
        self.channel = message.reply_to["channel"]
        self.place = pace.at(message.conversation.workspace, self.channel)
        self.thread_ts = message.reply_to.get("thread_ts", "")
        self._web = web
        self._turn = message.id
        self._asked_ts = message.reply_to.get("ts", "")
        self._person = message.reply_to.get("user", "")
        self._known = known
        self._parts: dict[str, int] = {post_id: part for part, post_id in enumerate(known)}
        self.last_text = ""  # of the part with which the answer ends: below it stand the buttons
        self._growing = False
        self._status = Status(self._show_status, left_on=resumed, after_s=status_after_s)
        self._unsure = False  # a post may have been made although we heard of no success

    @contextmanager
    def growing_text(self) -> Iterator[None]:
        """Within the block a call that gets no turn raises NoTurn; elsewhere it waits, as nothing comes after it."""
        self._growing = True
        try:
            yield
        finally:
            self._growing = False

    async def indicate(self, *, on: bool) -> None:
        """Shows a status if the model thinks for long. In a thread, Slack takes it away when the answer comes."""
        if on:
            self._status.begin()
        else:
            await self._status.end()

    async def text_comes(self) -> None:
        """To be awaited before the first text: a status that came after it would stay."""
        await self._status.text_comes()

    async def _show_status(self, on: bool) -> None:  # noqa: FBT001 - the status itself
        try:
            async with asyncio.timeout(_STATUS_S):
                if not self.thread_ts:
                    await self.place.attempt("agents.sessions.setStatus", lambda: self._set_session_status(on=on))
                elif on:
                    await self.place.attempt("assistant.threads.setStatus", self._set_thread_status)
        except (NoTurn, *SLACK_FAILURES) as error:
            _log.debug("slack_status_not_shown", turn=self._turn, reason=reason(error))

    async def earlier(self) -> tuple[str, ...]:
        """What an earlier attempt posted for this message, oldest first."""
        if self._known:
            return self._known
        found = [post for post in await self._since_asked() if await self._is_of_this_turn(post)]
        ids = tuple(self.id_of(post["ts"]) for post in found)
        self._parts.update({post_id: part for part, post_id in enumerate(ids)})
        return ids

    async def post(self, text: str, part: int) -> str:
        """Posts a part, once: where Slack's reply was lost, the post is looked for before it is made again."""
        await self.text_comes()
        if self._unsure and (found := await self._find(part)):
            await self.edit(found, text)
            return found
        try:
            answer = await self._call("chat.postMessage", lambda: self._post(text, part))
        except SLACK_FAILURES as error:
            self._unsure = self._unsure or not is_refusal(error)
            raise delivery_failed(error) from error
        post_id = self.id_of(str(answer["ts"]))
        self._parts[post_id] = part
        return post_id

    async def edit(self, post_id: str, text: str) -> None:
        """Replaces the text of a post."""
        await self.text_comes()
        await self._unstreamed(post_id, lambda: self._update(post_id, text))

    async def remove(self, post_id: str) -> None:
        """Removes a post of ours; one that is gone already is as good."""
        await self._unstreamed(post_id, lambda: self._delete(post_id))

    async def end_stream(self, post_id: str) -> None:
        """Ends a stream whatever its state. Best effort: what matters comes with the update that follows."""
        stop = self._web.patient.chat_stopStream
        try:
            await self._call(
                "chat.stopStream",
                lambda: stop(channel=self.channel, ts=self.ts_of(post_id), metadata=self.metadata()),
            )
        except (NoTurn, *SLACK_FAILURES) as error:
            _log.debug("slack_stream_not_ended", turn=self._turn, reason=reason(error))

    def metadata(self, part: int = 0) -> dict[str, Any]:
        """By this a later attempt recognises a post."""
        return {"event_type": ANSWER, "event_payload": {"turn": self._turn, "part": part}}

    def id_of(self, ts: str) -> str:
        """The id of a post, for core."""
        return f"{self.channel}:{ts}"

    def ts_of(self, post_id: str) -> str:
        """The `ts` in a post's id."""
        return post_id.removeprefix(f"{self.channel}:")

    async def _call(self, method: str, do: Do) -> AsyncSlackResponse:
        return await (self.place.attempt(method, do) if self._growing else self.place.insist(method, do))

    async def _post(self, text: str, part: int) -> AsyncSlackResponse:
        return await self._web.prompt.chat_postMessage(
            channel=self.channel,
            thread_ts=self.thread_ts or None,
            **self._content(text),
            metadata=self.metadata(part),
            unfurl_links=False,
            unfurl_media=False,
        )

    def _content(self, text: str) -> dict[str, Any]:
        """The text, with the buttons below the last one. A call that has blocks takes no `markdown_text`."""
        shown = harmless(text)
        if not text or text != self.last_text:
            return {"markdown_text": shown}
        return {"blocks": with_text(shown), "text": shown[:_FALLBACK_CHARS]}

    async def _set_session_status(self, *, on: bool) -> AsyncSlackResponse:
        return await self._web.prompt.agents_sessions_setStatus(
            channel_id=self.channel,
            status="processing" if on else "active",
            initiator_user_id=self._person or None,
        )

    async def _set_thread_status(self) -> AsyncSlackResponse:
        return await self._web.prompt.assistant_threads_setStatus(
            channel_id=self.channel, thread_ts=self.thread_ts, status=_STATUS
        )

    async def _unstreamed(self, post_id: str, change: Callable[[], Awaitable[None]]) -> None:
        """Makes `change`, for which a stream that was left behind has to end first."""
        try:
            try:
                await change()
            except SLACK_FAILURES as error:
                if reason(error) != "streaming_state_conflict":
                    raise
                await self.end_stream(post_id)
                await change()
        except SLACK_FAILURES as error:
            raise delivery_failed(error) from error

    async def _delete(self, post_id: str) -> None:
        ts, delete = self.ts_of(post_id), self._web.patient.chat_delete
        try:
            await self.place.insist("chat.delete", lambda: delete(channel=self.channel, ts=ts))
        except SLACK_FAILURES as error:
            if reason(error) != "message_not_found":
                raise

    async def _update(self, post_id: str, text: str) -> None:
        metadata = self.metadata(self._parts.get(post_id, 0))
        update, ts = self._web.patient.chat_update, self.ts_of(post_id)
        await self._call(
            "chat.update",
            lambda: update(channel=self.channel, ts=ts, **self._content(text), metadata=metadata),
        )

    async def _find(self, part: int) -> str | None:
        for post in await self._since_asked():
            payload = _metadata(post).get("event_payload") or {}
            if _metadata(post).get("event_type") == ANSWER and payload == {"turn": self._turn, "part": part}:
                return self.id_of(post["ts"])
        return None

    async def _is_of_this_turn(self, post: Mapping[str, Any]) -> bool:
        metadata = _metadata(post)
        if metadata.get("event_type") == ANSWER:
            return bool((metadata.get("event_payload") or {}).get("turn") == self._turn)
        # A stream gets its metadata when it ends. Answers of a conversation are given one after the other, so that
        # a post of ours after the question, without metadata, is the stream that an earlier attempt left behind.
        return bool(self.thread_ts) and not metadata and await self._is_ours(post)

    async def _is_ours(self, post: Mapping[str, Any]) -> bool:
        try:
            me = await self._web.me()
        except SLACK_FAILURES as error:
            raise delivery_failed(error) from error
        return post.get("user") == me.user_id or (bool(me.bot_id) and post.get("bot_id") == me.bot_id)

    async def _since_asked(self) -> list[Mapping[str, Any]]:
        """What was posted after the question, oldest first."""
        posts: list[Mapping[str, Any]] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._page(cursor)
            posts += page.get("messages") or []
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
        later = [post for post in posts if float(post["ts"]) > float(self._asked_ts or 0)]
        return sorted(later, key=lambda post: float(post["ts"]))

    async def _page(self, cursor: str | None) -> Mapping[str, Any]:
        method = "conversations.replies" if self.thread_ts else "conversations.history"
        try:
            answer = await self._call(method, lambda: self._read(cursor))
        except SLACK_FAILURES as error:
            raise delivery_failed(error) from error
        return answer.data if isinstance(answer.data, dict) else {}

    async def _read(self, cursor: str | None) -> AsyncSlackResponse:
        client, oldest = self._web.patient, self._asked_ts or "0"
        if self.thread_ts:
            return await client.conversations_replies(
                channel=self.channel,
                ts=self.thread_ts,
                oldest=oldest,
                include_all_metadata=True,
                limit=_PAGE,
                cursor=cursor,
            )
        return await client.conversations_history(
            channel=self.channel, oldest=oldest, include_all_metadata=True, limit=_PAGE, cursor=cursor
        )


def _metadata(post: Mapping[str, Any]) -> Mapping[str, Any]:
    return post.get("metadata") or {}
