"""From tokens to text that may be shown: never half a character, never a stop string, nor the beginning of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\ufffd"
# A character has at most four bytes, so after four tokens that add none the bytes are simply no UTF-8.
_PATIENCE = 4


class Detokenizer:
    """Turns a growing list of tokens into text, piece by piece.

    Each piece is the difference between two decodings of the last tokens: a token's text depends on those before it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._shown: list[int] = []  # the tokens of the last piece, whose text is already out
        self._open: list[int] = []  # tokens whose text waits

    def take(self, tokens: Sequence[int]) -> str:
        """The text that `tokens` complete."""
        text = ""
        for token in tokens:
            self._open.append(token)
            text += self._piece(final=False)
        return text

    def finish(self) -> str:
        """What still waits; bytes that make no character come as U+FFFD."""
        return self._piece(final=True)

    def _piece(self, *, final: bool) -> str:
        before = self._decode(self._shown) if self._shown else ""
        after = self._decode(self._shown + self._open)
        waiting = after.endswith(_INCOMPLETE) and len(self._open) < _PATIENCE
        if (waiting and not final) or len(after) <= len(before):
            return ""
        self._shown, self._open = self._open, []
        return after[len(before) :]


class StopFilter:
    """Cuts a growing text before the first of its stop strings."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def take(self, text: str) -> str:
        """The part that may be shown; the rest is held while it may be the beginning of a stop string."""
        if self.stopped:
            return ""
        self._held += text
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = self._may_begin()
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def finish(self) -> str:
        """What is held when the text has ended without a stop string."""
        shown, self._held = self._held, ""
        return shown

    def _may_begin(self) -> int:
        """Characters at the end of what is held that are the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for count in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-count:]
            if any(stop.startswith(tail) for stop in self._stops):
                return count
        return 0
