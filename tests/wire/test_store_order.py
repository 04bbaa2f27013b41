"""The order of an inbox, and what becomes of an entry that cannot be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from core.chat import codec
from storage.connections import open_redis
from storage.keys import Keys
from storage.mailbox import RedisMailbox
from tests.support.store_cases import THREAD, Store, answered, claimed, memory_store, message, redis_store


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        async with memory_store() as opened:
            yield opened
    else:
        async with redis_store(request.getfixturevalue("redis_url")) as opened:
            yield opened


async def read_all(store: Store) -> list[str]:
    claim = await claimed(store.box)
    texts = []
    while mail := await store.box.head(claim):
        texts.append(mail.message.text)
        await store.box.commit(claim, answered(mail.message))
    return texts


async def test_a_message_that_arrives_late_takes_its_place_by_the_platforms_clock(store: Store) -> None:
    spoken = [replace(message(f"{n}", text=f'"sent_at":9{n}'), sent_at=100.5 + n) for n in range(4)]
    for number in (0, 3, 1, 2):
        await store.box.accept(spoken[number])

    assert await read_all(store) == [asked.text for asked in spoken]


async def test_a_message_that_is_being_answered_keeps_its_place(store: Store) -> None:
    begun, late = replace(message("1", text="begun"), sent_at=200.0), replace(message("2", text="late"), sent_at=100.0)
    await store.box.accept(begun)
    claim = await claimed(store.box)

    await store.box.accept(late)

    mail = await store.box.head(claim)
    assert mail is not None
    assert mail.message.text == "begun"


async def test_a_message_whose_answer_may_be_visible_keeps_its_place_while_nobody_works_on_it(store: Store) -> None:
    begun, late = replace(message("1", text="begun"), sent_at=200.0), replace(message("2", text="late"), sent_at=100.0)
    await store.box.accept(begun)
    claim = await claimed(store.box)
    await store.box.intend(claim, begun.id)
    await store.box.release(claim)

    await store.box.accept(late)

    mail = await store.box.head(await claimed(store.box))
    assert mail is not None
    assert (mail.message.text, mail.intended) == ("begun", True)


async def test_a_message_that_cannot_be_read_is_set_aside_and_the_next_is_answered(redis_url: str) -> None:
    client, blocking = open_redis(redis_url), open_redis(redis_url, blocking=True)
    box = RedisMailbox(client, blocking)
    await box.open()
    try:
        await box.accept(message("1"))
        await box.accept(replace(message("2", text="fine"), sent_at=message("1").sent_at + 1))
        inbox = Keys("parley", 1).of(THREAD, "inbox")
        await client.lset(inbox, 0, f"{message('1').id}\n{{}}")

        claim = await box.take("w1", 1.0)
        assert claim is not None
        mail = await box.head(claim)

        assert mail is not None
        assert mail.message.text == "fine"
        assert await client.xlen(Keys("parley", 1).of_shard(0, "inbox-dead")) == 1
        assert codec.load_message(codec.dump(mail.message)) == mail.message
    finally:
        await box.aclose()
        await client.aclose()
        await blocking.aclose()
