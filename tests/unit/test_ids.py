"""Ids and stored entries: readable, unambiguous, read back as they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import codec
from core.chat.errors import BadConversationId, BadEntry
from core.chat.message import Address, Conversation, Message, Person, Turn

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
CONVERSATIONS = st.builds(Conversation, TEXT, TEXT, TEXT, TEXT)


@given(CONVERSATIONS)
def test_a_conversation_reads_back_from_its_id(conversation: Conversation) -> None:
    assert Conversation.parse(str(conversation)) == conversation


@given(CONVERSATIONS, CONVERSATIONS, TEXT)
def test_two_conversations_never_share_an_id(one: Conversation, other: Conversation, native: str) -> None:
    place, elsewhere = (one.platform, one.workspace, one.channel), (other.platform, other.workspace, other.channel)

    assert (str(one) == str(other)) == (one == other)
    assert (one.message_id(native) == other.message_id(native)) == (place == elsewhere)


def test_ids_are_readable() -> None:
    conversation = Conversation("slack", "T1", "C1", "1718.01")

    assert str(conversation) == "slack:T1:C1:1718.01"
    assert conversation.message_id("1719.02") == "slack:T1:C1:1719.02"


@pytest.mark.parametrize("text", ["", "slack", "slack:T1:C1", "a:b:c:d:e"])
def test_what_is_no_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadConversationId, match="platform:workspace:channel:thread"):
        Conversation.parse(text)


@given(CONVERSATIONS, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=3), st.sampled_from(Address))
def test_a_message_reads_back_as_it_was(
    conversation: Conversation, text: str, name: str, reply_to: dict[str, str], address: Address
) -> None:
    message = Message("m", conversation, Person("p", name), text, address, 1.5, shared=True, reply_to=reply_to)

    assert codec.load_message(codec.dump(message)) == message


@given(TEXT, st.integers(0, 10_000))
def test_a_turn_reads_back_as_it_was(text: str, tokens: int) -> None:
    turn = Turn("assistant", text, tokens, "t", 2.5)

    assert codec.load_turn(codec.dump(turn)) == turn


def test_fields_of_a_newer_version_are_left_alone() -> None:
    raw = json.loads(codec.dump(Turn("user", "hi", 1, "t", 2.5)))
    raw["mood"] = "good"

    assert codec.load_turn(json.dumps(raw)) == Turn("user", "hi", 1, "t", 2.5)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "null", '{"conversation": 3}'])
def test_an_entry_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(BadEntry, match="cannot be read"):
        codec.load_message(text)
