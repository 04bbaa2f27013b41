"""Reads the log with plain SQL, past our own storage."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg

from core.chat.message import Outcome
from tests.support.history_checker import Row

_SQL = (
    "SELECT i.turn_id, i.conversation, i.outcome, t.question, t.answer FROM interaction i "
    "LEFT JOIN interaction_text t ON t.day = i.day AND t.turn_id = i.turn_id"
)


def logged_rows(url: str) -> list[Row]:
    """All rows of the log at `url` (sqlite:/// or postgresql://); none while it cannot be read."""
    try:
        found = _sqlite(Path(url.removeprefix("sqlite:///"))) if url.startswith("sqlite") else _postgres(url)
    except (sqlite3.OperationalError, psycopg.Error):
        return []
    return [
        Row(turn_id, place, Outcome(outcome), question or "", answer or "")
        for turn_id, place, outcome, question, answer in found
    ]


def _sqlite(path: Path) -> list[tuple[str, ...]]:
    if not path.exists():
        return []
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(_SQL).fetchall()
    finally:
        connection.close()


def _postgres(url: str) -> list[tuple[str, ...]]:
    with psycopg.connect(url, connect_timeout=2) as connection:
        return connection.execute(_SQL).fetchall()
