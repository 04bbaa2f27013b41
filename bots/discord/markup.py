"""Discord's markup, as text that a model can read; and our own text, made harmless for Discord."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

# Code first: Discord reads no markup inside it, so neither do we.
_TOKENS = re.compile(
    r"(?P<code>```.*?```|`[^`\n]+`)"
    r"|<@!?(?P<person>\d+)>"
    r"|<@&(?P<role>\d+)>"
    r"|<#(?P<channel>\d+)>"
    r"|<a?:(?P<emoji>\w+):\d+>"
    r"|<t:(?P<time>-?\d{1,13})(?::[a-zA-Z])?>"
    r"|</(?P<command>[^:>]+):\d+>",
    re.DOTALL,
)
_BROADCAST = re.compile(r"@(?=everyone|here)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Names:
    """The names behind the ids in one message; `own` are the ids that mean the bot: its user and its managed role."""

    own: frozenset[str]
    people: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)


def readable(content: str, names: Names) -> str:
    """`content` as plain Markdown: the bot's mention gone, other ids as names, emoji and times as words."""
    pieces: list[str] = []
    end = 0
    for match in _TOKENS.finditer(content):
        pieces.append(content[end : match.start()])
        end = match.end()
        if (match["person"] or match["role"]) in names.own:
            end = _skip_blanks(content, end, at_start=not "".join(pieces).strip())
        else:
            pieces.append(_spelled(match, names))
    pieces.append(content[end:])
    return "".join(pieces).strip()


def harmless(text: str) -> str:
    """`text` without a broadcast mention, of the same length.

    `allowed_mentions` already keeps such a mention from ringing; this keeps it from looking like one when the text is
    copied elsewhere.
    """
    return _BROADCAST.sub("\N{FULLWIDTH COMMERCIAL AT}", text)


def _skip_blanks(content: str, start: int, *, at_start: bool) -> int:
    blanks = " \t,:" if at_start else " \t"  # "@Parley, what ..." begins with the question
    while start < len(content) and content[start] in blanks:
        start += 1
    return start


def _spelled(match: re.Match[str], names: Names) -> str:
    kind = match.lastgroup or "code"
    value = match[kind]
    words: dict[str, str] = {
        "person": f"@{names.people.get(value, 'someone')}",
        "role": f"@{names.roles.get(value, 'some-role')}",
        "channel": f"#{names.channels.get(value, 'some-channel')}",
        "emoji": f":{value}:",
        "command": f"/{value}",
    }
    if kind == "time":
        return _moment(int(value), otherwise=match[0])
    return words.get(kind, value)


def _moment(seconds: int, otherwise: str) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return otherwise
