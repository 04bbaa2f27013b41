"""The index over the words of questions and answers: FTS5 on SQLite, tsvector with GIN on PostgreSQL.

It is a table `search` that SQLAlchemy does not know, for each database makes another one of it, and a view
`search_text` of what is in it. It holds no second copy of the texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, TableClause, TextClause, bindparam, column, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

# A text's first so many characters are found: a tsvector holds 1 MB, and nobody searches behind that.
INDEXED_CHARS = 20_000
MAX_WORDS = 20
# 'secure-delete' of FTS5 came with 3.42. Before, a word that was deleted stays in the index until it is rewritten.
_SECURE_DELETE: tuple[int | str, ...] = (3, 42)

_VIEW = f"""
CREATE VIEW search_text AS
SELECT i.number, substr(t.question, 1, {INDEXED_CHARS}) AS question, substr(t.answer, 1, {INDEXED_CHARS}) AS answer
FROM review_item i JOIN interaction_text t ON t.day = i.day AND t.turn_id = i.turn_id
"""  # noqa: S608 - a number of ours
_CREATE = {
    "sqlite": [
        """
        CREATE VIRTUAL TABLE search USING fts5(
            question, answer, content='search_text', content_rowid='number', tokenize='unicode61 remove_diacritics 2'
        )
        """
    ],
    "postgresql": [
        "CREATE TABLE search (number BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        "CREATE INDEX search_words ON search USING gin (words)",
    ],
}
INDEX_ALL = {
    "sqlite": "INSERT INTO search (rowid, question, answer) SELECT number, question, answer FROM search_text",
    "postgresql": (
        "INSERT INTO search (number, words) "
        "SELECT number, to_tsvector('simple', question || ' ' || answer) FROM search_text"
    ),
}
_DELETE = {
    "sqlite": (
        "INSERT INTO search (search, rowid, question, answer) "
        "SELECT 'delete', number, question, answer FROM search_text WHERE number IN :numbers"
    ),
    "postgresql": "DELETE FROM search WHERE number IN :numbers",
}
_WORD = re.compile(r"[^\W_]+")


def create_search(connection: Connection) -> None:
    """Makes the index, empty."""
    dialect = connection.dialect.name
    for statement in (_VIEW, *_CREATE[dialect]):
        connection.execute(text(statement))
    if dialect == "sqlite" and _version(connection) >= _SECURE_DELETE:
        connection.execute(text("INSERT INTO search (search, rank) VALUES ('secure-delete', 1)"))


async def add_to_search(connection: AsyncConnection, numbers: Sequence[int]) -> None:
    """Indexes items whose texts are there."""
    if numbers:
        statement = f"{INDEX_ALL[connection.dialect.name]} WHERE number IN :numbers"
        await connection.execute(_of(statement), {"numbers": numbers})


async def take_from_search(connection: AsyncConnection, numbers: Sequence[int]) -> None:
    """Forgets items, while their texts are still there."""
    if not numbers:
        return
    await connection.execute(_of(_DELETE[connection.dialect.name]), {"numbers": numbers})
    if connection.dialect.name == "sqlite" and await connection.run_sync(_version) < _SECURE_DELETE:
        await connection.execute(text("INSERT INTO search (search) VALUES ('optimize')"))


_search = table("search", column("rowid"), column("number"))


def found_by(dialect: str, asked: str) -> tuple[TableClause, ColumnElement[int], TextClause] | None:
    """Where the items that hold all words of `asked` are read from: a table, its numbers, and the condition.

    None when there is no word in `asked`.
    """
    words = _WORD.findall(asked)[:MAX_WORDS]
    if not words:
        return None
    if dialect == "sqlite":
        # In quotes a word is a word, never one of FTS5's own. FTS5 gives its rows in order, from wherever it is asked.
        match = text("search MATCH :words").bindparams(words=" ".join(f'"{word}"' for word in words))
        return _search, _search.c.rowid, match
    match = text("search.words @@ plainto_tsquery('simple', :words)").bindparams(words=" ".join(words))
    return _search, _search.c.number, match


def _of(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("numbers", expanding=True))


def _version(connection: Connection) -> tuple[int | str, ...]:
    return tuple(connection.dialect.server_version_info or ())
