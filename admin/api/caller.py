"""Who calls the API, and whether they may: by bearer token alone, never by cookie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from admin.desk import Desk
from core.loop.people import Account, Right, Role, Token, hash_of, may, may_give

_bearer = HTTPBearer(auto_error=False, description="A token from the page 'My sessions'.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a token; `desk` is the console's."""

    account: Account
    token: Token
    desk: Desk

    def may(self, right: Right) -> bool:
        """What both the token and the account, as it is now, allow."""
        return may(self.token.role, right) and may(self.account.role, right)

    def may_give(self, role: Role) -> bool:
        """Whether `role` allows nothing that token and account do not."""
        return may_give(self.token.role, role) and may_give(self.account.role, role)


async def _caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    desk: Desk = request.app.state.desk
    found = await desk.tokens.find(hash_of(credentials.credentials), desk.now()) if credentials else None
    if found is None:
        raise HTTPException(401, "A valid bearer token is needed.", {"WWW-Authenticate": "Bearer"})
    token, account = found
    return Caller(account, token, desk)


def holder_of(right: Right) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency: the caller, who has `right`."""

    async def allowed(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        if not caller.may(right):
            raise HTTPException(403, f"This token does not allow to {right.value}.")
        return caller

    return allowed


Owner = Annotated[Caller, Depends(holder_of(Right.OWN))]
Reader = Annotated[Caller, Depends(holder_of(Right.READ))]
Reviewer = Annotated[Caller, Depends(holder_of(Right.REVIEW))]
Manager = Annotated[Caller, Depends(holder_of(Right.MANAGE))]
Auditor = Annotated[Caller, Depends(holder_of(Right.AUDIT))]
