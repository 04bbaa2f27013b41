"""Tokens and links as they are made: the secret is given back once, only its hash is kept."""

from __future__ import annotations

import uuid

from admin.desk import DAY_S, Desk
from admin.errors import Refused
from core.loop.people import Account, Link, Role, Token, clean_name, hash_of, may_give, new_secret

PREFIX = "parley_"  # so that scanners for leaked secrets know it
NOT_YOURS_TO_GIVE = "You can give no role that allows more than your own."


def role_of(text: str) -> Role:
    """The role that a form or a request names. Raises Refused."""
    try:
        return Role(text)
    except ValueError:
        raise Refused(422, f"There is no role {text[:40]!r}.") from None


async def make_token(
    desk: Desk, account: Account, giver: Role, name: str, role: str, days: str | int
) -> tuple[str, Token]:
    """A new token for `account` and its secret; `giver` is the role of whoever asks for it.

    Raises:
        Refused, BadName: the role allows more than the giver's, or the days or the name are none.
    """
    given, longest = role_of(role), desk.lasting.longest_token_days
    if not may_give(giver, given):
        raise Refused(403, NOT_YOURS_TO_GIVE)
    if not str(days).isdecimal() or not 1 <= int(days) <= longest:
        raise Refused(422, f"A token lasts 1 to {longest} days.")
    now, secret = desk.now(), PREFIX + new_secret()
    until = now + int(days) * DAY_S
    token = Token(uuid.uuid4().hex, account.id, clean_name(name), given, now, None, until)
    await desk.tokens.add(token, hash_of(secret), account.id)
    return secret, token


async def make_link(desk: Desk, actor: str, role: Role, account_id: str = "", *, first: bool = False) -> str:
    """The secret of a one-time link: for a new account of `role`, or for a new password of an account."""
    now, secret = desk.now(), new_secret()
    link = Link(uuid.uuid4().hex, role, account_id, actor, now, now + desk.lasting.link_s, first)
    await desk.links.make(link, hash_of(secret))
    return secret
