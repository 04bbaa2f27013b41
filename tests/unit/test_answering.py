"""The way of one message through core, with working fakes of mailbox, host, platform and ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from core.chat import lines
from core.chat.errors import AnswerBroken, DeliveryFailed, HostRefused, HostUnavailable
from core.chat.intake import Receipt
from core.chat.message import Address, Conversation, Message, Outcome, Person
from core.chat.ports import Claim, Mail
from core.chat.record import seed_of
from core.chat.worker import Pace
from tests.support.house import House, eventually
from tests.support.memory_store import MemoryStore, _Logged
from tests.support.wall import ROOM, said


@pytest.fixture
def house() -> House:
    return House()


class Reread(MemoryStore):
    """Counts how often mail and history were read."""

    heads = 0

    async def head(self, claim: Claim) -> Mail | None:
        self.heads += 1
        return await super().head(claim)


class Foresighted(Reread):
    """Gives the first mail with the claim."""

    async def take(self, worker: str, wait_s: float) -> Claim | None:
        claim = await super().take(worker, wait_s)
        return claim and replace(claim, first=await MemoryStore.head(self, claim))


class Crowded(MemoryStore):
    """Counts how many wait for a conversation at the same time."""

    waiting = 0
    most = 0

    async def take(self, worker: str, wait_s: float) -> Claim | None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            return await super().take(worker, wait_s)
        finally:
            self.waiting -= 1


async def test_a_question_is_answered_remembered_and_logged(house: House) -> None:
    question = said("how are you")

    async with house.running():
        receipt = await house.hear(question)
        row = await house.logged(question)

    assert receipt is Receipt.ACCEPTED
    assert house.wall.texts == ["you said: how are you"]
    assert [(turn.role, turn.text) for turn in await house.store.turns(ROOM)] == [
        ("user", "how are you"),
        ("assistant", "you said: how are you"),
    ]
    assert (row.outcome, row.finish_reason, row.answer) == (Outcome.ANSWERED, "stop", "you said: how are you")
    assert [message.role for message in row.messages] == ["system", "user"]
    assert (row.model_version, row.completion_tokens, row.sampling.seed) == ("v1", 5, seed_of(question.id))
    assert row.first_token_ms is not None
    assert row.first_token_ms <= row.total_ms


async def test_a_second_delivery_is_answered_once(house: House) -> None:
    question = said("hello")

    async with house.running():
        receipts = [await house.hear(question) for _ in range(3)]
        await house.logged(question)

    assert receipts == [Receipt.ACCEPTED, Receipt.DUPLICATE, Receipt.DUPLICATE]
    assert len(house.wall.posts) == 1


async def test_a_conversation_without_more_mail_is_given_back_without_reading_it_again() -> None:
    house = House(store=Reread())
    question, other = said("hello"), said("hello", conversation=Conversation("wall", "w1", "c2"))

    async with house.running():
        for message in (question, other):
            await house.hear(message)
            await house.logged(message)

    assert isinstance(house.store, Reread)
    assert house.store.heads == 2


async def test_mail_that_came_with_its_claim_is_not_read_again() -> None:
    house = House(store=Foresighted())
    question = said("hello")

    async with house.running():
        await house.hear(question)
        row = await house.logged(question)

    assert isinstance(house.store, Foresighted)
    assert (house.store.heads, row.answer) == (0, "you said: hello")


async def test_conversations_are_taken_side_by_side_as_long_as_there_are_slots() -> None:
    house = House(store=Crowded())
    assert isinstance(house.store, Crowded)

    async with house.running(Pace(take_wait_s=0.05, slots=10, takers=3)):
        await eventually(lambda: house.store.most == 3)  # type: ignore[attr-defined]

    assert house.store.most == 3


async def test_questions_of_one_conversation_are_answered_in_order(house: House) -> None:
    questions = [said(f"number {number}") for number in range(8)]
    for question in questions:
        await house.hear(question)

    async with house.running():
        await house.logged(questions[-1])

    assert house.wall.texts == [f"you said: number {number}" for number in range(8)]


async def test_the_next_question_is_asked_with_the_history_of_its_own_conversation_only(house: House) -> None:
    elsewhere = Conversation("wall", "w1", "c1", "t2")
    first, other, second = said("my name is Ada"), said("a secret", conversation=elsewhere), said("who am I")

    async with house.running():
        for question in (first, other, second):
            await house.hear(question)
            await house.logged(question)

    contents = [message.content for message in house.host.prompts[-1][1:]]
    assert contents == ["my name is Ada", "you said: my name is Ada", "who am I"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (said("hi", person=Person("b1", "bot", is_bot=True)), Receipt.IGNORED),
        (said("hi", address=Address.OVERHEARD), Receipt.IGNORED),
        (said("hi", address=Address.DIRECT), Receipt.ACCEPTED),
        (said("stop"), Receipt.IGNORED),
    ],
)
async def test_only_what_is_meant_for_us_is_taken_in(house: House, message: Message, expected: Receipt) -> None:
    assert await house.hear(message) is expected


async def test_a_thread_is_followed_once_the_bot_has_spoken_there(house: House) -> None:
    before = await house.hear(said("psst", address=Address.OVERHEARD))
    await house.hear(said("hello bot"))
    after = await house.hear(said("and then?", address=Address.OVERHEARD))

    assert (before, after) == (Receipt.IGNORED, Receipt.ACCEPTED)


async def test_a_full_inbox_gets_a_polite_line_instead_of_silence(house: House) -> None:
    house.store = MemoryStore(inbox_limit=2)

    receipts = [await house.hear(said(f"n{number}")) for number in range(3)]

    assert receipts[-1] is Receipt.BUSY
    assert house.wall.notices == [lines.BUSY]


async def test_reset_forgets(house: House) -> None:
    question, reset, after = said("remember me"), said("reset"), said("who am I")

    async with house.running():
        await house.hear(question)
        await house.hear(reset)
        await house.hear(after)
        await house.logged(after)

    assert lines.RESET in house.wall.texts
    assert [message.content for message in house.host.prompts[-1][1:]] == ["who am I"]


async def test_stop_ends_the_answer_and_keeps_what_was_said(house: House) -> None:
    house.host.gate = asyncio.Semaphore(3)
    question = said("a b c d e f g")

    async with house.running():
        await house.hear(question)
        await eventually(lambda: house.wall.texts == ["you said: a"])
        assert await house.hear(said("stop")) is Receipt.STOPPING
        row = await house.logged(question)

    assert row.outcome is Outcome.STOPPED
    assert house.wall.texts == [f"you said: a\n\n{lines.STOPPED}"]
    assert (await house.store.turns(ROOM))[-1].text == "you said: a"
    assert house.host.open_streams == 0


async def test_a_stop_before_the_first_word_counts_as_well(house: House) -> None:
    question = said("a b c")
    await house.hear(question)
    await house.hear(said("stop"))

    async with house.running():
        row = await house.logged(question)

    assert row.outcome is Outcome.STOPPED
    assert house.wall.texts == [lines.STOPPED]


@pytest.mark.parametrize(
    ("error", "fail_after", "shown"),
    [
        (HostUnavailable("away"), 0, lines.HOST_AWAY),
        (HostRefused("no"), 0, lines.HOST_REFUSED),
        (AnswerBroken("cut"), 0, lines.HOST_AWAY),
        (AnswerBroken("cut"), 2, f"you said:\n\n{lines.BROKE_OFF}"),
        (ZeroDivisionError("secret words"), 0, lines.FAULT),
    ],
)
async def test_a_failure_leaves_a_line_to_act_on_and_a_row(
    house: House, error: Exception, fail_after: int, shown: str
) -> None:
    house.host.error, house.host.fail_after = error, fail_after
    question = said("hello there")

    async with house.running():
        await house.hear(question)
        row = await house.logged(question)

    assert house.wall.texts == [shown]
    assert row.outcome is Outcome.FAILED
    assert type(error).__name__ in row.error
    assert "secret words" not in row.error
    assert await house.store.turns(ROOM) == ()


async def test_the_conversation_goes_on_after_a_failure(house: House) -> None:
    house.host.error = HostUnavailable("away")
    first, second = said("one"), said("two")

    async with house.running():
        await house.hear(first)
        await house.logged(first)
        house.host.error = None
        await house.hear(second)
        await house.logged(second)

    assert house.wall.texts == [lines.HOST_AWAY, "you said: two"]


async def test_an_empty_answer_is_a_failure_with_a_line(house: House) -> None:
    house.host.reply = lambda _: ["  ", "\n"]
    question = said("hello")

    async with house.running():
        await house.hear(question)
        row = await house.logged(question)

    assert (row.outcome, house.wall.texts) == (Outcome.FAILED, [lines.NO_ANSWER])


async def test_a_question_that_is_too_long_is_refused_with_figures(house: House) -> None:
    house.host.context_tokens = 300
    question = said("word " * 400)

    async with house.running():
        await house.hear(question)
        row = await house.logged(question)

    assert row.outcome is Outcome.REFUSED
    assert "400 tokens" in house.wall.texts[0]
    assert house.host.prompts == []


async def test_a_mention_without_a_question_gets_a_hint(house: House) -> None:
    question = said("  ")

    async with house.running():
        await house.hear(question)
        row = await house.logged(question)

    assert (row.outcome, house.wall.texts) == (Outcome.REFUSED, [lines.EMPTY])


async def test_history_is_cut_when_the_host_counts_more_than_we_do(house: House) -> None:
    first, second = said("word " * 300), said("and now")

    async with house.running():
        await house.hear(first)
        await house.logged(first)
        house.host.counts_wrong_by = 500
        await house.hear(second)
        row = await house.logged(second)

    assert row.outcome is Outcome.ANSWERED
    assert [message.content for message in row.messages[1:]] == ["and now"]
    assert [turn.text for turn in await house.store.turns(ROOM)] == ["and now", "you said: and now"]


async def test_a_long_answer_is_split_at_the_limit_and_nothing_is_lost(house: House) -> None:
    words = [f"word{number} " for number in range(100)]
    house.host.reply = lambda _: words
    question = said("talk")

    async with house.running():
        await house.hear(question)
        await house.logged(question)

    assert len(house.wall.posts) > 3
    assert all(len(text) <= house.wall.max_chars for text in house.wall.texts)
    assert " ".join(house.wall.texts).split() == "".join(words).split()


async def test_a_post_that_fails_for_a_moment_is_made_again(house: House) -> None:
    house.wall.refuse = [DeliveryFailed("busy"), DeliveryFailed("busy")]
    question = said("hello")

    async with house.running():
        await house.hear(question)
        row = await house.logged(question)

    assert (row.outcome, house.wall.texts) == (Outcome.ANSWERED, ["you said: hello"])


async def test_a_channel_that_is_gone_is_logged_and_does_not_hold_up_the_rest(house: House) -> None:
    house.wall.refuse = [DeliveryFailed("gone", retryable=False)] * 2
    house.host.reply = lambda _: ["x"]
    first, second = said("one"), said("two")

    async with house.running():
        await house.hear(first)
        row = await house.logged(first)
        house.wall.refuse = []
        await house.hear(second)
        await house.logged(second)

    assert (row.outcome, row.answer) == (Outcome.FAILED, "x")
    assert "gone" in row.error
    assert house.wall.texts == ["x"]


async def test_a_drain_finishes_what_is_under_way_and_leaves_the_rest(house: House) -> None:
    house.host.gate = asyncio.Semaphore(2)
    first, second = said("a b c"), said("d")
    await house.hear(first)
    await house.hear(second)

    async with house.running():
        await eventually(lambda: house.host.open_streams == 1)
        house.stopping.set()
        for _ in range(10):
            house.host.gate.release()

    assert house.wall.texts == ["you said: a b c"]
    claim = await house.store.take("next", 0.1)
    assert claim is not None
    mail = await house.store.head(claim)
    assert mail is not None
    assert mail.message.text == "d"


async def test_what_a_drain_cannot_finish_is_answered_in_the_same_post_after_the_next_start(house: House) -> None:
    house.host.gate = asyncio.Semaphore(2)
    question = said("a b c")
    await house.hear(question)
    async with house.running(Pace(take_wait_s=0.05, drain_s=0.05)):
        await eventually(lambda: house.wall.texts == ["you said:"])
        house.stopping.set()
    assert house.wall.texts == ["you said:"]
    assert house.wall.indicated == [True, False]

    house.host.gate, house.stopping = None, asyncio.Event()
    async with house.running():
        await house.logged(question)

    assert house.wall.texts == ["you said: a b c"]


async def test_a_worker_that_lost_its_lease_falls_silent(house: House) -> None:
    now = [1000.0]
    house.store = MemoryStore(lease_s=5.0, clock=lambda: now[0])
    house.host.gate = asyncio.Semaphore(2)
    question = said("a b c")

    async with house.running(Pace(take_wait_s=0.05, lease_s=0.3, slots=1)):
        await house.hear(question)
        await eventually(lambda: house.wall.texts == ["you said:"])
        now[0] += 60
        claim = await house.store.take("rival", 1.0)
        assert claim is not None
        await eventually(lambda: house.host.open_streams == 0)
        house.host.gate = None
        await house.store.release(claim)
        await house.logged(question)

    assert house.wall.texts == ["you said: a b c"]
    assert len(house.ledger.rows) == 1


async def test_an_entry_that_no_ledger_can_take_is_buried_and_the_rest_is_written(house: House) -> None:
    question = said("hello")
    await house.hear(question)
    house.store._log["0-1"] = _Logged("not json")

    async with house.running():
        await house.logged(question)
        await eventually(lambda: len(house.store.dead) == 1)

    assert house.store.dead[0][0].text == "not json"


async def test_the_log_waits_for_a_ledger_that_is_away(house: House) -> None:
    house.ledger.down = True
    question = said("hello")

    async with house.running():
        await house.hear(question)
        await eventually(lambda: house.wall.texts == ["you said: hello"])
        house.ledger.down = False
        row = await house.logged(question)

    assert row.outcome is Outcome.ANSWERED
