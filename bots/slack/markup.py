"""Slack's markup: what people wrote as plain words, and what the model wrote without the power to call everybody."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TOKEN = re.compile(r"<([^<>\n]*)>")
_MENTION = re.compile(r"<@([A-Z0-9]+)(?:\|[^<>]*)?>")
_SPACES = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")

# A call to many people, or to one by id. The first character gives way to its full-width twin, so that lengths stay
# and a longer text begins as the shorter one did.
_CALLS = ("<!channel", "<!here", "<!everyone", "<!group", "<!subteam", "@channel", "@here", "@everyone", "<@")
_CALL = re.compile(r"<(?=!(?:channel|here|everyone|group|subteam)|@)|(?<!\w)@(?=channel|here|everyone)", re.IGNORECASE)
_HARMLESS = {"<": "\uff1c", "@": "\uff20"}


def mentioned(text: str) -> list[str]:
    """The ids of the people whom a Slack text mentions, in order, each once."""
    return list(dict.fromkeys(_MENTION.findall(text)))


def plain_words(text: str, me: str, names: Mapping[str, str]) -> str:
    """A Slack text as people read it: our own mention gone, others by name, links and entities written out.

    `names` gives the name of each mentioned person; whoever is missing there is shown by id.
    """
    ours = re.compile(rf"[ \t]*<@{re.escape(me)}(?:\|[^<>]*)?>[:,]?")
    text = _SPACES.sub(" ", ours.sub("", text).strip())
    text = _TOKEN.sub(lambda match: _token_words(match.group(1), names), text)
    # The ampersand last: "&amp;lt;" is a typed "&lt;".
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _token_words(token: str, names: Mapping[str, str]) -> str:
    target, _, label = token.partition("|")
    if target.startswith("@"):
        return f"@{names.get(target[1:]) or label or target[1:]}"
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return label or f"@{target[1:].split('^')[0]}"
    address = target.removeprefix("mailto:").removeprefix("tel:")
    # Slack links a bare "example.com" by itself; nobody wants to read that twice.
    return address if not label or address.endswith(label) else f"{label} ({address})"


def harmless(text: str) -> str:
    """The model's text without broadcast or personal mentions; every character keeps its place."""
    return _CALL.sub(lambda match: _HARMLESS[match.group()], text)


def settled(text: str) -> str:
    """`text` without an ending that may yet grow into a mention: safe to append to."""
    lowered = text.lower()
    longest = max(len(call) for call in _CALLS) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(call.startswith(lowered[-length:]) for call in _CALLS):
            return text[:-length]
    return text


def escaped(text: str) -> str:
    """Plain text for Slack's `text` argument, where `& < >` begin markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
