"""What the console needs from outside. Every change is given a Note that is kept with it, or neither is.

All methods raise StoreUnavailable; those that change something raise the AccessErrors that they name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.loop.audit import Entry, Head, Note, Verdict
from core.loop.people import Account, Identity, Link, Role, Session, Token


class Accounts(Protocol):
    """Who may enter."""

    async def add(self, name: str, role: Role, password_hash: str, actor: str) -> Account:
        """A new account. Raises BadName, NameTaken."""

    async def redeem(
        self, link_hash: str, name: str, password_hash: str, identity: Identity | None, now: float
    ) -> Account:
        """Uses a one-time link up: makes its account, or gives it a new password or login and ends its sessions.

        Raises NotFound when the link is none any more, AlreadyAdmin, BadName, NameTaken, AlreadyTied.
        """

    async def find(self, account_id: str) -> Account:
        """Raises NotFound."""

    async def list(self) -> Sequence[Account]:
        """All accounts by name."""

    async def with_password(self, name: str) -> tuple[Account, str] | None:
        """The active account of this name and its password hash, None where there is no such."""

    async def of_identity(self, identity: Identity, role: Role | None, actor: str) -> Account | None:
        """The account that the provider's login is tied to; a new one of `role` where there is none and `role` is set.

        A number is put behind a name that is taken.
        """

    async def has_admin(self) -> bool:
        """Whether there is an active admin."""

    async def change_role(self, account_id: str, role: Role, actor: str) -> Account:
        """The links that it made end. Raises NotFound, LastAdmin."""

    async def set_active(self, account_id: str, actor: str, *, active: bool) -> Account:
        """A disabled account's sessions, tokens and links end. Raises NotFound, LastAdmin."""

    async def change_password(self, account_id: str, password_hash: str, actor: str, keep_session: str = "") -> None:
        """Ends all sessions of the account but `keep_session`. Raises NotFound."""


class Links(Protocol):
    """One-time links."""

    async def make(self, link: Link, link_hash: str) -> None:
        """Keeps a link; that of a first admin replaces those before it."""

    async def find(self, link_hash: str, now: float) -> Link:
        """The link, which stays valid: looking at it does not use it up. Raises NotFound."""


class Sessions(Protocol):
    """Browsers that are signed in."""

    async def begin(self, session: Session, token_hash: str, way: str, replaces_hash: str) -> None:
        """Keeps a session and ends the one that the browser had before."""

    async def find(self, token_hash: str, now: float, idle_s: float) -> tuple[Session, Account] | None:
        """The session with its account as it is now, None where it ended or the account is disabled."""

    async def seen(self, session_id: str, now: float) -> None:
        """Moves `seen_at` forward."""

    async def list(self, account_id: str, now: float, idle_s: float) -> Sequence[Session]:
        """The sessions of one account that have not expired, the newest first."""

    async def end(self, session_id: str, account_id: str, actor: str) -> None:
        """Ends a session of that account. Raises NotFound where it is another's."""

    async def end_others(self, account_id: str, keep_session: str, actor: str) -> int:
        """Ends all sessions of the account but one; how many there were."""


class Tokens(Protocol):
    """Bearer tokens of the API."""

    async def add(self, token: Token, token_hash: str, actor: str) -> None:
        """Keeps a token."""

    async def find(self, token_hash: str, now: float) -> tuple[Token, Account] | None:
        """The token with its account as it is now, None where it ended or the account is disabled."""

    async def list(self, account_id: str, now: float) -> Sequence[Token]:
        """The tokens of one account that have not expired, the newest first."""

    async def revoke(self, token_id: str, account_id: str, actor: str) -> None:
        """Revokes a token of that account. Raises NotFound where it is another's."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: those whose fields equal the ones that are set ("" for any), below `before`."""

    actor: str = ""
    action: str = ""
    subject: str = ""
    before: int | None = None


class Trail(Protocol):
    """The audit trail."""

    async def append(self, note: Note) -> Entry:
        """Notes something that changes nothing here."""

    async def page(self, wanted: Wanted, limit: int) -> Sequence[Entry]:
        """The newest entries first."""

    async def actions(self) -> Sequence[str]:
        """All actions that were ever noted, by name."""

    async def verify(self, expected: Head | None = None) -> Verdict:
        """Walks along the whole chain."""
