"""The courier against the fake Slack: streams, posts in their place, and what is found again after a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bots.slack.connection import open_web
from bots.slack.courier import SlackCourier, open_courier
from core.chat.errors import DeliveryFailed
from core.chat.message import Outcome
from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.server import BOT_TOKEN
from tests.support.slack_harness import until
from tests.support.slack_scene import LONG, WORDS, Clock, Scene, a_scene


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with a_scene() as made:
        yield made


async def test_an_answer_in_a_thread_is_streamed_piece_by_piece(scene: Scene) -> None:
    message = scene.ask()
    draft = scene.courier.draft(message, resumed=False)

    await draft.begin()
    await until(lambda: bool(scene.slack.called("assistant.threads.setStatus")))
    for text in WORDS:
        await draft.show(text)
    ids = await draft.close("One two three.", Outcome.ANSWERED)

    assert scene.texts == ["One two three."]
    assert ids == (f"C1:{scene.posts[0].ts}",)
    assert scene.posts[0].thread_ts == message.reply_to["ts"]
    assert not scene.posts[0].streaming
    assert [args["markdown_text"] for args in scene.slack.called("chat.appendStream")] == [" two", " three"]
    assert scene.slack.called("chat.update") == []
    assert scene.slack.called("assistant.threads.setStatus")[0]["status"]
    assert scene.posts[0].metadata["event_payload"]["turn"] == message.id


async def test_an_answer_that_was_never_shown_is_one_post(scene: Scene) -> None:
    message = scene.ask()

    ids = await scene.courier.draft(message, resumed=False).close("Short.", Outcome.ANSWERED)

    assert scene.texts == ["Short."]
    assert len(ids) == 1
    assert scene.slack.called("chat.startStream") == []
    sent = scene.slack.called("chat.postMessage")[0]
    assert (sent["unfurl_links"], sent["unfurl_media"]) == (False, False)


async def test_a_direct_message_without_thread_is_posted_and_updated(scene: Scene) -> None:
    message = scene.ask(channel="DU1")
    draft = scene.courier.draft(message, resumed=False)

    await draft.begin()
    await until(lambda: bool(scene.slack.called("agents.sessions.setStatus")))
    for text in WORDS:
        await draft.show(text)
    await draft.close("One two three.", Outcome.ANSWERED)

    assert scene.texts == ["One two three."]
    assert scene.posts[0].thread_ts == ""
    assert scene.slack.called("chat.startStream") == []
    assert [args["status"] for args in scene.slack.called("agents.sessions.setStatus")] == ["processing", "active"]


async def test_a_direct_message_in_a_thread_is_streamed_there(scene: Scene) -> None:
    root = scene.ask(channel="DU1").reply_to["ts"]
    draft = scene.courier.draft(scene.ask(channel="DU1", thread=root), resumed=False)

    await draft.show("One")
    await draft.close("One two", Outcome.ANSWERED)

    assert scene.texts == ["One two"]
    assert scene.posts[0].thread_ts == root
    assert len(scene.slack.called("chat.startStream")) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(429, "ratelimited"), (200, "channel_type_not_supported"), (200, "team_not_allowed")]
)
async def test_a_refused_stream_becomes_a_post_that_is_updated(scene: Scene, status: int, error: str) -> None:
    scene.slack.refuse("chat.startStream", status=status, error=error)
    draft = scene.courier.draft(scene.ask(), resumed=False)

    for text in WORDS:
        await draft.show(text)
    await draft.close("One two three.", Outcome.ANSWERED)

    assert scene.texts == ["One two three."]
    assert len(scene.slack.called("chat.postMessage")) == 1
    assert scene.posts[0].edits == 3


async def test_a_slack_without_streams_is_asked_once(scene: Scene) -> None:
    scene.slack.unknown.add("chat.startStream")
    scene.slack.limits["chat.startStream"] = 1  # a second try would be counted, and refused as one too many

    for text in ("First", "Second"):
        draft = scene.courier.draft(scene.ask(), resumed=False)
        await draft.show(text)
        await draft.close(text, Outcome.ANSWERED)

    assert scene.texts == ["First", "Second"]
    assert scene.slack.asked["chat.startStream"] == 1


async def test_a_stream_whose_reply_was_lost_is_gone_on_with(scene: Scene) -> None:
    scene.slack.refuse("chat.startStream", after=True)
    draft = scene.courier.draft(scene.ask(), resumed=False)

    await draft.show("One")
    await draft.close("One two", Outcome.ANSWERED)

    assert scene.texts == ["One two"]


async def test_a_stream_that_slack_ended_goes_on_by_updates_of_the_same_post(scene: Scene) -> None:
    draft = scene.courier.draft(scene.ask(), resumed=False)

    await draft.show("One")
    scene.clock.ahead_s = 301
    await draft.show("One two")
    await draft.show("One two three")
    ids = await draft.close("One two three.", Outcome.ANSWERED)

    assert scene.texts == ["One two three."]
    assert ids == (f"C1:{scene.posts[0].ts}",)
    assert len(scene.slack.called("chat.startStream")) == 1
    assert scene.slack.called("chat.postMessage") == []
    assert scene.slack.called("conversations.replies") == []  # the post is known, nothing to look for


async def test_a_stream_that_ended_before_the_last_words_is_closed_by_an_update(scene: Scene) -> None:
    draft = scene.courier.draft(scene.ask(), resumed=False)

    await draft.show("One")
    scene.clock.ahead_s = 301
    with pytest.raises(DeliveryFailed) as failed:
        await draft.close("One two", Outcome.ANSWERED)  # core looks at its claim before it tries again
    ended_with = scene.texts
    await draft.close("One two", Outcome.ANSWERED)

    assert failed.value.retryable
    assert ended_with == ["One"]
    assert scene.texts == ["One two"]
    assert scene.posts[0].metadata


@pytest.mark.parametrize("channel", ["C1", "DU1"])
async def test_an_empty_final_text_takes_back_what_was_shown(scene: Scene, channel: str) -> None:
    draft = scene.courier.draft(scene.ask(channel=channel), resumed=False)

    await draft.show("One")
    ids = await draft.close("", Outcome.WITHDRAWN)

    assert ids == ()
    assert scene.texts == []


async def test_what_the_reader_stopped_is_taken_back_all_the_same(scene: Scene) -> None:
    draft = scene.courier.draft(scene.ask(), resumed=False)

    await draft.show("One")
    scene.slack.refuse("chat.appendStream", status=200, error="stopped_by_user")
    await draft.show("One two")
    await draft.close("", Outcome.WITHDRAWN)

    assert scene.texts == []


async def test_a_final_text_that_is_no_extension_replaces_the_streamed_one(scene: Scene) -> None:
    draft = scene.courier.draft(scene.ask(), resumed=False)

    await draft.show("One two thr")
    await draft.close("One two\n\n(stopped)", Outcome.STOPPED)

    assert scene.texts == ["One two\n\n(stopped)"]
    assert not scene.posts[0].streaming


async def test_a_growing_text_that_was_rewritten_is_replaced(scene: Scene) -> None:
    draft = scene.courier.draft(scene.ask(), resumed=False)

    await draft.show("One")
    await draft.show("Two")
    await draft.close("Two three", Outcome.ANSWERED)

    assert scene.texts == ["Two three"]


async def test_appends_over_the_limit_wait_without_holding_up(scene: Scene) -> None:
    scene.slack.limits["chat.appendStream"] = 1
    draft = scene.courier.draft(scene.ask(), resumed=False)

    for text in ("One", "One two", "One two three", "One two three four"):
        await draft.show(text)
    await draft.close("One two three four five", Outcome.ANSWERED)

    assert scene.texts == ["One two three four five"]
    assert scene.slack.asked["chat.appendStream"] == 2  # then quiet for as long as Slack asked
    assert scene.posts[0].edits == 0


async def test_a_stream_that_the_reader_stopped_stays_as_it_is(scene: Scene) -> None:
    draft = scene.courier.draft(scene.ask(), resumed=False)

    await draft.show("One")
    scene.slack.refuse("chat.appendStream", status=200, error="stopped_by_user")
    await draft.show("One two")
    await draft.show("One two three")
    ids = await draft.close("One two three", Outcome.ANSWERED)

    assert scene.texts == ["One"]
    assert ids == (f"C1:{scene.posts[0].ts}",)


async def test_a_stream_that_grows_over_the_limit_goes_on_in_further_posts(scene: Scene) -> None:
    message = scene.ask()
    draft = scene.courier.draft(message, resumed=False)

    await draft.show(LONG[:11_000])
    await draft.show(LONG[:15_000])
    ids = await draft.close(LONG, Outcome.ANSWERED)

    assert len(ids) == 3
    assert all(len(text) <= 12_000 for text in scene.texts)
    assert " ".join(scene.texts).split() == LONG.split()
    assert {post.thread_ts for post in scene.posts} == {message.reply_to["ts"]}
    assert scene.slack.asked["chat.appendStream"] == 0


async def test_an_over_long_answer_that_was_not_shown_is_split(scene: Scene) -> None:
    ids = await scene.courier.draft(scene.ask(channel="DU1"), resumed=False).close(LONG, Outcome.ANSWERED)

    assert len(ids) == 3
    assert " ".join(scene.texts).split() == LONG.split()


async def test_a_post_whose_reply_was_lost_is_not_posted_twice(scene: Scene) -> None:
    scene.slack.refuse("chat.postMessage", after=True)
    draft = scene.courier.draft(scene.ask(), resumed=False)

    with pytest.raises(DeliveryFailed):
        await draft.close("Once.", Outcome.ANSWERED)
    await draft.close("Once.", Outcome.ANSWERED)

    assert scene.texts == ["Once."]


async def test_nobody_is_called_by_what_the_model_says(scene: Scene) -> None:
    draft = scene.courier.draft(scene.ask(), resumed=False)
    text = "Wake <!channel>, <!here|here>, @everyone, <@U1>, me@here.example"

    for length in range(1, len(text) + 1):
        await draft.show(text[:length])
    await draft.close(text, Outcome.ANSWERED)
    await scene.courier.draft(scene.ask(), resumed=False).close(text, Outcome.ANSWERED)

    for shown in scene.texts:
        assert not any(call in shown for call in ("<!", "<@", " @"))
        assert "me@here.example" in shown
        assert len(shown) == len(text)
    assert scene.posts[0].edits == 0  # held back, never rewritten


async def test_a_notice_is_plain_text_in_the_thread(scene: Scene) -> None:
    message = scene.ask()

    await scene.courier.notice(message, "a < b & <!channel>")

    assert scene.texts == ["a &lt; b &amp; &lt;!channel&gt;"]
    assert scene.posts[0].thread_ts == message.reply_to["ts"]
    assert scene.posts[0].sent["unfurl_links"] is False


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        ("channel_not_found", False),
        ("not_in_channel", False),
        ("is_archived", False),
        ("account_inactive", False),
        ("invalid_auth", False),
        ("internal_error", True),
    ],
)
async def test_a_failure_says_whether_another_try_makes_sense(scene: Scene, error: str, retryable: bool) -> None:  # noqa: FBT001
    scene.slack.refuse("chat.postMessage", status=200, error=error, times=2)

    with pytest.raises(DeliveryFailed, match=error) as failed:
        await scene.courier.draft(scene.ask(), resumed=False).close("One", Outcome.ANSWERED)

    assert failed.value.retryable is retryable


async def test_a_slack_that_is_gone_is_a_delivery_that_may_be_tried_again() -> None:
    async with FakeSlack() as slack:
        url = slack.url
    async with a_scene() as scene, open_courier(BOT_TOKEN, url) as courier:
        with pytest.raises(DeliveryFailed) as failed:
            await courier.notice(scene.ask(), "Hello")

    assert failed.value.retryable


async def test_a_rate_limit_on_the_last_words_is_waited_out(scene: Scene) -> None:
    scene.slack.retry_after_s = 0
    draft = scene.courier.draft(scene.ask(), resumed=False)

    await draft.show("One")
    scene.slack.refuse("chat.stopStream", status=429, error="ratelimited")
    await draft.close("One two", Outcome.ANSWERED)

    assert scene.texts == ["One two"]
    assert scene.posts[0].edits == 0


async def test_an_answer_is_shown_where_no_status_can_be(scene: Scene) -> None:
    scene.slack.unknown |= {"assistant.threads.setStatus", "agents.sessions.setStatus"}

    for channel in ("C1", "DU1"):
        draft = scene.courier.draft(scene.ask(channel=channel), resumed=False)
        await draft.begin()
        await draft.close("One", Outcome.ANSWERED)

    assert scene.texts == ["One", "One"]


async def test_a_page_that_is_no_slack_is_a_delivery_that_failed() -> None:
    async with FakeSlack() as slack, open_web(BOT_TOKEN, slack.url.replace("/api/", "/elsewhere/")) as web:
        message = Scene(slack, SlackCourier(web), Clock()).ask()

        with pytest.raises(DeliveryFailed, match="http_404"):
            await SlackCourier(web).notice(message, "Hello")
