"""Messages, turns and interactions as JSON, for the mailbox: one version number a kind, unknown fields ignored.

A newer Parley may write fields that an older one does not know (both run side by side during an upgrade), so reading
takes what it knows and leaves the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from core.chat.errors import BadEntry
from core.chat.interaction import Interaction, PromptMessage, Sampling
from core.chat.message import Address, Answered, Conversation, Message, Outcome, Person, Turn
from core.loop.feedback import Feedback, Reason, Source, Verdict

T = TypeVar("T")

_KINDS: tuple[Any, ...] = (
    Answered,
    Conversation,
    Feedback,
    Interaction,
    Message,
    Person,
    PromptMessage,
    Sampling,
    Turn,
)
_NAMES: dict[type, tuple[str, ...]] = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS}


def dump(item: Message | Turn | Interaction | Feedback | Answered) -> str:
    """`item` as one line of JSON."""
    return _encode(item)


def load_message(text: str) -> Message:
    """The message that `dump` wrote. Raises BadEntry."""
    return _read("message", text, _message)


def load_turn(text: str) -> Turn:
    """The turn that `dump` wrote. Raises BadEntry."""
    return _read("turn", text, lambda raw: _known(Turn, raw))


def load_interaction(text: str) -> Interaction:
    """The interaction that `dump` wrote. Raises BadEntry."""
    return _read("interaction", text, _interaction)


def load_feedback(text: str) -> Feedback:
    """The feedback that `dump` wrote; a reason that only a newer Parley knows is `other`. Raises BadEntry."""
    return _read("feedback", text, _feedback)


def load_answered(text: str) -> Answered:
    """The answer that `dump` wrote. Raises BadEntry."""
    return _read("answer", text, _answered)


def _message(raw: dict[str, Any]) -> Message:
    raw["conversation"] = _known(Conversation, raw["conversation"])
    raw["person"] = _known(Person, raw["person"])
    raw["address"] = Address(raw["address"])
    raw["over"] = tuple(raw.get("over", ()))
    return _known(Message, raw)


def _interaction(raw: dict[str, Any]) -> Interaction:
    raw["conversation"] = _known(Conversation, raw["conversation"])
    raw["outcome"] = Outcome(raw["outcome"])
    raw["messages"] = tuple(_known(PromptMessage, message) for message in raw["messages"])
    raw["sampling"] = _known(Sampling, raw["sampling"])
    return _known(Interaction, raw)


def _feedback(raw: dict[str, Any]) -> Feedback:
    raw["conversation"] = _known(Conversation, raw["conversation"])
    raw["verdict"] = Verdict(raw["verdict"])
    raw["source"] = Source(raw["source"])
    raw["reason"] = Reason(raw["reason"]) if raw["reason"] in set(Reason) else Reason.OTHER
    return _known(Feedback, raw)


def _answered(raw: dict[str, Any]) -> Answered:
    raw["conversation"] = _known(Conversation, raw["conversation"])
    raw["posts"] = tuple(raw["posts"])
    return _known(Answered, raw)


def _known(kind: type[T], raw: dict[str, Any]) -> T:
    names = _NAMES[kind]
    return kind(**{name: value for name, value in raw.items() if name in names})


def _plain(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in _NAMES[type(item)]}


# Each message passes here several times: `dataclasses.asdict` would copy all of it before it is written.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain).encode


def _read(kind: str, text: str, build: Callable[[dict[str, Any]], T]) -> T:
    try:
        return build(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadEntry(f"A stored {kind} cannot be read ({type(error).__name__}: {error}).") from error
