"""The shell around every page: layout, navigation by role, and the addresses of scripts and styles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from core.loop.people import Role, may

if TYPE_CHECKING:
    from admin.page import Room

BASE = "/console"
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the navigation as it is shown."""

    title: str
    path: str
    current: bool


class Shell:
    """Renders the pages; `rooms` make up the navigation, in this order."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._rooms = tuple(rooms)
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"base": BASE, "static": static}
        self._templates.filters |= {"moment": moment, "iso": iso}

    def page(self, path: str, role: Role, template: str, status: int, values: Mapping[str, Any]) -> HTMLResponse:
        """A page for somebody of `role`."""
        rooms = [self._entry(room, path) for room in self._rooms if may(role, room.right)]
        return self._render(template, status, {"rooms": rooms, **values})

    def bare(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page for somebody who is not signed in."""
        nobody = {"rooms": (), "me": None, "line": "", "grave": status >= 400}
        return self._render(template, status, {**nobody, **values})

    def home(self, role: Role) -> str:
        """The first room that `role` may enter."""
        return BASE + next(room.path for room in self._rooms if may(role, room.right))

    def _entry(self, room: Room, path: str) -> Entry:
        address = BASE + room.path
        return Entry(room.title, address, path == address or path.startswith(f"{address}/"))

    def _render(self, template: str, status: int, values: Mapping[str, Any]) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(template).render(values), status)


def static(name: str) -> str:
    """The address of a static file; it changes with the content, so that an update is seen at once."""
    digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:10]
    return f"{BASE}/static/{name}?v={digest}"


def moment(at: float) -> str:
    """Unix seconds as people read them, in UTC; the script turns it into the reader's own time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(at: float) -> str:
    """Unix seconds for the `datetime` of a `time` element."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
