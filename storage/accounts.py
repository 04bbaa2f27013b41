"""Accounts and one-time links in SQL. Every change runs alone, with its note in the audit trail."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.loop.audit import Note
from core.loop.errors import AlreadyAdmin, AlreadyTied, LastAdmin, NameTaken, NotFound
from core.loop.people import MAX_NAME_CHARS, Account, Identity, Link, Role, clean_name, key_of
from storage.audit import Now, Recorded, recorded
from storage.engine import in_our_words
from storage.tables import account, account_identity, api_token, console_session, one_time_link

_NO_ACCOUNT = "There is no such account."
_NO_LINK = "This link was used already, has expired, or never was one. Ask for another."


class SqlAccounts:
    """Accounts of `core.loop.ports`. Raises StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, now: Now = time.time) -> None:
        self._engine = engine
        self._now = now

    async def add(self, name: str, role: Role, password_hash: str, actor: str) -> Account:
        """See `Accounts.add`."""
        async with recorded(self._engine, self._now) as change:
            return await _add(change, name, role, password_hash, actor, self._now())

    async def redeem(
        self, link_hash: str, name: str, password_hash: str, identity: Identity | None, now: float
    ) -> Account:
        """See `Accounts.redeem`."""
        async with recorded(self._engine, self._now) as change:
            link = await _take_link(change.connection, link_hash, now)
            if link.account_id:
                owner = await _one(change.connection, link.account_id)
                await _give_password(change, owner.id, password_hash, owner.id, keep_session="")
            else:
                owner = await _add(change, name, link.role, password_hash, link.made_by, now)
            if identity:
                await _tie(change, owner.id, identity)
            return await _one(change.connection, owner.id)

    async def find(self, account_id: str) -> Account:
        """See `Accounts.find`."""
        with in_our_words():
            async with self._engine.connect() as connection:
                return await _one(connection, account_id)

    async def list(self) -> Sequence[Account]:
        """See `Accounts.list`."""
        with in_our_words():
            async with self._engine.connect() as connection:
                return [account_of(row) for row in await connection.execute(with_issuer().order_by(account.c.key))]

    async def with_password(self, name: str) -> tuple[Account, str] | None:
        """See `Accounts.with_password`."""
        query = with_issuer().where(account.c.key == key_of(name), account.c.active, account.c.password_hash != "")
        with in_our_words():
            async with self._engine.connect() as connection:
                row = (await connection.execute(query)).first()
        return (account_of(row), row.password_hash) if row else None

    async def of_identity(self, identity: Identity, role: Role | None, actor: str) -> Account | None:
        """See `Accounts.of_identity`."""
        query = with_issuer().where(
            account_identity.c.issuer == identity.issuer, account_identity.c.subject == identity.subject
        )
        with in_our_words():
            async with self._engine.connect() as connection:
                row = (await connection.execute(query)).first()
        if row or role is None:
            return account_of(row) if row else None
        async with recorded(self._engine, self._now) as change:
            name = await _free_name(change.connection, identity.name)
            made = await _add(change, name, role, "", actor, self._now())
            await _tie(change, made.id, identity)
            return await _one(change.connection, made.id)

    async def has_admin(self) -> bool:
        """See `Accounts.has_admin`."""
        with in_our_words():
            async with self._engine.connect() as connection:
                return await _admins(connection) > 0

    async def change_role(self, account_id: str, role: Role, actor: str) -> Account:
        """See `Accounts.change_role`."""
        async with recorded(self._engine, self._now) as change:
            before = await _one(change.connection, account_id)
            if before.role is not role:
                await _set(change, before, actor, "account.role", role=role.value)
                # What they could give away as long as they had their role.
                await change.connection.execute(delete(one_time_link).where(one_time_link.c.made_by == account_id))
            return await _one(change.connection, account_id)

    async def set_active(self, account_id: str, actor: str, *, active: bool) -> Account:
        """See `Accounts.set_active`."""
        async with recorded(self._engine, self._now) as change:
            before = await _one(change.connection, account_id)
            if before.active is not active:
                await _set(change, before, actor, "account.enabled" if active else "account.disabled", active=active)
                for table in (console_session, api_token, one_time_link):
                    await change.connection.execute(delete(table).where(table.c.account_id == account_id))
                await change.connection.execute(delete(one_time_link).where(one_time_link.c.made_by == account_id))
            return await _one(change.connection, account_id)

    async def change_password(self, account_id: str, password_hash: str, actor: str, keep_session: str = "") -> None:
        """See `Accounts.change_password`."""
        async with recorded(self._engine, self._now) as change:
            await _one(change.connection, account_id)
            await _give_password(change, account_id, password_hash, actor, keep_session)


class SqlLinks:
    """Links of `core.loop.ports`. Raises StoreUnavailable."""

    def __init__(self, engine: AsyncEngine, now: Now = time.time) -> None:
        self._engine = engine
        self._now = now

    async def make(self, link: Link, link_hash: str) -> None:
        """See `Links.make`."""
        async with recorded(self._engine, self._now) as change:
            old = one_time_link.c.expires_at < link.created_at
            await change.connection.execute(delete(one_time_link).where(old | (one_time_link.c.first & link.first)))
            fields = {name: getattr(link, name) for name in ("id", "made_by", "created_at", "expires_at", "first")}
            values = {**fields, "token_hash": link_hash, "role": link.role.value, "account_id": link.account_id or None}
            await change.connection.execute(insert(one_time_link).values(values))
            subject = f"account:{link.account_id}" if link.account_id else f"link:{link.id}"
            await change.note(Note(link.made_by, "link.made", subject, {"role": link.role.value, "first": link.first}))

    async def find(self, link_hash: str, now: float) -> Link:
        """See `Links.find`."""
        with in_our_words():
            async with self._engine.connect() as connection:
                return await _link(connection, link_hash, now)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_issuer() -> Any:
    """Accounts with the provider that one of their logins is tied to."""
    issuer = (
        select(func.min(account_identity.c.issuer))
        .where(account_identity.c.account_id == account.c.id)
        .correlate(account)
        .scalar_subquery()
        .label("issuer")
    )
    joined = account.outerjoin(account_identity, account_identity.c.account_id == account.c.id)
    return select(account, issuer).select_from(joined).distinct()


def account_of(row: Row[Any]) -> Account:
    """The account in a row of `with_issuer`."""
    has_password = bool(row.password_hash)
    return Account(row.id, row.name, Role(row.role), row.active, row.created_at, has_password, row.issuer or "")


async def _one(connection: AsyncConnection, account_id: str) -> Account:
    row = (await connection.execute(with_issuer().where(account.c.id == account_id))).first()
    if row is None:
        raise NotFound(_NO_ACCOUNT)
    return account_of(row)


async def _link(connection: AsyncConnection, link_hash: str, now: float) -> Link:
    query = select(one_time_link).where(one_time_link.c.token_hash == link_hash, one_time_link.c.expires_at > now)
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound(_NO_LINK)
    whose = row.account_id or ""
    return Link(row.id, Role(row.role), whose, row.made_by, row.created_at, row.expires_at, row.first)


async def _admins(connection: AsyncConnection) -> int:
    query = select(func.count()).select_from(account).where(account.c.active, account.c.role == Role.ADMIN.value)
    return int(await connection.scalar(query) or 0)


async def _free_name(connection: AsyncConnection, wanted: str) -> str:
    """`wanted`, with a number behind it where somebody has that name."""
    stem = wanted[: MAX_NAME_CHARS - 8] if key_of(wanted[: MAX_NAME_CHARS - 8]) else "Guest"
    name, number = stem, 1
    while await connection.scalar(select(account.c.id).where(account.c.key == key_of(name))):
        number += 1
        name = f"{stem} {number}"
    return name


# ── changing ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _add(change: Recorded, name: str, role: Role, password_hash: str, actor: str, now: float) -> Account:
    plain, key, new = clean_name(name), key_of(name), uuid.uuid4().hex
    if await change.connection.scalar(select(account.c.id).where(account.c.key == key)):
        raise NameTaken(f"There is an account {plain!r} already.")
    values = {"id": new, "key": key, "name": plain, "role": role.value, "active": True}
    await change.connection.execute(insert(account).values(**values, password_hash=password_hash, created_at=now))
    await change.note(Note(actor, "account.added", f"account:{new}", {"role": role.value}))
    return await _one(change.connection, new)


async def _take_link(connection: AsyncConnection, link_hash: str, now: float) -> Link:
    link = await _link(connection, link_hash, now)
    await connection.execute(delete(one_time_link).where(one_time_link.c.id == link.id))
    if link.first and await _admins(connection):
        raise AlreadyAdmin("There is an admin already, who can invite you.")
    return link


async def _set(change: Recorded, before: Account, actor: str, action: str, **values: str | bool) -> None:
    was_admin = before.active and before.role is Role.ADMIN
    if was_admin and await _admins(change.connection) == 1:
        raise LastAdmin(f"{before.name} is the only admin. Make another one first.")
    await change.connection.execute(update(account).where(account.c.id == before.id).values(**values))
    details = {**values, "was": before.role.value} if "role" in values else {}
    await change.note(Note(actor, action, f"account:{before.id}", details))


async def _give_password(change: Recorded, account_id: str, password_hash: str, actor: str, keep_session: str) -> None:
    if password_hash:
        here = account.c.id == account_id
        await change.connection.execute(update(account).where(here).values(password_hash=password_hash))
        await change.note(Note(actor, "account.password", f"account:{account_id}"))
    others = (console_session.c.account_id == account_id) & (console_session.c.id != keep_session)
    await change.connection.execute(delete(console_session).where(others))


async def _tie(change: Recorded, account_id: str, identity: Identity) -> None:
    here = (account_identity.c.issuer == identity.issuer) & (account_identity.c.subject == identity.subject)
    owner = await change.connection.scalar(select(account_identity.c.account_id).where(here))
    if owner == account_id:
        return
    if owner:
        raise AlreadyTied("This login belongs to another account of the console.")
    values = {"issuer": identity.issuer, "subject": identity.subject, "account_id": account_id}
    await change.connection.execute(insert(account_identity).values(values))
    await change.note(Note(account_id, "account.login_tied", f"account:{account_id}", {"issuer": identity.issuer}))
