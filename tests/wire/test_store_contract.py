"""What every mailbox does: the one in memory, the one in a real Valkey, with each script run twice, on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.chat import codec
from core.chat.errors import Fenced
from core.chat.message import Conversation
from core.chat.ports import Acceptance, Commit, Signal
from tests.support.store_cases import (
    KINDS,
    OTHER,
    THREAD,
    Store,
    answered,
    claimed,
    interaction,
    message,
    open_store,
    turns,
)

LEASE_S = 0.4


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with open_store(request, lease_s=15.0, inbox_limit=3) as opened:
        yield opened


@pytest.fixture(params=KINDS)
async def hasty_store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Leases of this store end soon."""
    async with open_store(request, lease_s=LEASE_S) as opened:
        yield opened


async def test_message_is_accepted_once(store: Store) -> None:
    first = await store.box.accept(message("1"))
    again = await store.box.accept(message("1"))

    assert (first, again) == (Acceptance.ACCEPTED, Acceptance.DUPLICATE)


async def test_message_is_a_duplicate_even_after_it_was_answered(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box)
    await store.box.commit(claim, answered(message("1")))
    await store.box.finish(claim)

    assert await store.box.accept(message("1")) is Acceptance.DUPLICATE


async def test_full_inbox_refuses_and_takes_the_same_message_later(store: Store) -> None:
    for native in ("1", "2", "3"):
        await store.box.accept(message(native))

    assert await store.box.accept(message("4")) is Acceptance.FULL
    await store.box.commit(await claimed(store.box), answered(message("1")))
    assert await store.box.accept(message("4")) is Acceptance.ACCEPTED


async def test_message_comes_out_as_it_went_in(store: Store) -> None:
    odd = message("1", text='half \ud83d, emoji 🎈, NUL \x00, quote ", line\nline')
    await store.box.accept(odd)

    mail = await store.box.head(await claimed(store.box))

    assert mail is not None
    assert mail.message == odd
    assert (mail.history, mail.intended, mail.stop_requested) == ((), False, False)


async def test_conversation_is_worked_on_by_one_worker(store: Store) -> None:
    await store.box.accept(message("1"))
    await claimed(store.box)
    await store.box.accept(message("2"))

    assert await store.box.take("w2", 0.2) is None


async def test_conversations_are_worked_on_side_by_side(store: Store) -> None:
    await store.box.accept(message("1", THREAD))
    await store.box.accept(message("2", OTHER))

    claims = [await claimed(store.box, "w1"), await claimed(store.box, "w2")]

    assert {claim.conversation for claim in claims} == {THREAD, OTHER}
    for claim in claims:
        mail = await store.box.head(claim)
        assert mail is not None
        assert mail.message.conversation == claim.conversation


async def test_messages_are_answered_in_order_with_a_growing_history(store: Store) -> None:
    asked = [message(str(number), text=f"question {number}") for number in (1, 2, 3)]
    for each in asked:
        await store.box.accept(each)
    claim = await claimed(store.box)

    for done, each in enumerate(asked):
        mail = await store.box.head(claim)
        assert mail is not None
        assert mail.message == each
        assert mail.history == tuple(turn for earlier in asked[:done] for turn in turns(earlier))
        await store.box.commit(claim, answered(each))

    assert await store.box.head(claim) is None
    assert await store.box.finish(claim)
    assert await store.box.take("w1", 0.2) is None


async def test_commit_drops_the_oldest_turns_or_all(store: Store) -> None:
    for native in ("1", "2", "3"):
        await store.box.accept(message(native))
    claim = await claimed(store.box)
    await store.box.commit(claim, answered(message("1")))

    await store.box.commit(claim, Commit(message("2").id, append=turns(message("2")), drop=1))
    dropped = await store.box.turns(THREAD)
    await store.box.commit(claim, Commit(message("3").id, clear=True))

    assert dropped == (turns(message("1"))[1], *turns(message("2")))
    assert await store.box.turns(THREAD) == ()


async def test_mail_that_comes_with_a_claim_is_what_head_gives(store: Store) -> None:
    for native in ("1", "2"):
        await store.box.accept(message(native))
    before = await claimed(store.box)
    await store.box.commit(before, answered(message("1")))
    await store.box.intend(before, message("2").id)
    await store.box.request_stop(THREAD)
    await store.box.release(before)

    claim = await claimed(store.box)

    mail = await store.box.head(claim)
    assert mail is not None
    assert (len(mail.history), mail.intended, mail.stop_requested) == (2, True, True)
    assert claim.first in (None, mail)


async def test_mail_between_an_empty_head_and_finish_is_not_lost(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box)
    await store.box.commit(claim, answered(message("1")))
    assert await store.box.head(claim) is None

    await store.box.accept(message("2"))

    assert not await store.box.finish(claim)
    mail = await store.box.head(claim)
    assert mail is not None
    assert mail.message == message("2")


async def test_mail_after_finish_makes_a_ticket_of_a_higher_epoch(store: Store) -> None:
    await store.box.accept(message("1"))
    first = await claimed(store.box)
    await store.box.commit(first, answered(message("1")))
    await store.box.finish(first)

    await store.box.accept(message("2"))
    second = await claimed(store.box)

    assert second.epoch > first.epoch
    with pytest.raises(Fenced):
        await store.box.head(first)


async def test_repeated_commit_changes_nothing(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.accept(message("2"))
    claim = await claimed(store.box)

    await store.box.commit(claim, answered(message("1")))
    await store.box.commit(claim, answered(message("1")))

    assert await store.box.turns(THREAD) == turns(message("1"))
    mail = await store.box.head(claim)
    assert mail is not None
    assert mail.message == message("2")
    assert len(await store.log.read("l1", 10, 0.2)) == 1


async def test_only_the_first_waiting_message_can_be_committed(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.accept(message("2"))
    claim = await claimed(store.box)

    with pytest.raises(Fenced):
        await store.box.commit(claim, answered(message("2")))

    assert await store.box.turns(THREAD) == ()


async def test_repeated_finish_says_the_same(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box)
    await store.box.commit(claim, answered(message("1")))

    assert await store.box.finish(claim)
    assert await store.box.finish(claim)


async def test_silent_worker_is_replaced_and_can_do_no_harm(hasty_store: Store) -> None:
    box = hasty_store.box
    await box.accept(message("1"))
    frozen = await claimed(box, "w1")

    successor = await claimed(box, "w2")

    assert successor.conversation == frozen.conversation
    assert successor.epoch > frozen.epoch
    with pytest.raises(Fenced):
        await box.head(frozen)
    with pytest.raises(Fenced):
        await box.renew(frozen)
    with pytest.raises(Fenced):
        await box.intend(frozen, message("1").id)
    with pytest.raises(Fenced):
        await box.commit(frozen, answered(message("1")))
    with pytest.raises(Fenced):
        await box.finish(frozen)
    await box.release(frozen)
    assert await box.turns(THREAD) == ()
    await box.commit(successor, answered(message("1")))
    assert await box.turns(THREAD) == turns(message("1"))


async def test_renewed_lease_holds(hasty_store: Store) -> None:
    box = hasty_store.box
    await box.accept(message("1"))
    claim = await claimed(box, "w1")

    async with asyncio.TaskGroup() as group:
        rival = group.create_task(box.take("w2", LEASE_S * 4))
        while not rival.done():
            assert await box.renew(claim) is None
            await asyncio.wait({rival}, timeout=LEASE_S / 8)

    assert rival.result() is None
    await box.commit(claim, answered(message("1")))


async def test_intent_is_seen_by_the_successor_and_ends_with_the_commit(hasty_store: Store) -> None:
    box = hasty_store.box
    await box.accept(message("1"))
    await box.accept(message("2"))
    dead = await claimed(box, "w1")
    await box.intend(dead, message("1").id)

    successor = await claimed(box, "w2")
    first = await box.head(successor)
    await box.commit(successor, answered(message("1")))
    second = await box.head(successor)

    assert first is not None
    assert second is not None
    assert (first.intended, second.intended) == (True, False)


async def test_released_conversation_is_taken_at_once_with_its_mail(store: Store) -> None:
    await store.box.accept(message("1"))
    claim = await claimed(store.box, "w1")
    await store.box.intend(claim, message("1").id)

    await store.box.release(claim)
    async with asyncio.timeout(5):  # far below the lease of 15 s
        successor = await claimed(store.box, "w2")

    mail = await store.box.head(successor)
    assert mail is not None
    assert (mail.message, mail.intended) == (message("1"), True)
    with pytest.raises(Fenced):
        await store.box.renew(claim)
    await store.box.release(claim)
    assert await store.box.take("w3", 0.2) is None


async def test_stop_reaches_the_first_message_and_no_other(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.accept(message("2"))
    claim = await claimed(store.box)

    assert await store.box.request_stop(THREAD)

    first = await store.box.head(claim)
    assert await store.box.renew(claim) is Signal.STOP
    await store.box.commit(claim, answered(message("1")))
    second = await store.box.head(claim)
    assert first is not None
    assert second is not None
    assert (first.stop_requested, second.stop_requested) == (True, False)
    assert await store.box.renew(claim) is None


async def test_stop_of_nothing_is_refused(store: Store) -> None:
    assert not await store.box.request_stop(THREAD)


async def test_cancelled_take_keeps_no_ticket(store: Store) -> None:
    waiting = asyncio.ensure_future(store.box.take("w1", 30.0))
    await asyncio.wait({waiting}, timeout=0.1)
    waiting.cancel()
    await asyncio.wait({waiting})

    await store.box.accept(message("1"))

    async with asyncio.timeout(5):  # far below the lease of 15 s
        claim = await claimed(store.box, "w2")
    assert await store.box.head(claim) is not None


async def test_take_cancelled_while_it_is_handed_a_claim_gives_it_back(store: Store) -> None:
    for native in range(20):
        conversation = Conversation("web", "", f"c{native}")
        await store.box.accept(message("1", conversation))
        waiting = asyncio.ensure_future(store.box.take("w1", 30.0))
        for _ in range(native):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled() and (claim := waiting.result()):
            await store.box.release(claim)

    async with asyncio.timeout(10):  # below the lease of 15 s
        taken = {(await claimed(store.box, "w2")).conversation.channel for _ in range(20)}

    assert taken == {f"c{native}" for native in range(20)}


async def test_waiting_workers_share_what_comes(store: Store) -> None:
    places = [asyncio.ensure_future(store.box.take("w1", 10.0)) for _ in range(5)]
    everywhere = [Conversation("web", "", f"c{number}") for number in range(5)]

    for conversation in everywhere:
        await store.box.accept(message("1", conversation))
    claims = await asyncio.gather(*places)

    assert {claim.conversation for claim in claims if claim} == set(everywhere)


async def test_thread_is_known_once_a_message_was_accepted(store: Store) -> None:
    before = await store.box.knows(THREAD)
    await store.box.accept(message("1"))

    assert (before, await store.box.knows(THREAD), await store.box.knows(OTHER)) == (False, True, False)


async def test_reset_thread_stays_known(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.commit(await claimed(store.box), Commit(message("1").id, clear=True))

    assert await store.box.knows(THREAD)


async def test_post_leads_back_to_its_conversation(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.commit(await claimed(store.box), answered(message("1"), posts=("C1:9.1", "C1:9.2")))

    assert await store.box.conversation_of("slack", "C1:9.2") == THREAD
    assert await store.box.conversation_of("slack", "C1:9.9") is None
    assert await store.box.conversation_of("discord", "C1:9.2") is None


async def test_log_entry_stays_until_it_is_done(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.commit(await claimed(store.box), answered(message("1")))

    [entry] = await store.log.read("l1", 10, 5.0)
    others = await store.log.read("l2", 10, 0.1)
    await store.log.done([entry.id])
    await store.log.done([entry.id])

    assert codec.load_interaction(entry.text) == interaction(message("1"))
    assert others == []
    assert await store.log.read("l1", 10, 0.1) == []


async def test_log_is_read_in_batches_over_all_conversations(store: Store) -> None:
    for number in range(7):
        conversation = Conversation("web", "", f"c{number}")
        await store.box.accept(message("1", conversation))
        await store.box.commit(await claimed(store.box), answered(message("1", conversation)))

    first = await store.log.read("l1", 4, 5.0)
    second = await store.log.read("l1", 4, 5.0)

    assert (len(first), len(second)) == (4, 3)
    read = {codec.load_interaction(entry.text).conversation.channel for entry in (*first, *second)}
    assert read == {f"c{number}" for number in range(7)}


async def test_buried_entry_is_read_no_more(store: Store) -> None:
    await store.box.accept(message("1"))
    await store.box.commit(await claimed(store.box), answered(message("1")))
    [entry] = await store.log.read("l1", 10, 5.0)

    await store.log.bury(entry, "it does not fit")

    assert await store.log.read("l2", 10, 0.1) == []
