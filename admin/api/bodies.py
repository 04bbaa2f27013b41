"""What goes in and out of the API as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.loop.people import Role

# No control characters, for databases cannot hold a NUL.
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class Problem(BaseModel):
    """Why something was not done."""

    detail: str


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AccountOut(_Out):
    """An account."""

    id: str
    name: str
    role: Role
    active: bool
    created_at: float
    has_password: bool
    provider: str


class SessionOut(_Out):
    """A browser that is signed in."""

    id: str
    created_at: float
    seen_at: float
    expires_at: float
    address: str
    agent: str


class TokenOut(_Out):
    """A token, without its secret."""

    id: str
    name: str
    role: Role
    created_at: float
    used_at: float | None
    expires_at: float


class TokenMade(TokenOut):
    """A token as it was made; `secret` is not shown again."""

    secret: str


class LinkMade(BaseModel):
    """A one-time link; `path` is below the address of this server."""

    path: str


class EntryOut(BaseModel):
    """An entry of the audit trail, with all that its hash is over."""

    seq: int
    at: str
    at_ms: int
    actor: str
    action: str
    subject: str
    details: str
    prev: str
    hash: str


class VerdictOut(BaseModel):
    """Whether the chain is whole; otherwise its first broken entry and why."""

    whole: bool
    head: str
    broken_seq: int | None
    reason: str


class TokenAsked(BaseModel):
    """A token that is asked for."""

    name: str = Field(max_length=100)
    role: Role
    days: int = Field(default=90, ge=1, le=366)


class RoleAsked(BaseModel):
    """A role for an account."""

    role: Role


class ActiveAsked(BaseModel):
    """Whether an account may enter."""

    active: bool
