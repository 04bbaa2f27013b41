"""Who may do what in the console: roles, what each allows, and the accounts, sessions and tokens that carry them."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from core.loop.errors import BadName, BadPassword

MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 256
MAX_NAME_CHARS = 60


class Role(StrEnum):
    """What an account is there for."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    TRAINER = "trainer"
    RELEASER = "releaser"
    ADMIN = "admin"


class Right(StrEnum):
    """One thing that can be allowed."""

    OWN = "own"  # one's own password, sessions and tokens
    READ = "read"  # conversations, reviews, figures
    REVIEW = "review"  # claim, judge and correct
    TRAIN = "train"  # make snapshots, run training
    RELEASE = "release"  # move a version towards people, and back
    MANAGE = "manage"  # accounts, personas, channels, consent
    AUDIT = "audit"  # read the audit trail


_EVERYBODY = frozenset({Right.OWN, Right.READ})
RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: _EVERYBODY,
    Role.REVIEWER: _EVERYBODY | {Right.REVIEW},
    Role.TRAINER: _EVERYBODY | {Right.REVIEW, Right.TRAIN},
    # Whoever trains does not release: neither of the two roles holds the other's right.
    Role.RELEASER: _EVERYBODY | {Right.REVIEW, Right.RELEASE},
    Role.ADMIN: frozenset(Right),
}


def may(role: Role, right: Right) -> bool:
    """Whether `role` allows `right`."""
    return right in RIGHTS[role]


def may_give(giver: Role, given: Role) -> bool:
    """Whether `given` allows nothing that `giver` does not: nobody hands out more than they have."""
    return RIGHTS[given] <= RIGHTS[giver]


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may enter the console. `name` is as they wrote it; `key_of(name)` is unique."""

    id: str
    name: str
    role: Role
    active: bool
    created_at: float
    has_password: bool
    provider: str = ""  # the OIDC issuer whose login is tied to it


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in. Its token is known to that browser alone; here is only its hash."""

    id: str
    account_id: str
    created_at: float
    seen_at: float
    expires_at: float
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token of the API. It allows what both its own role and that of its account allow."""

    id: str
    account_id: str
    name: str
    role: Role
    created_at: float
    used_at: float | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link: to a new account of `role`, or to a new password for `account_id`."""

    id: str
    role: Role
    account_id: str  # "" where it makes an account
    made_by: str
    created_at: float
    expires_at: float
    first: bool = False  # valid only while there is no admin


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody at an OIDC provider: `subject` is unique within `issuer`."""

    issuer: str
    subject: str
    name: str


# ── names and secrets ───────────────────────────────────────────────────────────────────────────────────────────────

_BLANKS = re.compile(r"\s+")


def clean_name(name: str) -> str:
    """`name` in one Unicode form, with single blanks.

    Raises:
        BadName: it is empty or too long, or holds what cannot be seen, such as a mark that turns the direction.
    """
    plain = _BLANKS.sub(" ", unicodedata.normalize("NFKC", name)).strip()
    if not plain or len(plain) > MAX_NAME_CHARS:
        raise BadName(f"A name has 1 to {MAX_NAME_CHARS} characters.")
    if any(unicodedata.category(char)[0] == "C" for char in plain):
        raise BadName("A name holds no invisible characters.")
    return plain


def key_of(name: str) -> str:
    """What two spellings of a name have in common; "" where it can be no name."""
    try:
        return clean_name(name).casefold()
    except BadName:
        return ""


def check_password(password: str, name: str) -> None:
    """Length counts, not signs or digits.

    Raises:
        BadPassword: it is too short or too long, or is little else than the name.
    """
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise BadPassword(f"A password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters.")
    if len(set(password)) < 5 or password.casefold() in key_of(name) * 8:
        raise BadPassword("This password is too easy to guess. Several words in a row make a good one.")


def new_secret() -> str:
    """32 random bytes as text that fits into a cookie, a header and an address."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """What is stored of a secret of `new_secret`: long and random, so that a plain hash keeps it."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
