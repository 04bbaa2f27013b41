"""One contract for all adapters: the real SDK or HTTP over real sockets, a real Valkey, core's own worker and log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.chat import lines
from core.chat.errors import HostUnavailable
from core.chat.message import Outcome
from tests.support.living import House, living, until

PLATFORMS = ("slack", "discord", "web")
ROOM_PLATFORMS = ("slack", "discord")


@pytest.fixture(params=PLATFORMS)
async def house(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[House]:
    async with living(request.param, redis_url) as living_house:
        yield living_house


@pytest.fixture(params=ROOM_PLATFORMS)
async def room_house(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[House]:
    async with living(request.param, redis_url) as living_house:
        yield living_house


# ── every platform ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_direct_question_is_answered_and_logged(house: House) -> None:
    await house.harness.say_direct("U1", "how are you")

    (row,) = await house.logged(1)
    assert house.harness.visible() == ["you said: how are you"]
    assert (row.outcome, row.question, row.conversation.platform) == (
        Outcome.ANSWERED,
        "how are you",
        house.harness.platform,
    )
    assert row.messages[-1].content == "how are you"


async def test_a_message_delivered_again_is_answered_once(house: House) -> None:
    native = await house.harness.say_direct("U1", "once")
    await house.logged(1)

    await house.harness.redeliver(native)
    await house.harness.say_direct("U1", "twice")

    assert [row.question for row in await house.logged(2)] == ["once", "twice"]
    assert house.harness.visible() == ["you said: once", "you said: twice"]


async def test_a_direct_conversation_remembers(house: House) -> None:
    await house.harness.say_direct("U1", "my name is Ada")
    await house.logged(1)

    await house.harness.say_direct("U1", "who am I")

    await house.logged(2)
    contents = [message.content for message in house.host.prompts[-1][1:]]
    assert contents == ["my name is Ada", "you said: my name is Ada", "who am I"]


async def test_two_peoples_direct_conversations_never_meet(house: House) -> None:
    await house.harness.say_direct("U1", "my secret")
    await house.logged(1)

    await house.harness.say_direct("U2", "tell me secrets")

    await house.logged(2)
    assert [message.content for message in house.host.prompts[-1][1:]] == ["tell me secrets"]


async def test_questions_asked_at_once_are_answered_in_order(house: House) -> None:
    house.host.gate = asyncio.Semaphore(0)
    for number in range(3):
        await house.harness.say_direct("U1", f"number {number}")
    await house.waiting(3)  # two sockets may bring them in another order, which the mailbox puts right
    for _ in range(100):
        house.host.gate.release()

    rows = await house.logged(3)

    assert [row.question for row in rows] == [f"number {number}" for number in range(3)]
    assert house.harness.visible() == [f"you said: number {number}" for number in range(3)]


async def test_an_answer_grows_before_it_is_finished(house: House) -> None:
    house.host.gate = asyncio.Semaphore(3)
    await house.harness.say_direct("U1", "a b c d e")

    await until(lambda: any("you said: a" in text for text in house.harness.visible()))
    assert house.rows() == []
    for _ in range(100):
        house.host.gate.release()
    await house.logged(1)

    assert house.harness.visible() == ["you said: a b c d e"]


async def test_stop_ends_the_answer_and_keeps_what_was_said(house: House) -> None:
    house.host.gate = asyncio.Semaphore(3)
    await house.harness.say_direct("U1", "a b c d e")
    await until(lambda: any("you said: a" in text for text in house.harness.visible()))

    await house.harness.say_direct("U1", "stop")

    (row,) = await house.logged(1)
    assert (row.outcome, row.answer) == (Outcome.STOPPED, "you said: a")
    await until(lambda: house.harness.visible() == [f"you said: a\n\n{lines.STOPPED}"])
    assert house.host.open_streams == 0


async def test_reset_forgets(house: House) -> None:
    await house.harness.say_direct("U1", "remember me")
    await house.logged(1)

    await house.harness.say_direct("U1", "reset")
    await until(lambda: any(lines.RESET in text for text in house.harness.visible()))
    await house.harness.say_direct("U1", "who am I")

    await house.logged(2)
    assert [message.content for message in house.host.prompts[-1][1:]] == ["who am I"]


async def test_a_failure_leaves_a_line_that_a_person_can_act_on(house: House) -> None:
    house.host.error = HostUnavailable("connection refused to 10.0.0.7")

    await house.harness.say_direct("U1", "hello")

    (row,) = await house.logged(1)
    assert row.outcome is Outcome.FAILED
    assert house.harness.visible() == [lines.HOST_AWAY]


async def test_a_long_answer_is_whole_and_within_the_limit(house: House) -> None:
    words = [f"word{number} " for number in range(2500)]
    house.host.reply = lambda _: ["".join(words[start : start + 250]) for start in range(0, 2500, 250)]

    await house.harness.say_direct("U1", "talk")

    await house.logged(1)
    shown = house.harness.visible()
    assert all(len(text) <= house.harness.max_chars for text in shown)
    assert " ".join(shown).split() == "".join(words).split()


async def test_a_flood_in_one_conversation_gets_a_polite_line(house: House) -> None:
    house.host.gate = asyncio.Semaphore(0)

    for number in range(5):
        await house.harness.say_direct("U1", f"number {number}")

    await until(lambda: any(lines.BUSY in text for text in house.harness.visible()))


# ── platforms with rooms ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_mention_in_a_room_is_answered_in_its_thread(room_house: House) -> None:
    root = await room_house.harness.say_in_room("U1", "what is up")

    (row,) = await room_house.logged(1)
    assert len(room_house.harness.visible_in(root)) == 1
    assert room_house.harness.visible_in(root)[0].endswith("what is up")
    assert row.question == "what is up"


async def test_what_is_said_to_others_is_not_answered(room_house: House) -> None:
    await room_house.harness.say_in_room("U1", "lunch, anyone?", mention=False)
    await room_house.harness.say_in_room("U1", "hello bot")

    rows = await room_house.logged(1)
    assert [row.question for row in rows] == ["hello bot"]


async def test_a_follow_up_in_the_thread_goes_on_with_the_conversation(room_house: House) -> None:
    root = await room_house.harness.say_in_room("U1", "my name is Ada")
    await room_house.logged(1)

    await room_house.harness.say_in_room("U1", "who am I", mention=False, thread=root)

    first, second = await room_house.logged(2)
    assert first.conversation == second.conversation
    assert len(second.messages) == 4
    assert len(room_house.harness.visible_in(root)) == 2


async def test_several_people_in_one_thread_are_told_apart(room_house: House) -> None:
    root = await room_house.harness.say_in_room("U1", "hello")
    await room_house.logged(1)

    await room_house.harness.say_in_room("U2", "me too", thread=root)

    _, second = await room_house.logged(2)
    asked = [message for message in second.messages if message.role == "user"]
    assert len({message.person_id for message in asked}) == 2
    assert len({message.content.partition(":")[0] for message in asked}) == 2


async def test_two_threads_of_one_room_never_meet(room_house: House) -> None:
    await room_house.harness.say_in_room("U1", "a secret")
    await room_house.logged(1)

    await room_house.harness.say_in_room("U1", "another topic")

    first, second = await room_house.logged(2)
    assert first.conversation != second.conversation
    assert len(second.messages) == 2


async def test_other_bots_are_never_answered(room_house: House) -> None:
    await room_house.harness.say_as_bot("hello fellow bot")
    await room_house.harness.say_in_room("U1", "hello")

    rows = await room_house.logged(1)
    assert [row.question for row in rows] == ["hello"]


async def test_posts_that_the_platform_refuses_for_a_moment_are_made_again(room_house: House) -> None:
    await room_house.harness.refuse_posts(2)

    root = await room_house.harness.say_in_room("U1", "hello")

    (row,) = await room_house.logged(1)
    assert row.outcome is Outcome.ANSWERED
    assert len(room_house.harness.visible_in(root)) == 1


async def test_nobody_is_pinged_by_the_model(room_house: House) -> None:
    pings = {"slack": ["<!channel>", "<!here>", "<!everyone>"], "discord": ["@everyone", "@here"]}
    words = pings[room_house.harness.platform]
    room_house.host.reply = lambda _: [f"Hello {' '.join(words)}"]

    await room_house.harness.say_direct("U1", "ping them")

    await room_house.logged(1)
    (shown,) = room_house.harness.visible()
    assert shown.startswith("Hello")
    assert not any(word in shown for word in words)
