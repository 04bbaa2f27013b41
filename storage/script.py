"""The small Lua scripts in `scripts/`: each runs in Redis as one step, and may safely run twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from storage.connections import in_our_words, to_its_end


class Script:
    """The script `scripts/<name>.lua`, called through `client`."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._text = files("storage").joinpath("scripts", f"{name}.lua").read_text("utf-8")
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str], args: Sequence[str | int | float]) -> Any:
        """Runs the script to its end. Raises StoreUnavailable, Fenced."""
        with in_our_words():
            return await to_its_end(self._run(keys, args))

    async def _run(self, keys: Sequence[str], args: Sequence[str | int | float]) -> Any:
        try:
            return await self._client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:  # the server was restarted, or has not seen it yet
            return await self._client.eval(self._text, len(keys), *keys, *args)
