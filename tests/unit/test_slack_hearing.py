"""Which events are worth hearing, and what message they make."""

from __future__ import annotations

from typing import Any

import pytest

from bots.slack.connection import Identity
from bots.slack.hearing import deleted, edited, message_from, worth_hearing
from core.chat.message import Address, Conversation

ME = Identity("T1", "Acme", "UBOT", "B1")


def event(**more: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "channel": "C1",
        "channel_type": "channel",
        "user": "U1",
        "team": "T1",
        "ts": "1718.000100",
        "text": "<@UBOT> hello",
        **more,
    }


def test_a_mention_opens_a_conversation_of_its_own_thread() -> None:
    message = message_from(event(), ME, {"U1": "Ada"})

    assert message.conversation == Conversation("slack", "T1", "C1", "1718.000100")
    assert message.id == "slack:T1:C1:1718.000100"
    assert (message.person.id, message.person.name) == ("U1", "Ada")
    assert (message.text, message.address, message.shared) == ("hello", Address.MENTION, True)
    assert message.sent_at == 1718.0001
    assert message.reply_to["thread_ts"] == "1718.000100"


def test_both_deliveries_of_a_mention_make_the_same_message() -> None:
    as_mention = event(type="app_mention")
    del as_mention["channel_type"]

    assert message_from(as_mention, ME, {}) == message_from(event(), ME, {})


def test_a_follow_up_in_a_thread_is_overheard_in_the_conversation_of_that_thread() -> None:
    message = message_from(event(text="and then?", thread_ts="1700.0", ts="1718.0"), ME, {})

    assert message.address is Address.OVERHEARD
    assert message.conversation.thread == "1700.0"


def test_direct_messages_are_one_conversation_and_their_threads_others() -> None:
    direct = event(channel="D1", channel_type="im", text="hello")

    assert message_from(direct, ME, {}).conversation.thread == ""
    assert message_from(direct, ME, {}).address is Address.DIRECT
    assert not message_from(direct, ME, {}).shared
    assert message_from({**direct, "thread_ts": "1.0"}, ME, {}).conversation.thread == "1.0"
    assert message_from({**direct, "thread_ts": direct["ts"]}, ME, {}).conversation.thread == ""


def test_the_workspace_is_ours_when_the_person_is_at_home_elsewhere() -> None:
    message = message_from(event(team="T2", user_team="T2", source_team="T2"), ME, {})

    assert message.conversation.workspace == "T1"
    assert message.reply_to["team"] == "T2"


@pytest.mark.parametrize(
    "unwanted",
    [
        {"bot_id": "B9"},
        {"subtype": "bot_message"},
        {"user": "UBOT"},
        {"user": None},
        {"user": "USLACKBOT"},
        {"subtype": "message_changed"},
        {"subtype": "message_deleted"},
        {"subtype": "channel_join"},
        {"edited": {"user": "U1", "ts": "1719.0"}},
        {"type": "reaction_added"},
        {"text": "said to nobody"},
        {"text": "said to nobody", "thread_ts": "1718.000100"},  # as it is read once it has replies
    ],
)
def test_what_no_person_says_to_us_is_not_heard(unwanted: dict[str, Any]) -> None:
    assert not worth_hearing(event(**unwanted), ME)


@pytest.mark.parametrize("subtype", [None, "file_share", "thread_broadcast", "me_message"])
def test_what_people_say_is_heard(subtype: str | None) -> None:
    assert worth_hearing(event(subtype=subtype), ME)


def test_an_edit_is_read_as_if_it_had_just_been_said() -> None:
    inner = {name: value for name, value in event(text="<@UBOT> hello!").items() if not name.startswith("channel")}
    change = changed(
        message={**inner, "edited": {"user": "U1", "ts": "1719.0"}}, previous_message=inner | {"text": "h"}
    )

    assert edited(change, ME) == event(text="<@UBOT> hello!")
    assert deleted(change, ME) is None


def test_a_deletion_gives_the_message_that_is_gone() -> None:
    gone = event(subtype="message_deleted", ts="1719.0", previous_message=event(thread_ts="1700.0"))
    tombstone = event(subtype="tombstone", user="USLACKBOT", text="This message was deleted.")

    assert deleted(gone, ME) == event(thread_ts="1700.0")
    assert deleted(changed(message=tombstone, previous_message=event()), ME) == event()
    assert edited(changed(message=tombstone, previous_message=event()), ME) is None


@pytest.mark.parametrize(
    "others",
    [{"bot_id": "B9"}, {"user": "UBOT"}, {"user": "USLACKBOT"}, {"subtype": "bot_message"}, {"user": None}],
)
def test_what_no_person_said_is_neither_edited_nor_deleted(others: dict[str, Any]) -> None:
    change = changed(message=event(text="new", **others), previous_message=event(**others))
    gone = event(subtype="message_deleted", previous_message=event(**others))

    assert edited(change, ME) is None
    assert deleted(gone, ME) is None


def test_a_change_without_another_text_is_no_edit() -> None:
    assert edited(changed(message=event(attachments=[{}]), previous_message=event()), ME) is None


def changed(**states: Any) -> dict[str, Any]:
    shared = {name: event()[name] for name in ("type", "channel", "channel_type")}
    return {**shared, "subtype": "message_changed", "ts": "1719.0", **states}
