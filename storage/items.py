"""An item of an inbox: the message's id, for scripts that read no JSON, then a line break and the message as JSON."""

from __future__ import annotations

import json

from core.chat import codec
from core.chat.message import Message


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
