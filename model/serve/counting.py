"""What the host counts, for Prometheus: requests by outcome, tokens, and how long people wait for the first of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from model.serve.problems import problem_of

# The format that every Prometheus reads.
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Both proper ends of an answer; a client that went away; an engine that broke; and what was not begun: requests with a
# mistake in them, more than may wait, and those that came before the model was there.
OUTCOMES = ("stop", "length", "gone", "failed", "refused", "full", "not_ready")
EMBEDDING_OUTCOMES = ("done", "gone", "failed", "refused", "full", "not_ready")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(slots=True)
class Tally:
    """One answer while it is made: `outcome` is set where it comes to its proper end."""

    said: Callable[[], None]
    drawn: Callable[[int], None]
    outcome: str = ""


@dataclass(slots=True)
class EmbeddingTally:
    """One request for embeddings."""

    texts: int = 0
    tokens: int = 0

    def done(self, texts: int, tokens: int) -> None:
        """It was answered."""
        self.texts, self.tokens = texts, tokens


@dataclass(frozen=True, slots=True)
class Now:
    """How the host stands at a scrape."""

    ready: bool
    underway: int
    waiting: int


class Counts:
    """The counts of one host, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # twice the series for nothing that we ask
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("parley_host_requests", "Requests for answers.", ["outcome"], registry=registry)
        self._prompt = Counter("parley_host_prompt_tokens", "Tokens of the prompts begun.", registry=registry)
        self._drawn = Counter(
            "parley_host_tokens", "Tokens generated, also for those who went away.", registry=registry
        )
        self._first = _histogram("time_to_first_token", "From a request to the first text of its answer.", registry)
        self._answer = _histogram("answer", "From a request to the proper end of its answer.", registry)
        self._embeddings = Counter(
            "parley_host_embedding_requests", "Requests for embeddings.", ["outcome"], registry=registry
        )
        self._embedded_texts = Counter("parley_host_embedded_texts", "Texts embedded.", registry=registry)
        self._embedded_tokens = Counter("parley_host_embedded_tokens", "Tokens of these.", registry=registry)
        self._embedding = _histogram("embedding", "From a request for embeddings to its answer.", registry)
        self._ready = Gauge("parley_host_ready", "Whether the model is loaded and well.", registry=registry)
        self._underway = Gauge("parley_host_underway", "Answers that the engine works at.", registry=registry)
        self._waiting = Gauge("parley_host_waiting", "Answers that wait for the engine.", registry=registry)
        for outcome in OUTCOMES:  # of a count that appears with its first event, a rate misses that event
            self._requests.labels(outcome)
        for outcome in EMBEDDING_OUTCOMES:
            self._embeddings.labels(outcome)

    @contextmanager
    def answer(self, prompt_tokens: int) -> Iterator[Tally]:
        """Counts the answer that the block makes."""
        began = time.perf_counter()
        self._prompt.inc(prompt_tokens)
        spoken = False

        def said() -> None:
            nonlocal spoken
            if not spoken:
                spoken = True
                self._first.observe(time.perf_counter() - began)

        tally = Tally(said, self._drawn.inc)
        outcome = "gone"  # a generator that is closed, or a task that is cancelled, says no more than that
        try:
            yield tally
        except Exception:
            outcome = "failed"
            raise
        finally:
            self._requests.labels(tally.outcome or outcome).inc()
            if tally.outcome:
                self._answer.observe(time.perf_counter() - began)

    @contextmanager
    def embedding(self) -> Iterator[EmbeddingTally]:
        """Counts the request for embeddings that the block answers."""
        began = time.perf_counter()
        tally = EmbeddingTally()
        outcome = "gone"
        try:
            yield tally
        except Exception as error:
            outcome = _outcome(problem_of(error).status)
            raise
        finally:
            self._embeddings.labels("done" if tally.texts else outcome).inc()
            self._embedded_texts.inc(tally.texts)
            self._embedded_tokens.inc(tally.tokens)
            if tally.texts:
                self._embedding.observe(time.perf_counter() - began)

    def not_begun(self, status: int) -> None:
        """A request was answered with the HTTP `status` of a problem."""
        self._requests.labels(_outcome(status)).inc()

    def page(self, now: Now) -> bytes:
        """All counts in Prometheus' text format."""
        self._ready.set(now.ready)
        self._underway.set(now.underway)
        self._waiting.set(now.waiting)
        return generate_latest(self._registry)


def _outcome(status: int) -> str:
    """What a problem with the HTTP `status` is counted as."""
    return {429: "full", 503: "not_ready"}.get(status, "failed" if status >= 500 else "refused")


def _histogram(name: str, what: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(f"parley_host_{name}_seconds", what, registry=registry, buckets=_SECONDS)
