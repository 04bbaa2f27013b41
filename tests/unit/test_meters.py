"""What is counted, under the names that Prometheus' conventions ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.chat.intake import Receipt
from core.chat.interaction import Interaction, Sampling
from core.chat.message import Conversation, Outcome
from core.chat.ports import Backlog
from parley.meters import Meters

ANSWERED = Interaction(
    turn_id="slack:T1:C1:1",
    conversation=Conversation("slack", "T1", "C1"),
    person_id="U1",
    person_name="Ada",
    sent_at=1000.0,
    accepted_at=1000.5,
    started_at=1000.75,
    first_token_ms=400.0,
    total_ms=2000.0,
    outcome=Outcome.ANSWERED,
    finish_reason="stop",
    error="",
    question="a secret question",
    messages=(),
    answer="a secret answer",
    model="m",
    model_version="1",
    persona="p",
    persona_version="1",
    template_version="1",
    sampling=Sampling(0.0, 1.0, 10, 0),
    prompt_tokens=10,
    completion_tokens=5,
    tokens_exact=True,
    worker="w",
)


def read(meters: Meters, backlog: Backlog | None = None) -> dict[str, float]:
    """Each sample of the page, as `name{label=value,...}` without the histograms' buckets."""
    return {
        sample.name
        + (
            "{" + ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items())) + "}" if sample.labels else ""
        ): sample.value
        for family in text_string_to_metric_families(meters.page(backlog).decode())
        for sample in family.samples
        if "le" not in sample.labels
    }


def test_messages_are_counted_by_what_became_of_them() -> None:
    meters = Meters()

    meters.received("slack", Receipt.ACCEPTED.value)
    meters.received("slack", Receipt.DUPLICATE.value)
    meters.received("slack", Receipt.DUPLICATE.value)

    page = read(meters)
    assert page["parley_messages_total{platform=slack,receipt=accepted}"] == 1
    assert page["parley_messages_total{platform=slack,receipt=duplicate}"] == 2


def test_an_answer_is_counted_with_its_times_in_seconds() -> None:
    meters = Meters()

    meters.answered(ANSWERED)

    page = read(meters)
    assert page["parley_answers_total{outcome=answered,platform=slack}"] == 1
    assert page["parley_queue_age_seconds_sum{platform=slack}"] == pytest.approx(0.25)
    assert page["parley_time_to_first_token_seconds_sum{platform=slack}"] == pytest.approx(0.4)
    assert page["parley_answer_seconds_sum{platform=slack}"] == pytest.approx(2.0)


def test_an_answer_without_a_token_has_no_time_to_the_first() -> None:
    meters = Meters()

    meters.answered(replace(ANSWERED, first_token_ms=None, outcome=Outcome.FAILED))

    page = read(meters)
    assert page["parley_answers_total{outcome=failed,platform=slack}"] == 1
    assert "parley_time_to_first_token_seconds_count{platform=slack}" not in page


def test_clocks_that_differ_make_no_negative_time() -> None:
    meters = Meters()

    meters.answered(replace(ANSWERED, started_at=990.0))
    meters.logged(1, -3.0)

    page = read(meters)
    assert page["parley_queue_age_seconds_sum{platform=slack}"] == 0.0
    assert page["parley_log_lag_seconds_sum"] == 0.0


def test_troubles_are_counted() -> None:
    meters = Meters()

    meters.taken_over("slack")
    meters.fenced("discord")
    meters.platform_limited("discord", "channels.messages")
    meters.backfilled("slack", 7)
    meters.logged(200, 0.5)

    page = read(meters)
    assert page["parley_takeovers_total{platform=slack}"] == 1
    assert page["parley_fenced_total{platform=discord}"] == 1
    assert page["parley_platform_limited_total{method=channels.messages,platform=discord}"] == 1
    assert page["parley_backfilled_total{platform=slack}"] == 7
    assert page["parley_log_rows_total"] == 200
    assert page["parley_log_lag_seconds_sum"] == 0.5


def test_counts_of_known_platforms_begin_at_nought() -> None:
    page = read(Meters(["slack"]))

    assert page["parley_takeovers_total{platform=slack}"] == 0
    assert page["parley_messages_total{platform=slack,receipt=limited}"] == 0
    assert page["parley_answers_total{outcome=withdrawn,platform=slack}"] == 0


def test_what_waits_is_on_the_page() -> None:
    page = read(Meters(), Backlog(conversations=3, oldest_s=1.5, unlogged=20, unlogged_s=0.25, dead=1))

    assert page["parley_mailbox_up"] == 1
    assert page["parley_backlog_conversations"] == 3
    assert page["parley_backlog_oldest_seconds"] == 1.5
    assert page["parley_backlog_unlogged_rows"] == 20
    assert page["parley_backlog_unlogged_seconds"] == 0.25
    assert page["parley_dead_letters"] == 1


def test_a_mailbox_that_cannot_be_read_is_no_empty_mailbox() -> None:
    page = read(Meters(), None)

    assert page["parley_mailbox_up"] == 0
    assert not any(name.startswith("parley_backlog") for name in page)


def test_the_page_holds_no_text_and_no_person() -> None:
    meters = Meters()

    meters.answered(ANSWERED)

    page = meters.page(None).decode()
    assert "secret" not in page
    assert "U1" not in page
    assert "Ada" not in page
