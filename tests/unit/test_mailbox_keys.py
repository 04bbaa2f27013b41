from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat.errors import StoreUnavailable
from core.chat.message import Conversation
from storage.engine import open_engine
from storage.keys import Keys

KEYS = Keys("parley", 16)
text = st.text(st.characters(exclude_categories=["Cs"]))
conversations = st.builds(Conversation, text, text, text, text)


@given(conversations, conversations)
def test_two_conversations_share_no_key(one: Conversation, other: Conversation) -> None:
    same = KEYS.of(one, "inbox") == KEYS.of(other, "inbox")

    assert same is (one == other)


@given(conversations)
def test_first_braces_of_every_key_name_the_shard(conversation: Conversation) -> None:
    tag = f"{{s{KEYS.shard(conversation)}}}"

    named = [KEYS.of(conversation, "inbox"), KEYS.beside(conversation, "log"), KEYS.seen(conversation, "{x}:1")]
    named.append(KEYS.heard(KEYS.shard(conversation), conversation.platform))

    assert [key[key.index("{") : key.index("}") + 1] for key in named] == [tag] * 4


@given(text)
def test_all_buckets_lie_in_one_slot(name: str) -> None:
    key = KEYS.bucket(name)

    assert key[key.index("{") : key.index("}") + 1] == "{buckets}"


def test_shard_of_a_conversation_does_not_change_between_versions() -> None:
    # A change here would make every mailbox that exists unreadable.
    assert KEYS.shard(Conversation("slack", "T1", "C1", "1718.01")) == 11


@pytest.mark.parametrize("url", ["mysql://u:secret@h/x", "oracle://u:secret@h/x", "://", "postgresql://u:secret@h:x/y"])
def test_database_that_is_none_of_ours_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="DATABASE_URL") as raised:
        open_engine(url)

    assert "secret" not in str(raised.value)
