"""One message on its way through gateway, worker and log writer, each a process of its own, seen from outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.collector import Collector, collecting
from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN
from tests.support.running import Home, until
from tests.support.slack_harness import SlackHarness
from tests.support.stub_host import StubHost
from tests.support.wall import Wall
from tests.support.watched import Part, running

QUESTION = "tell me a secret"
ANSWER = "This is the answer."
HOPS = {"receive", "answer", "generate", "deliver", "commit", "log"}


@dataclass
class Way:
    """The processes, and the platform, host and collector around them."""

    people: SlackHarness
    host: StubHost
    collector: Collector
    bot: Part
    worker: Part
    log: Part


@pytest.fixture
async def way(tmp_path: Path, redis_url: str, sqlite_url: str) -> AsyncIterator[Way]:
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(FakeSlack())
        host = await stack.enter_async_context(StubHost(ANSWER))
        collector = await stack.enter_async_context(collecting())
        settings = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": sqlite_url,
            "MODEL_URL": host.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "SLACK_BOT_TOKEN": BOT_TOKEN,
            "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_API_URL": slack.url,
        }
        home = Home(tmp_path, settings)
        parts = [
            await stack.enter_async_context(running(home, *words))
            for words in (("bot",), ("worker", "--no-log"), ("log",))
        ]
        for part in parts:
            await part.until(lambda page: bool(page["ready"]))
        yield Way(SlackHarness(slack, Wall()), host, collector, *parts)


async def test_a_message_is_seen_on_all_of_its_way(way: Way) -> None:
    way.people.slack.retry_after_s = 1
    way.people.slack.refuse("chat.postMessage", times=1, status=429)
    ts = await way.people.say_direct("U1", QUESTION)
    await until(lambda: way.people.visible() == [ANSWER])
    await way.people.redeliver(ts)
    await until(lambda: way.people.unacked() == 0)
    await way.log.until_count(1, "parley_log_rows_total")
    await until(lambda: {hop.name for hop in way.collector.hops} >= HOPS)

    await it_is_counted(way)
    it_is_one_trace(way)
    it_is_one_line(await way.worker.end())


async def it_is_counted(way: Way) -> None:
    bot, worker, log = way.bot, way.worker, way.log
    assert await bot.count("parley_messages_total", platform="slack", receipt="accepted") == 1
    assert await bot.count("parley_messages_total", platform="slack", receipt="duplicate") == 1
    assert await worker.count("parley_answers_total", platform="slack", outcome="answered") == 1
    assert await worker.count("parley_time_to_first_token_seconds_count", platform="slack") == 1
    assert await worker.count("parley_queue_age_seconds_count", platform="slack") == 1
    assert await worker.count("parley_model_host_up") == 1
    assert await worker.count("parley_platform_limited_total", platform="slack", method="chat.postMessage") == 1
    assert await worker.count("parley_log_rows_total") == 0
    assert await log.count("parley_log_lag_seconds_count") == 1
    assert await log.count("parley_backlog_unlogged_rows") == 0
    assert await log.count("parley_mailbox_up") == 1


def it_is_one_trace(way: Way) -> None:
    answer = way.collector.named("answer")[0]
    hops = {hop.name: hop for hop in way.collector.hops if hop.trace == answer.trace}
    assert hops.keys() >= HOPS
    assert {hop.service for hop in hops.values()} == {"parley-bot", "parley-worker", "parley-log"}
    assert answer.parent == hops["receive"].id
    assert hops["generate"].parent == hops["deliver"].parent == answer.id
    (asked,) = [request for request in way.host.requests if request.path == "/v1/chat/completions"]
    assert asked.headers["traceparent"].split("-")[1:3] == [hops["generate"].trace, hops["generate"].id]
    assert QUESTION not in str(way.collector.hops)


def it_is_one_line(written: str) -> None:
    (line,) = [json.loads(line) for line in written.splitlines() if '"turn_done"' in line]
    assert line["turn"].startswith("slack:")
    assert line["outcome"] == "answered"
    assert 0 <= line["queue_ms"] <= line["first_token_ms"] <= line["total_ms"]
    assert line["prompt_tokens"] > 0
    assert line["completion_tokens"] > 0
    assert line["model_version"] == "stub-1"
    assert line["worker"]
    assert QUESTION not in written
    assert ANSWER not in written
