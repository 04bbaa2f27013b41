"""`parley admin` and `parley audit`: accounts of the console and its audit trail from the command line."""

from __future__ import annotations

import getpass
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from admin.desk import Desk
from core.loop.audit import COMMAND_LINE, Head, Verdict
from core.loop.errors import NotFound
from core.loop.people import Account, Role, check_password, clean_name, key_of
from parley.console import open_desk
from parley.errors import SetupError
from parley.parts import migrated
from parley.settings import Settings


@asynccontextmanager
async def _desk(settings: Settings) -> AsyncIterator[Desk]:
    await migrated(settings)
    async with open_desk(settings) as desk:
        yield desk


async def add_account(settings: Settings, name: str, role: Role, *, from_stdin: bool) -> Account:
    """Makes an account with a password that is asked for, or read from standard input.

    Raises:
        AccessError: name or password is refused.
        SetupError: the two passwords differ.
    """
    clean_name(name)
    password = _read_password(from_stdin=from_stdin)
    check_password(password, name)
    async with _desk(settings) as desk:
        return await desk.accounts.add(name, role, await desk.passwords.hash(password), COMMAND_LINE)


async def list_accounts(settings: Settings) -> Sequence[Account]:
    """All accounts."""
    async with _desk(settings) as desk:
        return await desk.accounts.list()


async def disable_account(settings: Settings, name: str) -> Account:
    """Shuts an account out. Raises NotFound, LastAdmin."""
    async with _desk(settings) as desk:
        return await desk.accounts.set_active((await _named(desk, name)).id, COMMAND_LINE, active=False)


async def change_role(settings: Settings, name: str, role: Role) -> Account:
    """Gives an account another role. Raises NotFound, LastAdmin."""
    async with _desk(settings) as desk:
        return await desk.accounts.change_role((await _named(desk, name)).id, role, COMMAND_LINE)


async def verify_trail(settings: Settings, head: str) -> Verdict:
    """Walks along the audit trail; `head` is one that was printed before, or "".

    Raises:
        SetupError: `head` is none.
    """
    try:
        expected = Head.parse(head) if head else None
    except ValueError as error:
        raise SetupError(str(error)) from error
    async with _desk(settings) as desk:
        return await desk.trail.verify(expected)


async def _named(desk: Desk, name: str) -> Account:
    for account in await desk.accounts.list():
        if key_of(account.name) == key_of(name):
            return account
    raise NotFound(f"There is no account {name!r}; 'parley admin list' shows them all.")


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise SetupError("There is no terminal to ask for the password; give it with --password-stdin.")
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same once more: ") != password:
        raise SetupError("The two passwords differ. Nothing was changed.")
    return password
