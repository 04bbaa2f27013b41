"""What one host serves: its models, their engines once they are loaded, and the places for answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

from model.serve.counting import Counts, Now
from model.serve.embedding_desk import EmbeddingDesk
from model.serve.engine import Engine
from model.serve.problems import Problem


class Spans(Protocol):
    """Follows a request as part of the trace that it came with."""

    def span(self, name: str, parent: str = "", **attributes: str | float) -> AbstractContextManager[object]:
        """A span for the time of the block, under the W3C `traceparent` in `parent`, if there is one."""


class NoSpans:
    """For when no trace is kept."""

    def span(self, name: str, parent: str = "", **attributes: str | float) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()


@dataclass(slots=True)
class Embedding:
    """The embedding model that is served beside the other; `why` says why there is none."""

    model: str = ""
    version: str = ""
    desk: EmbeddingDesk | None = None
    state: Literal["off", "loading", "ready", "failed"] = "off"
    why: str = ""

    def ready_desk(self) -> EmbeddingDesk:
        """Where texts are embedded. Raises Problem while that cannot be."""
        if self.desk is not None:
            return self.desk
        if self.state == "loading":
            raise Problem(503, "The embedding model is loading; ask again soon.", "loading", headers=_later(1))
        if self.state == "failed":
            raise Problem(503, "The embedding model has failed; the host's log says why.", "failed")
        raise Problem(404, f"This host embeds no texts ({self.why}).", "model_not_found", "model")


@dataclass(slots=True)
class Service:
    """What the host serves: the model's name, and the engine once it is loaded; `open` answers are under way."""

    model: str
    version: str
    max_waiting: int
    keep_alive_s: float = 10.0
    engine: Engine | None = None
    load_error: str = ""
    embedding: Embedding = field(default_factory=Embedding)
    open: int = 0
    counts: Counts = field(default_factory=Counts)
    spans: Spans = field(default_factory=NoSpans)

    @property
    def status(self) -> Literal["loading", "ready", "failed"]:
        """Where the engine stands."""
        if self.load_error or (self.engine is not None and self.engine.failed):
            return "failed"
        return "loading" if self.engine is None else "ready"

    @property
    def missing(self) -> dict[str, str]:
        """What must come before answers can be given: each by name, with what is wrong with it."""
        if self.status == "failed":
            return {"engine": "failed; restart the host, whose log says why"}
        return {"model": "loading"} if self.status == "loading" else {}

    @property
    def now(self) -> Now:
        """How the host stands."""
        running = self.engine.info.running if self.engine else 0
        return Now(self.status == "ready", min(self.open, running), max(0, self.open - running))

    def ready_engine(self) -> Engine:
        """The engine. Raises Problem while there is none."""
        if self.status == "failed":
            raise Problem(503, "The model host has failed; restart it.", "failed")
        if self.engine is None:
            raise Problem(503, "The model is loading; ask again in a few seconds.", "loading", headers=_later(2))
        return self.engine

    @contextmanager
    def place(self, engine: Engine) -> Iterator[None]:
        """A place among the answers under way and waiting. Raises Problem when all are taken."""
        if self.open >= engine.info.running + self.max_waiting:
            raise Problem(429, "Too many answers are waiting; ask again later.", "too_many_waiting", headers=_later(1))
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


def _later(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
