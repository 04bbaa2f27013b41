"""Today's mailbox beside the one of the version before, on one Redis: during an upgrade both run for a while."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from core.chat import codec
from core.chat.errors import Fenced
from core.chat.message import Message
from core.chat.ports import Acceptance, Change, Signal
from storage.connections import Client, ask, open_redis
from storage.keys import Keys
from tests.support.older_mailbox import OlderMailbox
from tests.support.store_cases import NOON, THREAD, Store, answered, claimed, message, next_signal, redis_store, turns


@dataclass(frozen=True)
class Sides:
    newer: Store
    older: OlderMailbox
    client: Client


@pytest.fixture
async def sides(redis_url: str) -> AsyncIterator[Sides]:
    client = open_redis(redis_url)
    async with redis_store(redis_url, lease_s=1.0) as newer:
        yield Sides(newer, OlderMailbox(client), client)
    await client.aclose()


def asked(native: str) -> Message:
    """Messages one second after the other, each with a field that the older version does not know."""
    return replace(message(native, text=f"question {native}"), sent_at=NOON + int(native), trace="00-1-2-01")


async def test_mail_of_the_older_is_answered_by_the_newer_in_order(sides: Sides) -> None:
    for native in ("1", "3", "2"):
        assert await sides.older.accept(asked(native)) == "accepted"
    await sides.newer.box.accept(asked("4"))

    claim = await claimed(sides.newer.box)
    read = []
    while mail := await sides.newer.box.head(claim):
        read.append(mail.message)
        assert await sides.newer.box.commit(claim, answered(mail.message))
    assert await sides.newer.box.finish(claim)

    assert read == [*(replace(asked(native), trace="") for native in ("1", "2", "3")), asked("4")]


async def test_mail_of_the_newer_is_answered_by_the_older(sides: Sides) -> None:
    await sides.newer.box.accept(asked("1"))
    await sides.newer.box.accept(asked("2"))
    await sides.newer.box.revise(replace(asked("2"), text="edited"))

    claim = await sides.older.take("old")
    assert claim is not None
    first = await sides.older.head(claim)
    await sides.older.commit(claim, answered(asked("1")))
    second = await sides.older.head(claim)
    await sides.older.commit(claim, answered(asked("2")))
    assert await sides.older.finish(claim)

    assert first is not None
    assert second is not None
    assert first == json.loads(codec.dump(asked("1")))
    assert (second["id"], second["text"]) == (asked("2").id, "edited")
    assert await sides.newer.box.turns(THREAD) == (*turns(asked("1")), *turns(asked("2")))
    assert await sides.newer.box.committed_posts(THREAD, asked("1").id) is None
    assert len(await sides.newer.log.read("l1", 10, 1.0)) == 2


async def test_what_one_has_seen_is_a_duplicate_for_the_other(sides: Sides) -> None:
    await sides.older.accept(asked("1"))
    await sides.newer.box.accept(asked("2"))
    await sides.newer.box.withdraw(THREAD, asked("2").id)
    await sides.newer.box.withdraw(THREAD, asked("3").id)
    await sides.newer.box.commit(await claimed(sides.newer.box), answered(asked("1"), posts=("p1",)))

    assert [await sides.older.accept(asked(native)) for native in ("1", "2", "3")] == ["duplicate"] * 3
    assert await sides.newer.box.accept(asked("1")) is Acceptance.DUPLICATE


async def test_each_fences_the_other(sides: Sides) -> None:
    await sides.older.accept(asked("1"))
    first = await sides.older.take("old")
    assert first is not None
    second = await claimed(sides.newer.box)
    with pytest.raises(Fenced):
        await sides.older.renew(first)
    third = await sides.older.take_over("old", second.ticket, THREAD)
    assert third is not None
    with pytest.raises(Fenced):
        await sides.newer.box.renew(second)
    with pytest.raises(Fenced):
        await sides.newer.box.commit(second, answered(asked("1")))
    await sides.older.release(third)
    fourth = await claimed(sides.newer.box)

    assert second.taken_over
    assert first.epoch < second.epoch < third.epoch < fourth.epoch
    with pytest.raises(Fenced):
        await sides.older.commit(third, answered(asked("1")))


async def test_stop_is_understood_both_ways(sides: Sides) -> None:
    await sides.newer.box.accept(asked("1"))
    first = await sides.older.take("old")
    assert first is not None
    async with sides.client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(Keys().stops)
        heard = None
        while heard is None:
            await sides.newer.box.request_stop(THREAD)
            heard = await channel.get_message(timeout=0.2)
    assert heard["data"] == str(THREAD)
    assert await sides.older.renew(first)
    await sides.older.release(first)

    claim = await claimed(sides.newer.box)
    assert await sides.newer.box.renew(claim) is Signal.STOP
    async with aclosing(cast("Any", sides.newer.box.signals())) as signals, asyncio.timeout(10):
        assert await anext(signals) is None
        assert await next_signal(signals, lambda: sides.older.request_stop(THREAD)) == (THREAD, Signal.STOP)


async def test_older_worker_that_answers_what_was_edited_and_deleted_leaves_no_trace(sides: Sides) -> None:
    for native in ("1", "2"):
        await sides.newer.box.accept(asked(native))
    claim = await sides.older.take("old")
    assert claim is not None
    assert await sides.newer.box.revise(replace(asked("1"), text="edited")) is Change.ANSWERING
    assert await sides.newer.box.withdraw(THREAD, asked("1").id) is Change.ANSWERING

    assert not await sides.older.renew(claim)  # it was never told
    await sides.older.commit(claim, answered(asked("1")))
    await sides.older.release(claim)

    successor = await claimed(sides.newer.box)
    mail = await sides.newer.box.head(successor)
    assert mail is not None
    assert (mail.message, mail.withdrawn, mail.intended) == (asked("2"), False, False)
    assert await sides.newer.box.renew(successor) is None
    assert await sides.newer.box.commit(successor, answered(asked("2")))
    assert await sides.newer.box.finish(successor)
    assert await ask(sides.client.keys("*:owner:*")) == []
