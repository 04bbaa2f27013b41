"""Who may ask how much, how they are told, and how platform calls wait for their turn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from core.chat import lines
from core.chat.errors import StoreUnavailable
from core.chat.intake import MailboxIntake, Receipt
from core.chat.limits import NOTICE_S, Limits, Rates
from core.chat.message import Conversation, Message, Person
from core.chat.pacing import Pacer
from core.chat.ports import Bucket
from tests.support.counting_meter import CountingMeter
from tests.support.house import House, eventually
from tests.support.memory_buckets import MemoryBuckets
from tests.support.memory_store import MemoryStore
from tests.support.wall import Wall, said

ADA, BOB = Person("ada", "Ada"), Person("bob", "Bob")


@dataclass
class Door:
    """Intake with limits, on a clock of the test's own."""

    rates: Rates
    now: list[float] = field(default_factory=lambda: [1000.0])
    store: MemoryStore = field(default_factory=MemoryStore)
    wall: Wall = field(default_factory=Wall)
    meter: CountingMeter = field(default_factory=CountingMeter)
    buckets: MemoryBuckets = field(init=False)
    limits: Limits = field(init=False)
    intake: MailboxIntake = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = MemoryBuckets(lambda: self.now[0])
        self.limits = Limits(self.buckets, self.rates)
        self.intake = MailboxIntake(self.store, self.wall, self.limits, self.meter)

    async def say(self, person: Person, channel: str = "c1", thread: str = "t1") -> Receipt:
        return await self.intake.receive(asked_by(person, channel, thread))


def asked_by(person: Person, channel: str = "c1", thread: str = "t1") -> Message:
    return said("hello", person=person, conversation=Conversation("wall", "w1", channel, thread))


def only(**rates: float) -> Rates:
    """No limits but those that are named."""
    none = dict.fromkeys(
        ("person_messages", "channel_messages", "workspace_messages", "person_tokens", "workspace_tokens"), 0.0
    )
    return Rates(**{**none, **rates})


async def test_a_person_over_the_limit_is_told_when_to_ask_again_and_others_are_not_concerned() -> None:
    door = Door(only(person_messages=3.0))

    receipts = [await door.say(ADA) for _ in range(5)]
    other = await door.say(BOB)

    assert receipts == [*[Receipt.ACCEPTED] * 3, Receipt.LIMITED, Receipt.LIMITED]
    assert other is Receipt.ACCEPTED
    assert door.wall.notices == [lines.LIMITED.format(wait="20 seconds")]


async def test_the_limit_is_told_again_after_a_while_and_the_bucket_refills() -> None:
    door = Door(only(person_messages=3.0))
    for _ in range(4):
        await door.say(ADA)

    door.now[0] += NOTICE_S
    still = await door.say(ADA)
    door.now[0] += 10.0
    again = await door.say(ADA)

    assert (still, again) == (Receipt.LIMITED, Receipt.ACCEPTED)
    assert len(door.wall.notices) == 2


@pytest.mark.parametrize("rates", [only(channel_messages=2.0), only(workspace_messages=2.0)])
async def test_a_channel_and_a_workspace_have_limits_of_their_own(rates: Rates) -> None:
    door = Door(rates)

    receipts = [await door.say(Person(f"p{number}", "P"), thread=f"t{number}") for number in range(3)]
    elsewhere = await door.say(ADA, channel="c2")

    assert receipts == [Receipt.ACCEPTED, Receipt.ACCEPTED, Receipt.LIMITED]
    assert (elsewhere is Receipt.ACCEPTED) is (rates.channel_messages > 0)


async def test_a_message_that_was_refused_costs_nobody_anything() -> None:
    door = Door(only(person_messages=2.0, channel_messages=3.0))
    for _ in range(10):
        await door.say(ADA)

    assert await door.say(BOB) is Receipt.ACCEPTED


async def test_a_message_delivered_again_costs_nothing() -> None:
    door = Door(only(person_messages=2.0))
    question = asked_by(ADA)

    receipts = [await door.intake.receive(question) for _ in range(6)]

    assert receipts == [Receipt.ACCEPTED, *[Receipt.DUPLICATE] * 5]
    assert await door.say(ADA) is Receipt.ACCEPTED


async def test_a_message_delivered_again_by_a_person_over_the_limit_is_a_duplicate() -> None:
    door = Door(only(person_messages=1.0))
    question = asked_by(ADA)
    await door.intake.receive(question)

    assert await door.intake.receive(question) is Receipt.DUPLICATE
    assert door.wall.notices == []


async def test_generated_tokens_are_charged_and_an_overdrawn_person_waits() -> None:
    now = [1000.0]
    house = House(limits=Limits(MemoryBuckets(lambda: now[0]), only(person_tokens=6.0)))

    async with house.running():
        for number in range(3):  # an answer has three tokens
            question = said(f"n{number}")
            await house.hear(question)
            await eventually(lambda number=number: len(house.meter.answers) > number)  # type: ignore[misc]
        late = await house.hear(said("one more"))
        now[0] += 60.0
        later = await house.hear(said("and now"))

    assert (late, later) == (Receipt.LIMITED, Receipt.ACCEPTED)


async def test_buckets_that_are_away_refuse_the_event_so_that_the_platform_sends_it_again() -> None:
    door = Door(only(person_messages=1.0))
    door.buckets.down = True

    with pytest.raises(StoreUnavailable):
        await door.say(ADA)


async def test_what_became_of_each_message_is_counted() -> None:
    door = Door(only(person_messages=1.0))
    question = asked_by(ADA)
    for message in (question, question, asked_by(ADA), replace(asked_by(ADA), person=replace(ADA, is_bot=True))):
        await door.intake.receive(message)

    assert door.meter.receipts == [("wall", "accepted"), ("wall", "duplicate"), ("wall", "limited")]


# ── pacing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

EDITS = Bucket("edits", per_s=1.0, burst=2.0)


async def test_calls_get_their_turn_up_to_the_burst_and_then_only_within_the_time() -> None:
    pacer = Pacer(MemoryBuckets(lambda: 1000.0))

    assert [await pacer.turn(EDITS, 0.5) for _ in range(3)] == [True, True, False]


async def test_a_turn_that_comes_in_time_is_waited_for() -> None:
    fast = Bucket("fast", per_s=50.0, burst=1.0)
    pacer = Pacer(MemoryBuckets())

    assert [await pacer.turn(fast, 5.0) for _ in range(3)] == [True, True, True]


async def test_a_refusal_by_the_platform_holds_the_bucket_for_everybody_and_is_counted() -> None:
    buckets, meter = MemoryBuckets(lambda: 1000.0), CountingMeter()
    here, there = Pacer(buckets, meter), Pacer(buckets, meter)

    await here.limited(EDITS, 30.0, "wall", "edit")

    assert await there.turn(EDITS, 1.0) is False
    assert await there.turn(replace(EDITS, name="other"), 1.0) is True
    assert meter.limited == [("wall", "edit")]


async def test_buckets_that_cannot_be_reached_let_calls_through() -> None:
    buckets = MemoryBuckets(lambda: 1000.0)
    buckets.down = True
    pacer = Pacer(buckets)
    await pacer.limited(EDITS, 30.0, "wall", "edit")

    assert [await pacer.turn(EDITS, 0.0) for _ in range(5)] == [True] * 5
    assert await Pacer().turn(EDITS, 0.0) is True


@pytest.mark.parametrize(
    ("wait_s", "words"), [(0.2, "1 second"), (19.1, "20 seconds"), (90.0, "90 seconds"), (91.0, "2 minutes")]
)
def test_waiting_times_are_said_as_people_say_them(wait_s: float, words: str) -> None:
    assert lines.in_words(wait_s) == words
