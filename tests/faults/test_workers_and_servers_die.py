"""Real processes are killed and frozen, the mailbox's server is killed: nothing lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.fleet import LEASE_S, Fleet, fleet
from tests.support.running import until
from tests.support.saboteur import without_dedupe

NOTHING_WRONG = {"lost": 0, "doubled": 0, "reordered": 0, "rows": 0}


@pytest.fixture(params=["slack", "discord"])
async def running(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(request.param, tmp_path) as made:
        yield made


async def test_workers_killed_at_random_moments(running: Fleet) -> None:
    chance = random.Random(7)
    for number in range(10):
        for person in range(8):
            await running.ask(f"U{person}", number)
        await asyncio.sleep(0.15)
        if number % 3 == 2:
            await running.kill_one(chance)

    await running.all_answered(120.0)

    assert running.counts() == NOTHING_WRONG
    assert await running.turns_wrong() == 0


async def test_a_frozen_worker_is_overtaken_and_does_no_harm_when_it_wakes(running: Fleet) -> None:
    running.host.delay_s = 0.2
    for person in range(6):
        await running.ask(f"U{person}", 0)
    await running.host.wait_chats(6, 30.0)

    async with running.frozen(running.workers[0]):
        await running.all_answered(2 * LEASE_S + 20.0)
    for person in range(6):
        await running.ask(f"U{person}", 1)
    await running.all_answered(60.0)

    assert running.counts() == NOTHING_WRONG
    assert await running.turns_wrong() == 0


async def test_the_mailboxs_server_killed_again_and_again(running: Fleet) -> None:
    for number in range(6):
        for person in range(6):
            await running.ask(f"U{person}", number)
        await asyncio.sleep(0.2)
        if number in (1, 3):
            running.valkey.kill()
            running.valkey.start()

    await running.all_answered(120.0)

    assert running.counts() == NOTHING_WRONG
    assert await running.turns_wrong() == 0


async def test_each_event_delivered_four_times_and_shuffled(running: Fleet) -> None:
    chance = random.Random(3)
    natives = [await running.ask(f"U{person}", number) for number in range(4) for person in range(4)]
    again = [native for native in natives for _ in range(3)]
    chance.shuffle(again)
    for native in again:
        await running.harness.redeliver(native)

    await running.all_answered(60.0)
    await until(lambda: not running.host.open_streams)

    assert running.counts() == NOTHING_WRONG
    assert len(running.host.chats) == 16


async def test_a_post_whose_response_was_lost_is_not_made_twice(tmp_path: Path) -> None:
    async with fleet("slack", tmp_path, workers=1) as running:
        running.harness.slack.refuse("chat.postMessage", times=2, status=503, after=True)  # type: ignore[union-attr]

        for person in range(4):
            await running.ask(f"U{person}", 0)
        await running.all_answered(60.0)

        assert running.counts() == NOTHING_WRONG


@pytest.mark.parametrize("platform", ["slack", "discord"])
async def test_a_worker_killed_mid_answer_goes_on_in_the_same_post(platform: str, tmp_path: Path) -> None:
    async with fleet(platform, tmp_path, workers=1) as running:
        await _kill_mid_answer(running)

        assert running.counts() == NOTHING_WRONG


# ── the harness itself: with a guard taken out, it must see the harm ────────────────────────────────────────────────


@pytest.mark.parametrize("platform", ["slack", "discord"])
async def test_without_looking_for_the_earlier_post_the_harness_goes_red(platform: str, tmp_path: Path) -> None:
    async with fleet(platform, tmp_path, workers=1, entry="tests.support.saboteur") as running:
        await _kill_mid_answer(running)

        assert running.counts()["doubled"] > 0


async def test_without_dedupe_the_harness_goes_red(tmp_path: Path) -> None:
    async with fleet("slack", tmp_path, workers=1) as running:
        with without_dedupe(running.mailbox):
            native = await running.ask("U0", 0)
            # Delivered again under the same claim, it would be answered in the post that is there.
            await running.all_answered(30.0)
            await running.harness.redeliver(native)
            await until(lambda: len(running.seen()) == 2, 30.0)

        assert running.counts()["doubled"] == 1


async def _kill_mid_answer(running: Fleet) -> None:
    """Kills the only worker while half of an answer is visible, and starts another."""
    running.host.delay_s = 1.0
    await running.ask("U0", 0)
    await until(lambda: any("answer" in text for text in running.harness.visible()), 30.0)
    running.host.delay_s = 0.0
    await running.kill_one(random.Random(1))
    await running.all_answered(60.0)
