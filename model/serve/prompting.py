"""What is done to messages before they meet a chat template, the same for every engine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from model.serve.engine import ChatMessage

_SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant"}
# With plain lines a model may go on by itself and write the next question as well.
PLAIN_STOPS = ("\nUser:", "\nSystem:")


class Defuser:
    """Breaks up control tokens written in a text, so that nobody can close their message and open the system's.

    A space after the first character is enough for the tokenizer to read plain text.
    """

    def __init__(self, control_tokens: Iterable[str]) -> None:
        tokens = sorted((token for token in control_tokens if len(token) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, tokens))) if tokens else None

    def text(self, text: str) -> str:
        """`text` without control tokens."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def messages(self, messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
        """`messages` as chat templates take them."""
        return [{"role": message.role, "content": self.text(message.content)} for message in messages]


def plain_lines(messages: Sequence[dict[str, str]], *, answer: bool) -> str:
    """The prompt for a model without a chat template, with the opening of an answer."""
    lines = [f"{_SPEAKERS.get(message['role'], 'User')}: {message['content']}\n" for message in messages]
    return "".join(lines) + ("Assistant:" if answer else "")
