"""A draft on platforms where posts are made and edited: one or several posts that grow with the answer."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.message import Outcome
from core.chat.ports import Poster
from core.chat.split import split_reply


class GrowingPosts:
    """A `Draft` over a `Poster`: parts of at most `max_chars` characters, edited as the answer grows.

    `over` are posts that show an earlier answer to the same question: this one takes their place. With
    `sealed` the last part is shown once more at the end, whatever it shows: there something stands below it.
    """

    def __init__(
        self,
        poster: Poster,
        *,
        max_chars: int,
        pace_s: float,
        resumed: bool,
        over: Sequence[str] = (),
        sealed: bool = False,
    ) -> None:
        self.pace_s = pace_s
        self._poster = poster
        self._max_chars = max_chars
        self._resumed = resumed
        self._sealed = sealed
        # id, and the text it shows as far as we know
        self._posts: list[tuple[str, str | None]] = [(post_id, None) for post_id in over]

    async def begin(self) -> None:
        """Shows that an answer is on its way."""
        await self._poster.indicate(on=True)

    async def show(self, text: str) -> None:
        """Makes the platform show `text`, touching only the posts whose text changed."""
        await self._adopt_earlier()
        parts = split_reply(text, self._max_chars)
        for number, part in enumerate(parts):
            if number == len(self._posts):
                self._posts.append((await self._poster.post(part, number), part))
            elif self._posts[number][1] != part:
                await self._poster.edit(self._posts[number][0], part)
                self._posts[number] = (self._posts[number][0], part)

    async def close(self, text: str, outcome: Outcome) -> tuple[str, ...]:
        """Shows the final text, removes posts that it no longer needs (all for an empty one), ends the indicator."""
        try:
            if self._sealed and self._posts:
                self._posts[-1] = (self._posts[-1][0], None)
            await self.show(text)
            needed = len(split_reply(text, self._max_chars))
            while len(self._posts) > needed:
                await self._poster.remove(self._posts[-1][0])
                self._posts.pop()
        finally:
            await self._poster.indicate(on=False)
        return tuple(post_id for post_id, _ in self._posts)

    async def leave(self) -> tuple[str, ...]:
        """Ends the indicator; the posts stay as they are."""
        await self._poster.indicate(on=False)
        return tuple(post_id for post_id, _ in self._posts)

    async def _adopt_earlier(self) -> None:
        if self._resumed:
            known = {post_id for post_id, _ in self._posts}
            self._posts += [(post_id, None) for post_id in await self._poster.earlier() if post_id not in known]
            self._resumed = False
