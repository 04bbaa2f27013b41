"""Each step of a message whose reply is lost after it ran: the client asks again, and what happened happened once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest

from core.chat.ports import Acceptance, Bucket, Change, Commit
from storage import items
from storage.buckets import RedisBuckets
from storage.connections import open_redis
from storage.keys import Keys
from storage.script import Arg, Script
from tests.support.proxy import Proxy
from tests.support.store_cases import THREAD, Store, answered, claimed, interaction, message, redis_store, turns
from tests.support.valkey import ValkeyServer, free_port

T = TypeVar("T")


@dataclass(frozen=True)
class Lossy:
    """A store behind a proxy; `losing` makes a call whose reply is lost once."""

    store: Store
    proxy: Proxy
    url: str

    async def losing(self, call: Callable[[], Awaitable[T]]) -> T:
        before = self.proxy.lost_replies
        self.proxy.lose_replies = 1
        reply = await call()
        assert self.proxy.lost_replies == before + 1
        return reply


@pytest.fixture
async def lossy() -> AsyncIterator[Lossy]:
    with ValkeyServer(free_port()) as server:
        async with Proxy(("127.0.0.1", server.port), marker=b"EVAL") as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            async with redis_store(url, inbox_limit=3) as store:
                yield Lossy(store, proxy, url)


async def test_message_is_accepted_and_answered_once(lossy: Lossy) -> None:
    box = lossy.store.box

    assert await lossy.losing(lambda: box.accept(message("1"))) is Acceptance.ACCEPTED
    assert await box.accept(message("1")) is Acceptance.DUPLICATE
    claim = await lossy.losing(lambda: claimed(box))
    assert not claim.taken_over
    mail = await lossy.losing(lambda: box.head(claim))
    assert mail is not None
    assert mail.message == message("1")
    await lossy.losing(lambda: box.intend(claim, message("1").id))
    assert await lossy.losing(lambda: box.renew(claim)) is None
    assert await lossy.losing(lambda: box.commit(claim, answered(message("1"), posts=("p1",))))
    assert await lossy.losing(lambda: box.finish(claim))

    assert await box.turns(THREAD) == turns(message("1"))
    assert await box.committed_posts(THREAD, message("1").id) == ("p1",)
    assert len(await lossy.store.log.read("l1", 10, 1.0)) == 1
    assert await box.take("w2", 0.3) is None


async def test_repeated_call_hears_the_same_though_more_has_happened_since(lossy: Lossy) -> None:
    keys, accept = Keys(), Script(open_redis(lossy.url), "accept")
    kinds = [keys.of(THREAD, "inbox"), keys.of(THREAD, "owner"), keys.beside(THREAD, "ready"), keys.of(THREAD, "known")]
    named = [keys.seen(THREAD, message("1").id), *kinds, keys.heard(0, "slack")]
    args: list[Arg] = ["attempt", 60, 20, items.written(message("1")), str(THREAD), 60, message("1").sent_at, 60, 10]

    first = await accept(named, args)
    await lossy.store.box.withdraw(THREAD, message("1").id)
    again = await accept(named, args)

    await accept._client.aclose()
    assert (first, again) == ("accepted", "accepted")
    assert await lossy.store.box.accept(message("1")) is Acceptance.DUPLICATE


async def test_edit_and_deletion_say_what_they_met(lossy: Lossy) -> None:
    box = lossy.store.box
    for native in ("1", "2"):
        await box.accept(message(native))
    claim = await claimed(box)

    assert await lossy.losing(lambda: box.revise(message("1", text="edited"))) is Change.ANSWERING
    assert await lossy.losing(lambda: box.withdraw(THREAD, message("2").id)) is Change.WAITING
    assert await lossy.losing(lambda: box.withdraw(THREAD, message("1").id)) is Change.ANSWERING
    assert await lossy.losing(lambda: box.withdraw(THREAD, message("9").id)) is Change.LATE
    mail = await box.head(claim)
    assert mail is not None
    assert (mail.message, mail.withdrawn) == (message("1", text="edited"), True)
    assert not await lossy.losing(lambda: box.commit(claim, answered(message("1"))))
    gone = Commit(message("1").id, interaction=interaction(message("1")), withdrawn=True)
    assert await lossy.losing(lambda: box.commit(claim, gone))
    assert await box.head(claim) is None


async def test_full_inbox_and_released_conversation_stay_as_they_are(lossy: Lossy) -> None:
    box = lossy.store.box
    for native in ("1", "2", "3"):
        await box.accept(replace(message(native), sent_at=message(native).sent_at + int(native)))
    claim = await claimed(box)

    assert await lossy.losing(lambda: box.accept(message("4"))) is Acceptance.FULL
    await lossy.losing(lambda: box.release(claim))

    successor = await claimed(box)
    assert successor.taken_over
    assert await box.take("w2", 0.3) is None


async def test_tokens_are_charged_once(lossy: Lossy) -> None:
    client = open_redis(lossy.url)
    buckets, slow = RedisBuckets(client), Bucket("slow", 0.001, 4.0)

    assert await lossy.losing(lambda: buckets.spend([(slow, 2.0)])) == 0.0
    await lossy.losing(lambda: buckets.charge([(slow, 1.0)]))
    left = [await buckets.spend([(slow, 1.0)]), await buckets.spend([(slow, 1.0)])]

    await client.aclose()
    assert left[0] == 0.0
    assert left[1] > 0.0
