"""What people say and what is kept of it: conversations, people, messages, turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Literal, Self
from urllib.parse import quote, unquote

from core.chat.errors import BadConversationId

# Kept readable: only the separator, the escape sign itself and what is not printable ASCII is escaped.
_SAFE = "!$&'()*+,;=@/?<>^`{|}~ -._"


@lru_cache(maxsize=4096)  # one message names its conversation a dozen times
def _joined(*parts: str) -> str:
    return ":".join(quote(part, safe=_SAFE) for part in parts)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Where something is said. Nothing crosses from one conversation into another.

    `thread` is empty where the whole channel is one conversation, as in a direct message.
    """

    platform: str
    workspace: str
    channel: str
    thread: str = ""

    def __str__(self) -> str:
        return _joined(self.platform, self.workspace, self.channel, self.thread)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str()`.

        Raises:
            BadConversationId: `text` does not have four parts.
        """
        parts = [unquote(part) for part in text.split(":")]
        if len(parts) != 4:
            raise BadConversationId(text)
        return cls(*parts)

    def message_id(self, native: str) -> str:
        """The id of a message here, by the platform's `native` id: the same for each delivery of it."""
        return _joined(self.platform, self.workspace, self.channel, native)


@dataclass(frozen=True, slots=True)
class Person:
    """Who speaks, by the platform's id; `name` is what others see."""

    id: str
    name: str
    is_bot: bool = False


class Address(StrEnum):
    """How a message reaches the bot, as the adapter reads it."""

    MENTION = "mention"
    DIRECT = "direct"  # a direct message, the web page, the terminal
    REPLY = "reply"  # a reply to one of the bot's own messages
    OVERHEARD = "overheard"  # said in a channel or thread, to nobody in particular


@dataclass(frozen=True, slots=True)
class Message:
    """One thing a person said, in core's words.

    `id` is made with `Conversation.message_id`; it is the key for dedupe and the id of the turn that answers it.
    `text` is plain Markdown: the platform's markup and the mention of the bot are already gone. `sent_at` is Unix
    seconds by the platform's clock. `shared` says whether several people may speak in the conversation. `reply_to`
    holds what the platform's courier needs in order to answer; core carries it and does not look inside. `trace` is the
    W3C `traceparent` under which the message is followed, or "".

    One of the kind `again` asks for another answer to an earlier question: `replaces` is the turn id of the answer that
    is there now, `over` are the posts that show it. It has no text of its own.
    """

    id: str
    conversation: Conversation
    person: Person
    text: str
    address: Address
    sent_at: float
    shared: bool = False
    reply_to: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["say", "reset", "again"] = "say"
    accepted_at: float = 0.0
    trace: str = ""
    replaces: str = ""
    over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One entry of a conversation's history.

    `tokens` counts the text alone (with the speaker's label), by the model's tokenizer or a stated upper bound.
    Question and answer carry the turn id of the question; where another answer took the place of the first, `answer_id`
    is the turn id of that.
    """

    role: Literal["user", "assistant"]
    text: str
    tokens: int
    turn_id: str
    at: float
    speaker: str = ""
    person_id: str = ""
    answer_id: str = ""

    @property
    def made_by(self) -> str:
        """The turn id under which the log knows this text."""
        return self.answer_id or self.turn_id


class Outcome(StrEnum):
    """How an interaction ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    STOPPED = "stopped"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"  # its person deleted the question


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer that a post of ours shows: whose question it answers, and how to answer that once more.

    `posts` are all of its posts, oldest first; `sent_at`, `shared` and `reply_to` are those of the question.
    """

    turn_id: str
    conversation: Conversation
    person_id: str
    person_name: str
    sent_at: float
    posts: tuple[str, ...]
    shared: bool = False
    reply_to: Mapping[str, str] = field(default_factory=dict)
