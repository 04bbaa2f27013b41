"""Who a browser is, and which conversations are its own: all of it comes from one secret in a cookie."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from core.chat.message import Conversation, Person

PLATFORM = "web"
WORKSPACE = "local"
MAX_RECENT = 12
_SIGN_CHARS = 16
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_CONVERSATION_ID = re.compile(rf"[0-9a-f]{{22}}[0-9a-f]{{{_SIGN_CHARS}}}")


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser by its secret, 32 random bytes in URL-safe base64. Only hashes of it are ever stored."""

    secret: str

    @classmethod
    def new(cls) -> Browser:
        """A browser that was never here."""
        return cls(secrets.token_urlsafe(32))

    @classmethod
    def known(cls, cookie: str | None) -> Browser | None:
        """The browser that sent `cookie`; None when it sent none, or something that we never made."""
        return cls(cookie) if cookie and _SECRET.fullmatch(cookie) else None

    @property
    def person(self) -> Person:
        """The person at this browser; everybody is a guest until there is a login."""
        return Person(self._sign("person")[:24], "Guest")

    def new_conversation_id(self) -> str:
        """An id that only this browser could have made, later ones greater."""
        stem = f"{int(time.time() * 1000):012x}{secrets.token_hex(5)}"
        return stem + self._sign(stem)[:_SIGN_CHARS]

    def owns(self, conversation_id: str) -> bool:
        """Whether this browser made the id. No look-up: the id carries a signature under the browser's secret."""
        if not _CONVERSATION_ID.fullmatch(conversation_id):
            return False
        stem, sign = conversation_id[:-_SIGN_CHARS], conversation_id[-_SIGN_CHARS:]
        return hmac.compare_digest(sign, self._sign(stem)[:_SIGN_CHARS])

    def conversation(self, conversation_id: str) -> Conversation:
        """The conversation as core knows it."""
        return Conversation(PLATFORM, WORKSPACE, self.person.id, conversation_id)

    def recent(self, cookie: str | None) -> list[str]:
        """The ids that the cookie of recent conversations holds, newest first; those of others are left out."""
        return [id_ for id_ in (cookie or "").split(".")[:MAX_RECENT] if self.owns(id_)]

    def _sign(self, text: str) -> str:
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def remember(recent: Sequence[str], conversation_id: str) -> str:
    """The cookie of recent conversations with `conversation_id` at its front."""
    return ".".join([conversation_id, *(id_ for id_ in recent if id_ != conversation_id)][:MAX_RECENT])
