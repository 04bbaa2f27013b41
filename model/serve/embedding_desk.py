"""The desk before an embedder: requests wait here in a bounded number, and take turns in the batches of one thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.serve.embedder import Embedder, EmbedderInfo, Tokens
from model.serve.errors import EngineFailed, TooManyTexts

MAX_WAITING = 4096  # texts
# Padding included. More at once is no faster on a CPU, and a single question waits for the batch that is under way.
BATCH_TOKENS = 2048

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of a request in its order, the places of texts that were cut, and the tokens that were read."""

    vectors: list[Vector]
    cut: list[int]
    tokens: int


@dataclass(frozen=True, slots=True)
class _Text:
    ids: tuple[int, ...]
    vector: Future[Vector]


class EmbeddingDesk:
    """Takes texts in the host's loop and embeds them in a thread of its own, which ends with `close`.

    A batch takes one text of each request that waits, in turn: whoever sends a thousand does not hold up a question.
    """

    def __init__(self, embedder: Embedder, max_waiting: int = MAX_WAITING) -> None:
        self._embedder = embedder
        self._max_waiting = max_waiting
        self._open = 0
        self._changed = threading.Condition()
        self._requests: deque[deque[_Text]] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="embedder", daemon=True)
        self._thread.start()

    @property
    def info(self) -> EmbedderInfo:
        """What the embedder runs."""
        return self._embedder.info

    @property
    def open(self) -> int:
        """Texts under way and waiting."""
        return self._open

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of `texts`. Raises TooManyTexts, EngineFailed; cancelling it takes back what still waits."""
        if self._open + len(texts) > self._max_waiting:
            raise TooManyTexts(self._max_waiting)
        self._open += len(texts)
        try:
            tokens = await asyncio.to_thread(self._embedder.encode, texts)
            placed = [_Text(each.ids, Future()) for each in tokens]
            self._place(placed)
            vectors = await asyncio.gather(*(asyncio.wrap_future(text.vector) for text in placed))
        finally:
            self._open -= len(texts)
        return Embedded(vectors, _cut(tokens), sum(len(each.ids) for each in tokens))

    def close(self) -> None:
        """Fails what waits, and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _place(self, texts: Sequence[_Text]) -> None:
        with self._changed:
            if self._closing:
                raise EngineFailed("The embedder was closed.")
            # Texts of like length share a batch, for all of a batch are padded to its longest.
            self._requests.append(deque(sorted(texts, key=lambda text: len(text.ids))))
            self._changed.notify()

    # ── the embedder's own thread ───────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while batch := self._next_batch():
            wanted = [text for text in batch if text.vector.set_running_or_notify_cancel()]
            if wanted:
                self._embed(wanted)

    def _next_batch(self) -> list[_Text]:
        """Waits for texts; none when the thread shall end."""
        with self._changed:
            self._changed.wait_for(lambda: self._requests or self._closing)
            if self._closing:
                self._fail_all()
                return []
            batch: list[_Text] = []
            longest = 0
            while self._requests:
                request = self._requests[0]
                longest = max(longest, len(request[0].ids))
                if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
                    break
                batch.append(request.popleft())
                self._requests.rotate(-1)
                if not request:
                    self._requests.pop()
            return batch

    def _fail_all(self) -> None:
        for request in self._requests:
            for text in request:
                if text.vector.set_running_or_notify_cancel():
                    text.vector.set_exception(EngineFailed("The embedder was closed."))

    def _embed(self, texts: Sequence[_Text]) -> None:
        try:
            vectors = self._embedder.embed([text.ids for text in texts])
        except Exception as error:  # whatever it is, those who wait for this batch hear of it, and the next one goes on
            for text in texts:
                text.vector.set_exception(error)
        else:
            for text, vector in zip(texts, vectors, strict=True):
                text.vector.set_result(vector)


def _cut(tokens: Sequence[Tokens]) -> list[int]:
    return [place for place, each in enumerate(tokens) if each.cut]
