"""The courier of the platforms whose people read the feed: the web page and the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from core.chat.errors import DeliveryFailed, StoreUnavailable
from core.chat.message import Message, Outcome
from core.chat.ports import Draft, Feed, FeedEvent

_log = structlog.get_logger(__name__)

# Growing texts are short-lived and ours alone, so the pace is what an eye can follow, not what a platform allows.
PACE_S = 0.05


class FeedCourier:
    """Posts into `feed`. An answer's only post is its turn id, so that another attempt goes on in the same place.

    Another answer to the same question goes on in the post of the first.
    """

    def __init__(self, platform: str, feed: Feed, pace_s: float = PACE_S) -> None:
        self.platform = platform
        self._feed = feed
        self._pace_s = pace_s

    def draft(self, message: Message, *, resumed: bool) -> Draft:
        """A draft of the answer to `message`; what an earlier attempt showed is replaced by turn id."""
        return _FeedDraft(message, self._feed, self._pace_s)

    async def notice(self, message: Message, text: str) -> None:
        """A line outside any answer. Raises DeliveryFailed."""
        await _publish(self._feed, message, "kept" if message.kind == "again" else "notice", text)

    async def retract(self, message: Message, posts: Sequence[str]) -> None:
        """Takes the answer to `message` away from the page, with its question. Raises DeliveryFailed."""
        if _place(message) in posts:
            await _publish(self._feed, message, "removed", "")


class _FeedDraft:
    def __init__(self, message: Message, feed: Feed, pace_s: float) -> None:
        self.pace_s = pace_s
        self._message = message
        self._feed = feed
        self._visible = False

    async def begin(self) -> None:
        if self._message.kind == "reset":
            return
        try:
            self._visible = True
            if self._message.kind == "again":
                await _publish(self._feed, self._message, "again", "")
                return
            # Said again: whoever accepted the question may have died before the page was told of it.
            await _publish(self._feed, self._message, "said", self._message.text)
            await _publish(self._feed, self._message, "growing", "")
        except DeliveryFailed as error:
            _log.warning("draft_not_begun", turn=self._message.id, reason=str(error))

    async def show(self, text: str) -> None:
        self._visible = True
        await _publish(self._feed, self._message, "growing", text)

    async def close(self, text: str, outcome: Outcome) -> tuple[str, ...]:
        if not text:
            await _publish(self._feed, self._message, "removed", "")
            return ()
        if self._message.kind == "reset" and outcome is Outcome.ANSWERED:
            await _publish(self._feed, self._message, "reset", "")
        await _publish(self._feed, self._message, "closed", text, outcome.value)
        return (_place(self._message),)

    async def leave(self) -> tuple[str, ...]:
        """The page goes on waiting: another worker will answer in the same place."""
        return (_place(self._message),) if self._visible else ()


def _place(message: Message) -> str:
    return message.over[0] if message.over else message.id


async def _publish(feed: Feed, message: Message, kind: str, text: str, outcome: str = "") -> None:
    try:
        await feed.publish(message.conversation, FeedEvent(kind, _place(message), text, outcome))
    except StoreUnavailable as error:
        raise DeliveryFailed(f"The feed did not take the event: {error}") from error
