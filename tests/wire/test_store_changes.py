"""What every mailbox does when people edit, delete and stop, and what its workers hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import pytest

from core.chat import codec
from core.chat.message import Message
from core.chat.ports import Acceptance, Change, Claim, Commit, Mail, Signal
from tests.support.store_cases import (
    KINDS,
    THREAD,
    Store,
    answered,
    claimed,
    interaction,
    message,
    next_signal,
    open_store,
    turns,
)

LEASE_S = 0.4


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with open_store(request, lease_s=15.0) as opened:
        yield opened


@pytest.fixture(params=KINDS)
async def hasty_store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Leases of this store end soon."""
    async with open_store(request, lease_s=LEASE_S) as opened:
        yield opened


def edited(native: str) -> Message:
    """An edit as a gateway hears it: it knows the new text, not when the message was accepted."""
    return replace(message(native, text=f"edited {native}"), accepted_at=0.0)


async def head(store: Store, claim: Claim) -> Mail:
    mail = await store.box.head(claim)
    assert mail is not None
    return mail


async def work_off(store: Store, claim: Claim) -> list[str]:
    """Answers all that waits; the texts in their order."""
    texts = []
    while mail := await store.box.head(claim):
        texts.append(mail.message.text)
        assert await store.box.commit(claim, answered(mail.message))
    assert await store.box.finish(claim)
    return texts


# ── edits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_waiting_message_is_edited_in_its_place(store: Store) -> None:
    for native in ("1", "2", "3"):
        await store.box.accept(replace(message(native), accepted_at=5.0, trace="00-1-2-01"))

    assert await store.box.revise(edited("2")) is Change.WAITING

    claim = await claimed(store.box)
    await store.box.commit(claim, answered(message("1")))
    assert await store.box.renew(claim) is None
    mail = await head(store, claim)
    assert mail.message == replace(edited("2"), accepted_at=5.0, trace="00-1-2-01")
    assert await work_off(store, claim) == ["edited 2", "hello"]


async def test_edit_takes_over_the_kind(store: Store) -> None:
    await store.box.accept(message("1"))

    await store.box.revise(replace(message("1", text="/reset"), kind="reset"))

    mail = await head(store, await claimed(store.box))
    assert (mail.message.text, mail.message.kind) == ("/reset", "reset")


async def test_edit_of_a_message_that_is_being_answered_is_told_until_it_was_read(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box)
    await head(store, claim)

    assert await store.box.revise(edited("1")) is Change.ANSWERING

    told = [await store.box.renew(claim), await store.box.renew(claim)]
    mail = await head(store, claim)
    assert told == [Signal.REVISED, Signal.REVISED]
    assert mail.message.text == "edited 1"
    assert await store.box.renew(claim) is None


async def test_edit_of_a_message_that_came_with_its_claim_is_told(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box)

    assert await store.box.revise(edited("1")) is Change.ANSWERING

    assert await store.box.renew(claim) is Signal.REVISED
    assert (await head(store, claim)).message.text == "edited 1"


async def test_edit_that_changes_no_text_starts_nothing_anew(store: Store) -> None:
    # Slack tells of an edit when it has unfurled a link.
    await store.box.accept(message("1"))
    claim = await claimed(store.box)

    assert await store.box.revise(message("1")) is Change.ANSWERING
    assert await store.box.renew(claim) is None


async def test_edit_of_an_answered_or_unknown_message_changes_nothing(store: Store) -> None:
    await store.box.accept(message("1"))
    await work_off(store, await claimed(store.box))

    assert await store.box.revise(edited("1")) is Change.LATE
    assert await store.box.revise(edited("2")) is Change.LATE
    assert await store.box.accept(message("2")) is Acceptance.ACCEPTED
    assert await work_off(store, await claimed(store.box)) == ["hello"]


async def test_edit_reaches_the_worker_that_takes_over(hasty_store: Store) -> None:
    await hasty_store.box.accept(message("1"))
    dead = await claimed(hasty_store.box)
    await head(hasty_store, dead)
    await hasty_store.box.revise(edited("1"))

    successor = await claimed(hasty_store.box, "w2")

    assert successor.first is None
    assert await hasty_store.box.renew(successor) is Signal.REVISED
    assert (await head(hasty_store, successor)).message.text == "edited 1"
    assert await hasty_store.box.renew(successor) is None


async def test_odd_text_survives_an_edit(store: Store) -> None:
    await store.box.accept(message("1", text="half \ud83d"))
    odd = message("1", text='half \ud83d again, NUL \x00, "sent_at":9, line\nline')

    assert await store.box.revise(odd) is Change.WAITING

    assert (await head(store, await claimed(store.box))).message == odd


# ── deletions ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_deleted_message_that_nobody_began_is_gone(store: Store) -> None:
    for native in ("1", "2", "3", "4"):
        await store.box.accept(message(native, text=f"question {native}"))

    assert await store.box.withdraw(THREAD, message("3").id) is Change.WAITING
    claim = await claimed(store.box)
    assert await store.box.withdraw(THREAD, message("2").id) is Change.WAITING

    assert await work_off(store, claim) == ["question 1", "question 4"]
    assert await store.box.accept(message("2")) is Acceptance.DUPLICATE
    assert await store.box.committed_posts(THREAD, message("2").id) is None


async def test_only_message_that_waits_is_deleted_and_the_next_finds_a_worker(store: Store) -> None:
    await store.box.accept(message("1"))

    assert await store.box.withdraw(THREAD, message("1").id) is Change.WAITING

    assert await work_off(store, await claimed(store.box)) == []
    await store.box.accept(message("2", text="question 2"))
    assert await work_off(store, await claimed(store.box)) == ["question 2"]


async def test_answer_to_a_deleted_message_is_not_committed_by_who_does_not_know(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box)
    await head(store, claim)
    await store.box.intend(claim, message("1").id)

    assert await store.box.withdraw(THREAD, message("1").id) is Change.ANSWERING

    committed = await store.box.commit(claim, answered(message("1"), posts=("p1",)))
    assert (committed, await store.box.turns(THREAD)) == (False, ())
    assert await store.log.read("l1", 10, 0.1) == []
    assert await store.box.renew(claim) is Signal.WITHDRAWN
    mail = await head(store, claim)
    assert (mail.message, mail.intended, mail.withdrawn) == (message("1"), True, True)


async def test_deleted_message_leaves_the_inbox_with_a_commit_that_knows(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.accept(message("2"))
    claim = await claimed(store.box)
    await store.box.withdraw(THREAD, message("1").id)

    blank = interaction(message("1"), question="", answer="", messages=())
    gone = Commit(message("1").id, interaction=blank, withdrawn=True)
    committed = [await store.box.commit(claim, gone), await store.box.commit(claim, gone)]

    [entry] = await store.log.read("l1", 10, 5.0)
    assert committed == [True, True]
    assert codec.load_interaction(entry.text) == blank
    assert await store.box.committed_posts(THREAD, message("1").id) == ()
    assert await store.box.renew(claim) is None
    mail = await head(store, claim)
    assert (mail.message, mail.withdrawn) == (message("2"), False)


async def test_deletion_reaches_the_worker_that_takes_over(hasty_store: Store) -> None:
    await hasty_store.box.accept(message("1"))
    await hasty_store.box.intend(await claimed(hasty_store.box), message("1").id)
    await hasty_store.box.withdraw(THREAD, message("1").id)

    successor = await claimed(hasty_store.box, "w2")

    assert await hasty_store.box.renew(successor) is Signal.WITHDRAWN
    mail = await head(hasty_store, successor)
    assert (mail.intended, mail.withdrawn) == (True, True)


async def test_deleted_message_that_may_be_visible_waits_for_somebody_to_take_its_answer_back(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box)
    await store.box.intend(claim, message("1").id)
    await store.box.release(claim)

    assert await store.box.withdraw(THREAD, message("1").id) is Change.ANSWERING

    assert (await head(store, await claimed(store.box))).withdrawn


async def test_deletion_bars_the_message_that_it_overtook(store: Store) -> None:
    assert not await store.box.accepted(message("1"))
    assert await store.box.withdraw(THREAD, message("1").id) is Change.LATE

    assert await store.box.accepted(message("1"))
    assert await store.box.accept(message("1")) is Acceptance.DUPLICATE
    assert await store.box.accept(message("2", text="question 2")) is Acceptance.ACCEPTED
    assert await work_off(store, await claimed(store.box)) == ["question 2"]


async def test_deletion_of_an_answered_message_changes_nothing(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.commit(await claimed(store.box), answered(message("1"), posts=("p1",)))

    assert await store.box.withdraw(THREAD, message("1").id) is Change.LATE

    assert await store.box.turns(THREAD) == turns(message("1"))
    assert await store.box.committed_posts(THREAD, message("1").id) == ("p1",)


# ── what workers hear ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_gravest_of_several_signals_is_told(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box)
    told = []

    await store.box.revise(edited("1"))
    told.append(await store.box.renew(claim))
    await store.box.request_stop(THREAD)
    told.append(await store.box.renew(claim))
    await store.box.withdraw(THREAD, message("1").id)
    told.append(await store.box.renew(claim))

    assert told == [Signal.REVISED, Signal.STOP, Signal.WITHDRAWN]


@pytest.mark.parametrize("signal", list(Signal))
async def test_signal_is_heard_by_who_listens(store: Store, signal: Signal) -> None:
    await store.box.accept(message("1"))
    await claimed(store.box)
    texts = iter(range(1000))
    ask: dict[Signal, Callable[[], Awaitable[Any]]] = {
        Signal.STOP: lambda: store.box.request_stop(THREAD),
        Signal.REVISED: lambda: store.box.revise(message("1", text=f"edit {next(texts)}")),
        Signal.WITHDRAWN: lambda: store.box.withdraw(THREAD, message("1").id),
    }

    async with aclosing(cast("Any", store.box.signals())) as signals, asyncio.timeout(20):
        assert await anext(signals) is None  # what came before was missed

        assert await next_signal(signals, ask[signal]) == (THREAD, signal)


# ── who held it before ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_conversation_that_nobody_began_is_not_taken_over(store: Store) -> None:
    await store.box.accept(message("1"))
    first = await claimed(store.box)
    await work_off(store, first)
    await store.box.accept(message("2"))
    second = await claimed(store.box, "w2")

    assert (first.taken_over, second.taken_over) == (False, False)


async def test_conversation_of_a_silent_worker_is_taken_over(hasty_store: Store) -> None:
    await hasty_store.box.accept(message("1"))
    await claimed(hasty_store.box)

    assert (await claimed(hasty_store.box, "w2")).taken_over


async def test_conversation_that_was_begun_and_released_is_taken_over_until_the_commit(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.accept(message("2"))
    first = await claimed(store.box)
    await store.box.release(first)
    second = await claimed(store.box, "w2")
    await store.box.commit(second, answered(message("1")))
    await store.box.release(second)
    third = await claimed(store.box, "w3")

    assert (first.taken_over, second.taken_over, third.taken_over) == (False, True, False)


@pytest.mark.parametrize("begun", [False, True])
async def test_claim_that_reached_nobody_changes_nothing(store: Store, *, begun: bool) -> None:
    if begun:
        await store.box.accept(message("1"))
        first = await claimed(store.box)
    waiting = asyncio.ensure_future(store.box.take("w1", 30.0))
    await asyncio.wait({waiting}, timeout=0.05)
    waiting.cancel()
    await asyncio.wait({waiting})
    # What comes now is read for somebody who has gone.
    if begun:
        await store.box.release(first)
    else:
        await store.box.accept(message("1"))

    assert (await claimed(store.box, "w2")).taken_over is begun


# ── which posts count ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_posts_of_a_commit_are_told_to_who_lost_the_conversation(hasty_store: Store) -> None:
    await hasty_store.box.accept(message("1"))
    await claimed(hasty_store.box)
    successor = await claimed(hasty_store.box, "w2")
    before = await hasty_store.box.committed_posts(THREAD, message("1").id)

    await hasty_store.box.commit(successor, answered(message("1"), posts=('C1:"9.1"', "C1:9 \n2")))

    assert before is None
    assert await hasty_store.box.committed_posts(THREAD, message("1").id) == ('C1:"9.1"', "C1:9 \n2")
    assert await hasty_store.box.committed_posts(THREAD, message("2").id) is None
    assert await hasty_store.box.accept(message("1")) is Acceptance.DUPLICATE
