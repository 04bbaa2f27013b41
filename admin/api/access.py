"""Accounts, sessions and tokens by API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path

from admin.api.bodies import (
    AccountOut,
    ActiveAsked,
    Id,
    LinkMade,
    RoleAsked,
    SessionOut,
    TokenAsked,
    TokenMade,
    TokenOut,
)
from admin.api.caller import Caller, Manager, Owner
from admin.errors import Refused
from admin.shell import BASE
from admin.tokens import NOT_YOURS_TO_GIVE, make_link, make_token
from core.loop.people import Account, Session, Token

router = APIRouter()
AnId = Annotated[Id, Path()]

# ── one's own ───────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("/me", response_model=AccountOut)
async def me(caller: Owner) -> Account:
    """Whose token this is."""
    return caller.account


@router.get("/me/sessions", response_model=list[SessionOut])
async def my_sessions(caller: Owner) -> Sequence[Session]:
    """The browsers that are signed in."""
    return await _sessions(caller, caller.account.id)


@router.delete("/me/sessions/{session_id}", status_code=204)
async def end_my_session(caller: Owner, session_id: AnId) -> None:
    """Ends one of them."""
    await caller.desk.sessions.end(session_id, caller.account.id, caller.account.id)


@router.get("/me/tokens", response_model=list[TokenOut])
async def my_tokens(caller: Owner) -> Sequence[Token]:
    """One's own tokens."""
    return await caller.desk.tokens.list(caller.account.id, caller.desk.now())


@router.post("/me/tokens", response_model=TokenMade, status_code=201)
async def make_my_token(caller: Owner, asked: TokenAsked) -> dict[str, Any]:
    """A new token, which allows no more than the one that asks for it."""
    if not caller.may_give(asked.role):
        raise Refused(403, NOT_YOURS_TO_GIVE)
    secret, token = await make_token(
        caller.desk, caller.account, caller.token.role, asked.name, asked.role.value, asked.days
    )
    return {**asdict(token), "secret": secret}


@router.delete("/me/tokens/{token_id}", status_code=204)
async def revoke_my_token(caller: Owner, token_id: AnId) -> None:
    """Revokes one of them."""
    await caller.desk.tokens.revoke(token_id, caller.account.id, caller.account.id)


# ── everybody's, for admins ─────────────────────────────────────────────────────────────────────────────────────────


@router.get("/accounts", response_model=list[AccountOut])
async def accounts(caller: Manager) -> Sequence[Account]:
    """All accounts."""
    return await caller.desk.accounts.list()


@router.get("/accounts/{account_id}", response_model=AccountOut)
async def account(caller: Manager, account_id: AnId) -> Account:
    """One account."""
    return await caller.desk.accounts.find(account_id)


@router.put("/accounts/{account_id}/role", response_model=AccountOut)
async def change_role(caller: Manager, account_id: AnId, asked: RoleAsked) -> Account:
    """Gives an account another role."""
    return await caller.desk.accounts.change_role(account_id, asked.role, caller.account.id)


@router.put("/accounts/{account_id}/active", response_model=AccountOut)
async def set_active(caller: Manager, account_id: AnId, asked: ActiveAsked) -> Account:
    """Shuts an account out, or lets it in again."""
    return await caller.desk.accounts.set_active(account_id, caller.account.id, active=asked.active)


@router.get("/accounts/{account_id}/sessions", response_model=list[SessionOut])
async def sessions_of(caller: Manager, account_id: AnId) -> Sequence[Session]:
    """The browsers that are signed in with an account."""
    return await _sessions(caller, (await caller.desk.accounts.find(account_id)).id)


@router.delete("/accounts/{account_id}/sessions/{session_id}", status_code=204)
async def end_session_of(caller: Manager, account_id: AnId, session_id: AnId) -> None:
    """Ends one of them."""
    await caller.desk.sessions.end(session_id, account_id, caller.account.id)


@router.get("/accounts/{account_id}/tokens", response_model=list[TokenOut])
async def tokens_of(caller: Manager, account_id: AnId) -> Sequence[Token]:
    """The tokens of an account."""
    return await caller.desk.tokens.list((await caller.desk.accounts.find(account_id)).id, caller.desk.now())


@router.delete("/accounts/{account_id}/tokens/{token_id}", status_code=204)
async def revoke_token_of(caller: Manager, account_id: AnId, token_id: AnId) -> None:
    """Revokes one of them."""
    await caller.desk.tokens.revoke(token_id, account_id, caller.account.id)


@router.post("/invitations", response_model=LinkMade, status_code=201)
async def invite(caller: Manager, asked: RoleAsked) -> LinkMade:
    """A one-time link to a new account."""
    return LinkMade(path=f"{BASE}/link/{await make_link(caller.desk, caller.account.id, asked.role)}")


@router.post("/accounts/{account_id}/password-links", response_model=LinkMade, status_code=201)
async def new_password(caller: Manager, account_id: AnId) -> LinkMade:
    """A one-time link to a new password."""
    found = await caller.desk.accounts.find(account_id)
    return LinkMade(path=f"{BASE}/link/{await make_link(caller.desk, caller.account.id, found.role, found.id)}")


async def _sessions(caller: Caller, account_id: str) -> Sequence[Session]:
    return await caller.desk.sessions.list(account_id, caller.desk.now(), caller.desk.lasting.idle_s)
