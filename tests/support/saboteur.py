"""Parley with one guard taken out, for it is the harness that is tested here.

`python -m tests.support.saboteur GUARD COMMAND...` is `parley COMMAND...` without the guard: `reconcile` finds the post
that an earlier attempt made, `dedupe` recognises a message that came before.
"""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import bots.discord.courier
import bots.slack.posts
import storage.script
from parley.cli import main


def without_reconcile() -> None:
    posts: Any = (bots.slack.posts.SlackPosts, bots.discord.courier.DiscordPoster)
    for poster in posts:
        poster.earlier = _nothing
    courier: Any = bots.discord.courier
    courier.nonce_for = _another_nonce


async def _nothing(_: object) -> tuple[str, ...]:
    return ()


def _another_nonce(turn_id: str, part: str) -> str:
    return uuid.uuid4().hex[:25]


def without_dedupe() -> None:
    _rewrite("accept", "if seen then", "if false then")


def _rewrite(name: str, old: str, new: str) -> None:
    """From now on the script `name` is made with `new` in the place of `old`."""
    script: Any = storage.script.Script
    made: Callable[..., None] = script.__init__

    def make(self: Any, client: Any, called: str, replicas: int = 0) -> None:
        made(self, client, called, replicas)
        if called == name:
            text = self._text.replace(old, new)
            assert text != self._text, f"{name}.lua has no {old!r}"
            self._text, self._sha = text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    script.__init__ = make


GUARDS: Mapping[str, Callable[[], None]] = {"reconcile": without_reconcile, "dedupe": without_dedupe}


if __name__ == "__main__":
    GUARDS[sys.argv.pop(1)]()
    main()
