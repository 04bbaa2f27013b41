"""An item of an inbox: the message's id, for scripts that read no JSON, then a line break and the message as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import structlog

from core.chat import codec
from core.chat.errors import BadEntry
from core.chat.message import Conversation, Message, Turn
from core.chat.ports import Mail

_log = structlog.get_logger(__name__)


def written(message: Message) -> str:
    """The item that holds `message`."""
    return f"{message.id}\n{codec.dump(message)}"


def parts(item: str) -> tuple[str, str]:
    """The message's id and its JSON."""
    message_id, _, text = item.partition("\n")
    return message_id, text


def revised(item: str, message: Message) -> str:
    """`item` with the text and kind of `message`; all else stays, what a newer Parley wrote included.

    An item that cannot be read stays as it is: whoever reads it next sets it aside.
    """
    message_id, text = parts(item)
    try:
        fields = json.loads(text)
        fields.update(text=message.text, kind=message.kind)
    except (ValueError, AttributeError):
        return item
    return f"{message_id}\n{json.dumps(fields, ensure_ascii=False, separators=(',', ':'))}"


def mail_of(conversation: Conversation, found: Sequence[Any]) -> Mail | None:
    """What `head` or `begin` found: {item, intent, stop, withdrawn, history}; None where there was no item.

    Raises:
        BadEntry: this version cannot read the message.
    """
    item, intent, stop, withdrawn, history = found
    if not item:
        return None
    message_id, text = parts(item)
    message = codec.load_message(text)
    return Mail(
        message,
        _readable(conversation, history),
        intended=intent == message_id,
        stop_requested=stop == message_id,
        withdrawn=withdrawn == message_id,
    )


def _readable(conversation: Conversation, history: Sequence[str]) -> tuple[Turn, ...]:
    """All turns, or none: with a gap the count of what to drop at commit would be wrong."""
    try:
        return tuple(codec.load_turn(turn) for turn in history)
    except BadEntry as error:
        _log.error("history_not_readable", conversation=str(conversation), reason=str(error))
        return ()
