"""Answers that a dead worker left behind in the fake Slack, and what another one makes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.chat.errors import DeliveryFailed
from core.chat.message import Outcome
from tests.support.fake_slack import Post
from tests.support.fake_slack.workspace import BOT_USER
from tests.support.slack_scene import LONG, Scene, a_scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with a_scene() as made:
        yield made


@pytest.mark.parametrize("channel", ["C1", "DU1"])
async def test_a_resumed_draft_goes_on_in_the_earlier_posts(scene: Scene, channel: str) -> None:
    message = scene.ask(channel=channel)
    first = scene.courier.draft(message, resumed=False)
    await first.close(LONG, Outcome.ANSWERED)

    await scene.courier.draft(message, resumed=True).close("Short after all.", Outcome.ANSWERED)

    assert scene.texts == ["Short after all."]


async def test_a_resumed_draft_takes_over_a_stream_that_was_left_behind(scene: Scene) -> None:
    message = scene.ask()
    await scene.courier.draft(message, resumed=False).show("One two")

    draft = scene.courier.draft(message, resumed=True)
    await draft.show("Other words")
    await draft.close("Other words.", Outcome.ANSWERED)

    assert scene.texts == ["Other words."]
    assert not scene.posts[0].streaming


async def test_a_resumed_draft_leaves_other_answers_alone(scene: Scene) -> None:
    question = scene.ask()
    root = question.reply_to["ts"]
    await scene.courier.draft(question, resumed=False).close("First.", Outcome.ANSWERED)
    second, third = scene.ask(thread=root), scene.ask(thread=root)
    await scene.courier.notice(second, "Please wait.")
    await scene.courier.draft(third, resumed=False).close("Third.", Outcome.ANSWERED)

    await scene.courier.draft(second, resumed=True).close("Second.", Outcome.ANSWERED)

    assert sorted(scene.texts) == ["First.", "Please wait.", "Second.", "Third."]


async def test_a_resumed_draft_leaves_what_stood_before_the_question_alone(scene: Scene) -> None:
    root = Post(channel="C1", ts=scene.slack.workspace.new_ts(), user=BOT_USER, text="A greeting of ours.")
    scene.slack.workspace.add(root)

    await scene.courier.draft(scene.ask(thread=root.ts), resumed=True).close("Answer.", Outcome.ANSWERED)

    assert scene.texts == ["A greeting of ours.", "Answer."]


async def test_a_worker_whose_stream_another_one_ended_shows_nothing_in_the_same_step(scene: Scene) -> None:
    message = scene.ask()
    overtaken = scene.courier.draft(message, resumed=False)
    await overtaken.show("One")
    successor = scene.courier.draft(message, resumed=True)
    await successor.show("Other words")

    await overtaken.show("One two")  # was under way when the claim was lost
    left = await overtaken.leave()

    assert scene.texts == ["Other words"]
    assert left == (f"C1:{scene.posts[0].ts}",)


async def test_retracted_posts_are_gone_whatever_their_state(scene: Scene) -> None:
    message, other = scene.ask(), scene.ask()
    await scene.courier.draft(other, resumed=False).close("Stays.", Outcome.ANSWERED)
    streaming = scene.courier.draft(message, resumed=False)
    await streaming.show("Half an answ")
    posts = await streaming.leave()

    await scene.courier.retract(message, [*posts, "C1:1.000001"])
    await scene.courier.retract(message, posts)

    assert scene.texts == ["Stays."]


async def test_a_retraction_that_fails_says_so(scene: Scene) -> None:
    message = scene.ask()
    posts = await scene.courier.draft(message, resumed=False).close("Once.", Outcome.ANSWERED)
    scene.slack.refuse("chat.delete", status=200, error="restricted_action")

    with pytest.raises(DeliveryFailed, match="restricted_action"):
        await scene.courier.retract(message, posts)


async def test_a_draft_that_is_left_names_its_posts(scene: Scene) -> None:
    message = scene.ask()
    unseen, streaming = (scene.courier.draft(message, resumed=False) for _ in range(2))
    await streaming.show("One")

    assert await unseen.leave() == ()
    assert await streaming.leave() == (f"C1:{scene.posts[0].ts}",)
    assert scene.posts[0].streaming  # it stays open for whoever goes on


@pytest.mark.parametrize("channel", ["C1", "DU1"])
async def test_an_answer_of_which_nothing_was_posted_is_posted(scene: Scene, channel: str) -> None:
    message = scene.ask(channel=channel)

    await scene.courier.draft(message, resumed=True).close("Answer.", Outcome.ANSWERED)

    assert scene.texts == ["Answer."]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_stream_that_was_left_behind_is_finished_where_it_stands(scene: Scene, ended: bool) -> None:  # noqa: FBT001
    message = scene.ask()
    await scene.courier.draft(message, resumed=False).show("One tw")
    scene.clock.ahead_s = 301 if ended else 0

    ids = await scene.courier.draft(message, resumed=True).close("One two three.", Outcome.ANSWERED)

    assert scene.texts == ["One two three."]
    assert ids == (f"C1:{scene.posts[0].ts}",)
    assert not scene.posts[0].streaming
    assert scene.posts[0].metadata["event_payload"]["turn"] == message.id


async def test_a_stream_whose_reply_was_lost_with_its_worker_is_found(scene: Scene) -> None:
    message = scene.ask()
    scene.slack.refuse("chat.startStream", after=True)
    scene.slack.refuse("conversations.replies", times=100)
    with pytest.raises(DeliveryFailed):
        await scene.courier.draft(message, resumed=False).show("One")
    scene.slack.forgive()

    await scene.courier.draft(message, resumed=True).close("One two.", Outcome.ANSWERED)

    assert scene.texts == ["One two."]


@pytest.mark.parametrize("channel", ["C1", "DU1"])
@pytest.mark.parametrize("posted", [1, 2])
async def test_an_answer_of_several_posts_goes_on_after_those_that_stand(
    scene: Scene, channel: str, posted: int
) -> None:
    message = scene.ask(channel=channel)
    await scene.courier.draft(message, resumed=False).close(LONG[: posted * 11_000], Outcome.ANSWERED)
    assert len(scene.posts) == posted

    ids = await scene.courier.draft(message, resumed=True).close(LONG, Outcome.ANSWERED)

    assert len(ids) == 3
    assert ids == tuple(f"{channel}:{post.ts}" for post in scene.posts)
    assert " ".join(scene.texts).split() == LONG.split()


async def test_a_stream_that_went_on_in_posts_is_gone_on_with(scene: Scene) -> None:
    message = scene.ask()
    first = scene.courier.draft(message, resumed=False)
    await first.show(LONG[:11_000])
    await first.show(LONG[:15_000])
    assert len(scene.posts) == 2

    await scene.courier.draft(message, resumed=True).close(LONG, Outcome.ANSWERED)

    assert len(scene.posts) == 3
    assert " ".join(scene.texts).split() == LONG.split()


async def test_an_earlier_post_is_found_behind_much_that_was_said_since(scene: Scene) -> None:
    scene.slack.workspace.page_max = 2
    message = scene.ask()
    for number in range(4):
        scene.ask(thread=message.reply_to["ts"], text=f"another {number}")
    await scene.courier.draft(message, resumed=False).close("First try.", Outcome.ANSWERED)

    await scene.courier.draft(message, resumed=True).close("Second try.", Outcome.ANSWERED)

    assert scene.texts == ["Second try."]


async def test_an_answer_that_its_reader_stopped_is_not_taken_for_another_ones(scene: Scene) -> None:
    question = scene.ask()
    following = scene.ask(thread=question.reply_to["ts"])
    stopped = scene.courier.draft(question, resumed=False)
    await stopped.show("One")
    scene.slack.refuse("chat.appendStream", status=200, error="stopped_by_user")
    await stopped.show("One two")
    await stopped.close("One two", Outcome.STOPPED)

    await scene.courier.draft(following, resumed=True).close("Another answer.", Outcome.ANSWERED)

    assert scene.texts == ["One", "Another answer."]


async def test_the_answer_to_a_deleted_question_is_taken_back(scene: Scene) -> None:
    message = scene.ask()
    await scene.courier.draft(message, resumed=False).show("One")
    scene.slack.delete("C1", message.reply_to["ts"])

    await scene.courier.draft(message, resumed=True).close("", Outcome.WITHDRAWN)

    assert scene.texts == []
