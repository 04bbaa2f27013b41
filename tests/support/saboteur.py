"""Parley with one guard taken out, for it is the tests that are tested here.

`python -m tests.support.saboteur COMMAND...` is `parley COMMAND...` that never looks for an earlier post of an answer.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bots.discord.courier
import bots.slack.posts
from parley.cli import main
from storage.mailbox import RedisMailbox


async def _nothing(_: object) -> tuple[str, ...]:
    return ()


def _another_nonce(turn_id: str, part: str) -> str:
    return uuid.uuid4().hex[:25]


def without_reconcile() -> None:
    """Takes out what finds the post that an earlier attempt made."""
    posts: Any = (bots.slack.posts.SlackPosts, bots.discord.courier.DiscordPoster)
    for poster in posts:
        poster.earlier = _nothing
    courier: Any = bots.discord.courier
    courier.nonce_for = _another_nonce


@contextmanager
def without_dedupe(mailbox: RedisMailbox) -> Iterator[None]:
    """Takes out what recognises a message that came before."""
    script = mailbox._accept
    text, sha = script._text, script._sha
    script._text = text.replace("if seen then", "if false then")
    assert script._text != text
    script._sha = hashlib.sha1(script._text.encode(), usedforsecurity=False).hexdigest()
    try:
        yield
    finally:
        script._text, script._sha = text, sha


if __name__ == "__main__":
    without_reconcile()
    main()
