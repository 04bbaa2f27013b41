"""Splits a Markdown answer into posts within a platform's limit, keeping code fences, words and graphemes whole."""

from __future__ import annotations

from dataclasses import dataclass

import regex

MIN_CHARS = 64
_FENCE = regex.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*(.*?)[ \t]*$")
_MAX_INFO_CHARS = 24  # a longer info string is not worth repeating in every part


@dataclass(frozen=True, slots=True)
class Fence:
    """An open code block: the marks that close it, and the language named after them."""

    marks: str
    info: str

    @property
    def opening(self) -> str:
        """The line that opens the block again at the top of the next part."""
        return f"{self.marks}{self.info}\n" if len(self.info) <= _MAX_INFO_CHARS else f"{self.marks}\n"

    @property
    def closing(self) -> str:
        """What ends the block at the bottom of a part."""
        return f"\n{self.marks}"


@dataclass(frozen=True, slots=True)
class Part:
    """One post. `body` is cut from the answer untouched; `prefix` and `suffix` are fences that we added."""

    prefix: str
    body: str
    suffix: str

    @property
    def text(self) -> str:
        """What is posted."""
        return f"{self.prefix}{self.body.rstrip()}{self.suffix}"


def split_reply(text: str, max_chars: int) -> list[str]:
    """The posts that show `text`, each of 1 to `max_chars` characters; none for an empty text."""
    return [part.text for part in split_parts(text, max_chars) if part.body.strip()]


def split_parts(text: str, max_chars: int) -> list[Part]:
    """`text` in parts whose bodies join to exactly `text`. An early part depends on the text before its end only,
    so a growing answer changes its last part alone, save where a grapheme is still incomplete.
    """
    if max_chars < MIN_CHARS:
        raise ValueError(f"max_chars is {max_chars}; a post needs room for at least {MIN_CHARS} characters.")
    parts: list[Part] = []
    fence: Fence | None = None
    rest = text
    while rest:
        part, fence = _first_part(rest, fence, max_chars)
        parts.append(part)
        rest = rest[len(part.body) :]
    return parts


def _first_part(text: str, fence: Fence | None, max_chars: int) -> tuple[Part, Fence | None]:
    prefix = fence.opening if fence else ""
    room = max_chars - len(prefix)
    body = text if len(text) <= room else text[: _cut(text, room, fence)]
    after = _fence_after(body, fence)
    if after is not None and len(body) + len(after.closing) > room:
        # The cut falls inside a block, and the closing fence needs room as well.
        body = text[: _cut(text, room - len(after.closing), fence)]
        after = _fence_after(body, fence)
    return Part(prefix, body, after.closing if after else ""), after


def _cut(text: str, room: int, fence: Fence | None) -> int:
    """Where to end a part of at most `room` characters: after a paragraph, a line, a word, a grapheme."""
    window = text[:room]
    for separator, at_least in (("\n\n", room // 2), ("\n", room // 3), (" ", 1), ("\n", 1)):
        at = window.rfind(separator)
        if at >= at_least:
            return _before_bare_fence(window[: at + len(separator)], fence)
    return _grapheme_cut(text, room)


def _before_bare_fence(body: str, fence: Fence | None) -> int:
    """Moves a cut that would leave an opening fence without content, or split its line, before that line."""
    start = body.rfind("\n", 0, len(body.rstrip())) + 1
    line = body[start:].rstrip()
    opens = _FENCE.match(line) is not None and _fence_after(body[:start], fence) is None
    return start if opens and start > 0 else len(body)


def _grapheme_cut(text: str, room: int) -> int:
    end = 0
    # A few characters beyond the room show whether the last grapheme ends inside it.
    for match in regex.finditer(r"\X", text[: room + 32]):
        if match.end() > room:
            break
        end = match.end()
    return end or room


def _fence_after(body: str, fence: Fence | None) -> Fence | None:
    for line in body.split("\n"):
        fence = _fence_after_line(line, fence)
    return fence


def _fence_after_line(line: str, fence: Fence | None) -> Fence | None:
    match = _FENCE.match(line)
    if match is None:
        return fence
    marks, info = match.group(1), match.group(2)
    if fence is None:
        # CommonMark: backticks in the info string make it inline code, not a fence.
        return None if marks[0] == "`" and "`" in info else Fence(marks, info)
    closes = marks[0] == fence.marks[0] and len(marks) >= len(fence.marks) and not info
    return None if closes else fence
