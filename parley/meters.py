"""What happens, counted for Prometheus: core's `Meter`, and the page that a scrape reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.chat.intake import Receipt
from core.chat.interaction import Interaction
from core.chat.message import Outcome
from core.chat.ports import Backlog
from model.client.fleet import HostFleet

# Seconds; people notice a tenth, and the model client gives an answer up after 300.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Meters:
    """Meter of `core.chat.ports`, in a registry of its own. All counts are this process's.

    Those of `platforms` begin at nought: of a count that appears with its first event, a rate misses that event.
    """

    def __init__(self, platforms: Iterable[str] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # twice the series for nothing that we ask
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"parley_{name}", what, labels, registry=registry)

        def seconds(name: str, what: str, *labels: str) -> Histogram:
            return Histogram(f"parley_{name}_seconds", what, labels, registry=registry, buckets=_BUCKETS)

        self._messages = counter("messages", "Messages heard, by what became of them.", "platform", "receipt")
        self._answers = counter("answers", "Answers committed, by outcome.", "platform", "outcome")
        self._queue_age = seconds("queue_age", "From a message's acceptance to the start of its answer.", "platform")
        self._first_token = seconds("time_to_first_token", "From acceptance to the model's first token.", "platform")
        self._answer = seconds("answer", "From acceptance to the end of the answer.", "platform")
        self._takeovers = counter("takeovers", "Messages begun that another worker had begun before.", "platform")
        self._fenced = counter("fenced", "Times that we found another worker in our conversation.", "platform")
        self._limited = counter("platform_limited", "Calls refused for a rate limit (429).", "platform", "method")
        self._backfilled = counter("backfilled", "Messages missed, then read from the platform.", "platform")
        self._rows = counter("log_rows", "Rows written to the log.")
        self._lag = seconds("log_lag", "From an answer's end to its row in the log, of a batch's oldest row.")
        for platform in platforms:
            self._begin(platform)

    def watch(self, gauges: Callable[[], list[Metric]]) -> None:
        """Asks `gauges` at each scrape, for the page."""
        self._registry.register(_Asked(gauges))

    def received(self, platform: str, receipt: str) -> None:
        """See `Meter.received`."""
        self._messages.labels(platform, receipt).inc()

    def answered(self, interaction: Interaction) -> None:
        """See `Meter.answered`."""
        platform = interaction.conversation.platform
        self._answers.labels(platform, interaction.outcome.value).inc()
        self._queue_age.labels(platform).observe(max(0.0, interaction.started_at - interaction.accepted_at))
        self._answer.labels(platform).observe(interaction.total_ms / 1000)
        if interaction.first_token_ms is not None:
            self._first_token.labels(platform).observe(interaction.first_token_ms / 1000)

    def taken_over(self, platform: str) -> None:
        """See `Meter.taken_over`."""
        self._takeovers.labels(platform).inc()

    def fenced(self, platform: str) -> None:
        """See `Meter.fenced`."""
        self._fenced.labels(platform).inc()

    def platform_limited(self, platform: str, method: str) -> None:
        """See `Meter.platform_limited`."""
        self._limited.labels(platform, method).inc()

    def backfilled(self, platform: str, messages: int) -> None:
        """See `Meter.backfilled`."""
        self._backfilled.labels(platform).inc(messages)

    def logged(self, rows: int, lag_s: float) -> None:
        """See `Meter.logged`."""
        self._rows.inc(rows)
        self._lag.observe(max(0.0, lag_s))

    def _begin(self, platform: str) -> None:
        for receipt in Receipt:
            self._messages.labels(platform, receipt.value)
        for outcome in Outcome:
            self._answers.labels(platform, outcome.value)
        for count in (self._takeovers, self._fenced, self._backfilled):
            count.labels(platform)

    def page(self, backlog: Backlog | None) -> bytes:
        """All counts in Prometheus' text format, with what waits now; `backlog` is None when it cannot be read."""
        return generate_latest(self._registry) + generate_latest(_Asked(lambda: backlog_gauges(backlog)))


def backlog_gauges(backlog: Backlog | None) -> list[Metric]:
    """What waits, over all shards: the same from each process. Without `backlog` only that it cannot be read."""

    def gauge(name: str, what: str, value: float) -> Metric:
        return GaugeMetricFamily(f"parley_{name}", what, value=value)

    reachable = gauge("mailbox_up", "Whether the mailbox answers.", float(backlog is not None))
    if backlog is None:
        return [reachable]
    return [
        reachable,
        gauge("backlog_conversations", "Conversations with mail, answered or waiting.", backlog.conversations),
        gauge("backlog_oldest_seconds", "Age of the oldest of them.", backlog.oldest_s),
        gauge("backlog_unlogged_rows", "Rows that are not in the log yet.", backlog.unlogged),
        gauge("backlog_unlogged_seconds", "Age of the oldest of them.", backlog.unlogged_s),
        gauge("dead_letters", "Entries that nothing could read or record.", backlog.dead),
    ]


def host_gauges(hosts: HostFleet) -> list[Metric]:
    """How the model hosts stand, as this worker sees them."""
    up = GaugeMetricFamily("parley_model_host_up", "Whether a host is asked: it is not set aside.", labels=["host"])
    underway = GaugeMetricFamily("parley_model_host_underway", "Answers asked of a host now.", labels=["host"])
    for standing in hosts.standings:
        up.add_metric([standing.url], float(standing.well))
        underway.add_metric([standing.url], standing.underway)
    waiting = GaugeMetricFamily("parley_model_host_waiting", "Answers that wait for a host.", value=hosts.waiting)
    return [up, underway, waiting]


class _Asked(Collector):
    """Gauges that are asked for at the scrape."""

    def __init__(self, gauges: Callable[[], list[Metric]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        return self._gauges()
