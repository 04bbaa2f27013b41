"""Settling: a worker that was overtaken takes back what it posted, unless the answer that counts is in that post."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from core.chat.errors import DeliveryFailed, StoreUnavailable
from core.chat.message import Message
from core.chat.ports import Courier, Tickets

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an overtaken worker waits for its successor's commit, and how often it looks; seconds."""

    at_most_s: float = 600.0
    look_s: float = 1.0


async def settle(
    message: Message, posts: Sequence[str], tickets: Tickets, courier: Courier, patience: Patience
) -> None:
    """Retracts those of `posts` that are not part of the answer to `message` which was committed.

    Without a commit in time all of them stay: better a double answer than none.
    """
    if not posts:
        return
    committed = await _committed(message, tickets, patience)
    if committed is None:
        _log.warning("posts_not_settled", turn=message.id, posts=len(posts))
        return
    # What was there before the message stays: another answer to it was shown in the posts of the first.
    lost = [post for post in posts if post not in committed and post not in message.over]
    try:
        if lost:
            await courier.retract(message, lost)
    except DeliveryFailed as error:
        _log.warning("posts_not_retracted", turn=message.id, posts=len(lost), reason=str(error))
        return
    _log.info("posts_settled", turn=message.id, retracted=len(lost))


async def _committed(message: Message, tickets: Tickets, patience: Patience) -> tuple[str, ...] | None:
    deadline = time.monotonic() + patience.at_most_s
    while True:
        try:
            posts = await tickets.committed_posts(message.conversation, message.id)
        except StoreUnavailable as error:
            _log.warning("settling_waits", turn=message.id, reason=str(error))
            posts = None
        if posts is not None or time.monotonic() > deadline:
            return posts
        await asyncio.sleep(patience.look_s)
