"""Edits and deletions on their way through the gateway, against the fake Slack."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.chat.errors import StoreUnavailable
from core.chat.message import Address
from tests.support.fake_slack import FakeSlack, Post
from tests.support.fake_slack.workspace import BOT_ID, BOT_USER
from tests.support.kept_intake import KeptIntake
from tests.support.slack_harness import running_gateway, until


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack(ack_s=0.3) as fake:
        fake.workspace.people |= {"U1": "Ada", "U2": "Bo"}
        yield fake


async def test_an_edit_revises_the_message_under_its_id(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept):
        ts = slack.say("U1", "<@UBOT> how is the wether", channel="C1")
        slack.edit("C1", ts, "<@UBOT> how is the weather, <@U2>?")
        await until(lambda: slack.unacked() == 0)

    (revised,) = kept.revised
    assert revised.text == "how is the weather, @Bo?"
    assert (revised.id, revised.conversation) == (kept.messages[0].id, kept.messages[0].conversation)
    assert revised.reply_to == kept.messages[0].reply_to
    assert kept.said() == ["how is the wether"]  # the mention that an edit sends again is no new message


async def test_an_edit_of_an_answered_message_is_only_ever_a_duplicate(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept):
        ts = slack.say("U1", "<@UBOT> hello", channel="C1")
        await until(lambda: slack.unacked() == 0)
        kept.answered.add(kept.messages[0].id)
        slack.edit("C1", ts, "<@UBOT> hello!")
        await until(lambda: slack.unacked() == 0)

    assert {message.id for message in kept.messages} == {f"slack:T1:C1:{ts}"}


async def test_an_edit_that_adds_a_mention_is_a_question(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept):
        ts = slack.say("U1", "what is up?", channel="C1")
        await until(lambda: slack.unacked() == 0)
        slack.edit("C1", ts, "<@UBOT> what is up?")
        await until(lambda: slack.unacked() == 0)

    (message,) = kept.messages
    assert (message.id, message.text, message.address) == (f"slack:T1:C1:{ts}", "what is up?", Address.MENTION)
    assert message.conversation.thread == ts


async def test_a_typo_in_what_was_said_to_others_is_no_question(slack: FakeSlack) -> None:
    kept = KeptIntake()
    root = slack.workspace.add(Post("C1", slack.workspace.new_ts(), "U1", "lunch?"))
    reply = slack.workspace.add(Post("C1", slack.workspace.new_ts(), "U2", "wher", thread_ts=root.ts))

    async with running_gateway(slack, kept):
        slack.edit("C1", reply.ts, "where?")
        await until(lambda: len(kept.revised) == 1)
        await until(lambda: slack.unacked() == 0)

    assert kept.messages == []


async def test_an_edit_of_what_is_older_than_duplicates_are_known_is_no_question(slack: FakeSlack) -> None:
    kept = KeptIntake()
    channel = slack.workspace.direct_channel("U1")
    old = Post(channel, f"{slack.workspace.clock() - 86_400:.6f}", "U1", "hello")
    slack.workspace.add(old)

    async with running_gateway(slack, kept):
        slack.edit(channel, old.ts, "hello!")
        await until(lambda: len(kept.revised) == 1)
        await until(lambda: slack.unacked() == 0)

    assert kept.messages == []


async def test_changes_that_leave_the_text_as_it_is_are_none(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept):
        ts = slack.say("U1", "<@UBOT> see https://example.com", channel="C1")
        slack.unfurl("C1", ts)
        await until(lambda: slack.unacked() == 0)

    assert kept.revised == []


async def test_changes_of_what_bots_said_are_nothing_to_us(slack: FakeSlack) -> None:
    kept = KeptIntake()
    ours = slack.workspace.add(Post("C1", slack.workspace.new_ts(), BOT_USER, "Hel", bot_id=BOT_ID))
    theirs = slack.workspace.add(Post("C1", slack.workspace.new_ts(), "UBOT2", "<@UBOT> hi", bot_id="B2"))

    async with running_gateway(slack, kept):
        for post in (ours, theirs):
            slack.workspace.change(post, f"{post.text}lo")
            slack.workspace.remove(post)
        await until(lambda: len(slack.sockets.envelopes) == 4)
        await until(lambda: slack.unacked() == 0)

    assert kept.steps == []


@pytest.mark.parametrize("where", ["channel", "thread", "direct"])
async def test_a_deletion_withdraws_the_message(slack: FakeSlack, where: str) -> None:
    kept = KeptIntake()
    channel = slack.workspace.direct_channel("U1") if where == "direct" else "C1"
    root = slack.say("U2", "root", channel=channel) if where == "thread" else ""

    async with running_gateway(slack, kept):
        ts = slack.say("U1", "<@UBOT> hello", channel=channel, thread_ts=root)
        await until(lambda: slack.unacked() == 0)
        slack.delete(channel, ts)
        await until(lambda: slack.unacked() == 0)

    ours = next(message for message in kept.messages if message.person.id == "U1")
    assert kept.withdrawn == [(ours.conversation, ours.id)]


async def test_a_question_that_was_deleted_beside_its_growing_answer_is_withdrawn(slack: FakeSlack) -> None:
    kept = KeptIntake()

    async with running_gateway(slack, kept):
        ts = slack.say("U1", "<@UBOT> hello", channel="C1")
        answer = slack.workspace.add(Post("C1", slack.workspace.new_ts(), BOT_USER, "He", thread_ts=ts, bot_id=BOT_ID))
        slack.delete("C1", ts)  # it has a reply: Slack leaves a tombstone
        slack.workspace.remove(answer)
        slack.delete("C1", ts)  # and now the tombstone goes
        await until(lambda: slack.unacked() == 0)

    assert kept.withdrawn == [(kept.messages[0].conversation, kept.messages[0].id)]
    assert kept.revised == []


async def test_changes_come_in_the_order_in_which_they_were_made(slack: FakeSlack) -> None:
    slack.sockets.ack_s = 30
    kept = KeptIntake()
    kept.gate.clear()
    channel = slack.workspace.direct_channel("U1")

    async with running_gateway(slack, kept, sockets=1):
        first = slack.say("U1", "first", channel=channel)
        second = slack.say("U1", "second", channel=channel)
        slack.edit(channel, first, "first!")
        slack.delete(channel, second)
        kept.gate.set()
        await until(lambda: slack.unacked() == 0)

    assert kept.steps == [("receive", first), ("receive", second), ("revise", first), ("withdraw", second)]


async def test_changes_that_could_not_be_kept_come_again(slack: FakeSlack) -> None:
    kept = KeptIntake()
    channel = slack.workspace.direct_channel("U1")

    async with running_gateway(slack, kept):
        ts = slack.say("U1", "hello", channel=channel)
        await until(lambda: slack.unacked() == 0)
        kept.failures.append(StoreUnavailable("no Redis"))
        slack.edit(channel, ts, "hello!")
        await until(lambda: slack.unacked() == 0)
        kept.failures.append(StoreUnavailable("no Redis"))
        slack.delete(channel, ts)
        await until(lambda: slack.unacked() == 0)

    assert [step for step, _ in kept.steps] == ["receive", "revise", "withdraw"]
    assert [envelope.attempts for envelope in slack.sockets.envelopes] == [1, 2, 2]


async def test_what_opens_a_thread_in_a_direct_message_stays_in_its_conversation(slack: FakeSlack) -> None:
    kept = KeptIntake()
    channel = slack.workspace.direct_channel("U1")

    async with running_gateway(slack, kept):
        ts = slack.say("U1", "hello", channel=channel)
        slack.say("U1", "and", channel=channel, thread_ts=ts)
        slack.edit(channel, ts, "hello!")  # Slack now gives it its own stamp as that of a thread
        await until(lambda: slack.unacked() == 0)

    assert kept.revised[0].conversation.thread == ""
