"""The small Lua scripts in `scripts/`: each runs in Redis as one step, and may safely run twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from core.chat.errors import StoreUnavailable
from storage.connections import REDIS_ERRORS, Client, in_our_words, to_its_end, together

Arg = str | int | float
# How long a write may be on its way to the replicas that must have it.
_COPY_S = 1.0


class Script:
    """The script `scripts/<name>.lua`, called through `client`. With `replicas` it waits until so many have the write.

    Such a script writes something on each of its ways that acknowledges, so that there is something to wait for.
    """

    def __init__(self, client: Client, name: str, replicas: int = 0) -> None:
        self._client = client
        self._replicas = replicas
        self._text = files("storage").joinpath("scripts", f"{name}.lua").read_text("utf-8")
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """Runs the script to its end.

        Raises:
            StoreUnavailable: it did not run, or its write is on the primary alone.
            Fenced: the claim's epoch is over.
        """
        with in_our_words():
            if not self._replicas:
                return await to_its_end(self._run(keys, args))
            reply, copies = await to_its_end(self._run_and_wait(keys, args))
        if copies < self._replicas:
            raise StoreUnavailable(
                f"Only {copies} of {self._replicas} replicas took a write within {_COPY_S:g} s: see to the replicas."
            )
        return reply

    async def _run(self, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        try:
            return await self._client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:  # the server was restarted, or has not seen it yet
            return await self._client.eval(self._text, len(keys), *keys, *args)

    async def _run_and_wait(self, keys: Sequence[str], args: Sequence[Arg]) -> list[Any]:
        call = ("EVALSHA", self._sha, len(keys), *keys, *args)
        wait = ("WAIT", self._replicas, int(_COPY_S * 1000))  # it counts for the connection that wrote
        try:
            replies = await together(self._client, keys[0], call, wait)
        except REDIS_ERRORS as error:
            replies = [error]
        if isinstance(replies[0], Exception):  # not known there, refused, or the keys are elsewhere now
            await self._run(keys, args)
            replies = await together(self._client, keys[0], call, wait)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies
