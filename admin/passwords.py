"""Passwords as argon2id hashes, computed beside the event loop: one takes as long as a whole page."""

from __future__ import annotations

import asyncio
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.loop.people import MAX_PASSWORD_CHARS, new_secret

# Each takes 64 MiB while it is computed.
_AT_ONCE = 4


class Passwords:
    """Hashes and verifies. `hasher` sets what one costs; argon2-cffi's default follows RFC 9106."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._seats = asyncio.Semaphore(_AT_ONCE)
        # Verified where there is no such account, so that both answers take equally long.
        self._nobody = self._hasher.hash(new_secret())

    async def hash(self, password: str) -> str:
        """The hash to store."""
        async with self._seats:
            return await asyncio.to_thread(self._hasher.hash, _plain(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` is the one; takes as long where there is no hash, and then says no."""
        if len(password) > MAX_PASSWORD_CHARS:
            return False
        async with self._seats:
            right = await asyncio.to_thread(self._verify, password_hash or self._nobody, _plain(password))
        return right and bool(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def _plain(password: str) -> str:
    """One form for what different keyboards send for the same letters."""
    return unicodedata.normalize("NFC", password)
