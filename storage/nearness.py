"""The vectors of approved questions in memory: core's Approvals, searched whole, exactly, in milliseconds.

Why no index structure and no database extension: docs/decisions/0005-recall.md.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.loop.recall import Approved, Embedded, Near, Scope, Vector

_FIRST_ROWS = 64


class Nearness:
    """Pairs that stand, for questions embedded by `embedder`; vectors of another one are never compared with them.

    `put` and `drop` are told what changes; what stands is decided by `core.loop.recall.standing`. A vector takes four
    bytes a number: 1.5 kB a pair for the small model.
    """

    def __init__(self, embedder: str) -> None:
        self.embedder = embedder
        self._workspaces: dict[tuple[str, str], _Workspace] = {}
        self._homes: dict[str, _Workspace] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many pairs are held."""
        return len(self._homes)

    def put(self, pair: Approved, vector: Vector) -> None:
        """Holds the pair, in the place of one with its id. Raises ValueError for a vector of another width."""
        row = np.asarray(vector, np.float32)
        with self._lock:
            home = self._workspaces.setdefault(_key(pair.scope), _Workspace(len(row)))
            if row.shape != (home.width,):
                raise ValueError(f"a vector of {len(row)} numbers among vectors of {home.width}")
            self._drop(pair.id)
            home.add(pair, row)
            self._homes[pair.id] = home

    def drop(self, pair_id: str) -> None:
        """Holds the pair no more; an unknown one is ignored."""
        with self._lock:
            self._drop(pair_id)

    async def nearest(self, asked: Scope, question: Embedded, most: int) -> Sequence[Near]:
        """At most `most` pairs that cover `asked`, nearest first; none where the embedder was another one."""
        if question.embedder != self.embedder:
            return ()
        # Of a hundred thousand pairs it takes long enough for others to notice, were it done in the loop.
        return await asyncio.to_thread(self._search, asked, question.vectors[0], most)

    def _search(self, asked: Scope, vector: Vector, most: int) -> list[Near]:
        with self._lock:
            home = self._workspaces.get(_key(asked))
            return home.nearest(asked.channel, np.asarray(vector, np.float32), most) if home else []

    def _drop(self, pair_id: str) -> None:
        if (home := self._homes.pop(pair_id, None)) is not None:
            home.remove(pair_id)


class _Workspace:
    """The pairs of one workspace: row n belongs to pair n; rows behind the last pair are spare."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._vectors = np.zeros((_FIRST_ROWS, width), np.float32)
        self._channels = np.zeros(_FIRST_ROWS, np.int32)
        self._codes = {"": 0}  # channels by number; 0 is the whole workspace
        self._pairs: list[Approved] = []
        self._rows: dict[str, int] = {}

    def add(self, pair: Approved, vector: NDArray[np.float32]) -> None:
        row = len(self._pairs)
        if row == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
            self._channels = np.concatenate([self._channels, np.zeros_like(self._channels)])
        self._vectors[row] = vector
        self._channels[row] = self._codes.setdefault(pair.scope.channel, len(self._codes))
        self._pairs.append(pair)
        self._rows[pair.id] = row

    def remove(self, pair_id: str) -> None:
        """The last pair moves into the gap."""
        row, last = self._rows.pop(pair_id), self._pairs.pop()
        if last.id != pair_id:
            self._pairs[row] = last
            self._rows[last.id] = row
            self._vectors[row] = self._vectors[len(self._pairs)]
            self._channels[row] = self._channels[len(self._pairs)]

    def nearest(self, channel: str, vector: NDArray[np.float32], most: int) -> list[Near]:
        count = len(self._pairs)
        similarities = self._vectors[:count] @ vector
        channels = self._channels[:count]
        # A channel of which nothing was approved has no number, and no row bears the one that stands for it here.
        rows = np.flatnonzero((channels == 0) | (channels == self._codes.get(channel, -1)))
        if len(rows) > most:
            kept = np.argpartition(-similarities[rows], most)[:most] if most else ()
            rows = rows[np.asarray(kept, np.intp)]
        found = [Near(self._pairs[row], float(similarities[row])) for row in rows]
        return sorted(found, key=lambda near: (-near.similarity, near.pair.id))


def _key(scope: Scope) -> tuple[str, str]:
    return scope.platform, scope.workspace
