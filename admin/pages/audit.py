"""The audit trail, for admins: the newest first, by filter, and whether the chain is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from admin.page import Call, Page, Room, Route
from admin.shell import BASE
from core.loop.audit import COMMAND_LINE, Entry
from core.loop.people import Account, Right
from core.loop.ports import Wanted

PAGE_ROWS = 50
_ID = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24}\b")
OTHERS = {COMMAND_LINE: "command line", "provider": "provider"}


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as people read it."""

    entry: Entry
    at: float
    actor: str
    subject: str
    details: str


def audit_page() -> Page:
    """The page."""
    return Page(
        (Route("GET", "/audit", Right.AUDIT, show), Route("GET", "/audit/verify", Right.AUDIT, verify)),
        Room("Audit trail", "/audit", Right.AUDIT),
    )


async def show(call: Call) -> Response:
    """A page of the trail, from `before` back, for the actor, action and subject that are asked for."""
    asked = {name: call.request.query_params.get(name, "").strip() for name in ("actor", "action", "subject")}
    before = call.request.query_params.get("before", "")
    names = {account.id: account for account in await call.desk.accounts.list()}
    wanted = Wanted(**_ids(asked, names), before=int(before) if before.isdecimal() and len(before) < 19 else None)
    found = await call.desk.trail.page(wanted, PAGE_ROWS + 1)
    older = (
        urlencode({**{name: value for name, value in asked.items() if value}, "before": found[PAGE_ROWS - 1].seq})
        if len(found) > PAGE_ROWS
        else ""
    )
    shown: dict[str, Any] = {
        "rows": [_row(entry, names) for entry in found[:PAGE_ROWS]],
        "people": sorted(account.name for account in names.values()),
        "actions": await call.desk.trail.actions(),
        "asked": asked,
        "older": f"{BASE}/audit?{older}" if older else "",
        "later": f"{BASE}/audit" if before else "",
    }
    return call.page("audit.html", **shown)


async def verify(call: Call) -> Response:
    """Walks along the whole chain and says what it found."""
    verdict = await call.desk.trail.verify()
    return call.page("verified.html", status=200, verdict=verdict)


def _ids(asked: Mapping[str, str], names: Mapping[str, Account]) -> dict[str, str]:
    """Names that people ask for, as the ids that are noted."""
    ids = {account.name: account.id for account in names.values()} | {shown: id_ for id_, shown in OTHERS.items()}
    subject = asked["subject"]
    return {
        "actor": ids.get(asked["actor"], asked["actor"]),
        "action": asked["action"],
        "subject": f"account:{ids[subject]}" if subject in ids else subject,
    }


def _row(entry: Entry, names: Mapping[str, Account]) -> Row:
    kind, _, subject = entry.subject.partition(":")
    account = names.get(subject) if kind == "account" else None
    actor = names[entry.actor].name if entry.actor in names else OTHERS.get(entry.actor, entry.actor)
    shown = account.name if account else _short(entry.subject)
    return Row(entry, entry.at_ms / 1000, actor, shown, _read(entry.details))


def _read(details: str) -> str:
    """The details in words: what is false is left out, ids are shortened."""
    try:
        found = json.loads(details)
    except ValueError:
        return details
    if not isinstance(found, dict):
        return details
    told = {name: value for name, value in found.items() if value is not False}
    return ", ".join(name if value is True else f"{name} {_short(str(value))}" for name, value in told.items())


def _short(text: str) -> str:
    return _ID.sub(r"\1", text)


def at_of(entry: Entry) -> str:
    """When it was noted, ISO 8601 in UTC."""
    return datetime.fromtimestamp(entry.at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def as_json(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Entries for the API: with everything that the hash is over, so that others can walk along the chain, too."""
    names = ("seq", "at_ms", "actor", "action", "subject", "details", "prev", "hash")
    return [{"at": at_of(entry), **{name: getattr(entry, name) for name in names}} for entry in entries]
