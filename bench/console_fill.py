"""Fills a database with what a company would have asked in a year: the same interactions each time."""

from __future__ import annotations

import json
import math
import random
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncEngine

from core.chat.interaction import Interaction, PromptMessage, Sampling
from core.chat.message import Conversation, Outcome
from core.loop.review import WAITING, Opinion, State, Verdict, first_state, weight_of
from storage.ledger import row_of, text_row_of
from storage.review_items import item_row_of
from storage.search import INDEX_ALL
from storage.tables import interaction, interaction_text, review_item, review_tag

BEGIN = 1_750_000_000.0
YEAR_S = 365 * 86_400.0
VERSIONS = [f"v{number}" for number in range(1, 7)]
TAGS = ("wrong fact", "tone", "too long", "outdated", "policy")
WORDS = [f"{a}{b}{c}" for a in ("ba", "ko", "mi", "ru", "se") for b in "aeiou" for c in range(800)]
_SAMPLING = Sampling(0.3, 0.9, 512, 0)
_BATCH = 20_000


class World:
    """Who speaks, where, of what; `seed` decides all of it. Few are spoken to often, most seldom."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def rank(self, count: int) -> int:
        """A number below `count`, each one less often than the ones before."""
        return int(count ** self._random.random()) - 1 if count > 1 else 0

    def words(self, count: int) -> str:
        """So many words; the first ones of all are the common ones."""
        return " ".join(WORDS[self.rank(len(WORDS))] for _ in range(count))

    def interaction(self, number: int, at: float) -> Interaction:
        """The interaction `number`, at that moment."""
        draw = self._random.random
        platform = self._random.choices(("slack", "discord", "web", "terminal"), (60, 25, 14, 1))[0]
        workspace = f"{platform[0].upper()}{self.rank(20)}"
        place = Conversation(platform, workspace, f"{workspace}-C{self.rank(500)}", str(number // 4))
        person = f"{workspace}-U{self.rank(5000)}"
        outcome = self._random.choices(list(Outcome), (950, 30, 12, 5, 3))[0]
        asked = self.words(12)
        return Interaction(
            turn_id=place.message_id(str(number)),
            conversation=place,
            person_id=person,
            person_name=f"Person {person}",
            sent_at=at,
            accepted_at=at,
            started_at=at,
            first_token_ms=400.0,
            total_ms=-3000.0 * math.log(1 - draw()),
            outcome=outcome,
            finish_reason="stop",
            error="",
            question=asked,
            messages=(PromptMessage("system", "Be brief."), PromptMessage("user", asked, person)),
            answer=self.words(300 if draw() < 0.01 else 40),
            model="model",
            model_version=VERSIONS[min(5, int(6 * (at - BEGIN) / YEAR_S))],
            persona="default",
            persona_version="1",
            template_version="1",
            sampling=_SAMPLING,
            prompt_tokens=100,
            completion_tokens=50,
            tokens_exact=True,
            worker="w",
        )

    def item(self, told: Interaction) -> dict[str, Any]:
        """Its item, as people and reviewers have left it."""
        opinions = (Opinion.NONE, Opinion.HELPFUL, Opinion.REGENERATED, Opinion.NOT_HELPFUL)
        opinion = self._random.choices(opinions, (91, 5, 1, 3))[0]
        sign = weight_of(told.turn_id, told.outcome, opinion)
        state = first_state(sign)
        if self._random.random() < 0.02:
            state = State(self._random.choices(list(Verdict), (50, 25, 10, 10, 5))[0].value)
        weight = sign.value if state in WAITING else 0
        judged = {"opinion": opinion.value, "sign": sign.value, "weight": weight, "state": state.value}
        return {**item_row_of(told), **judged, "regenerated": opinion is Opinion.REGENERATED}

    def tag(self) -> str:
        """A tag for one in a hundred, else ""."""
        return TAGS[self.rank(len(TAGS))] if self._random.random() < 0.01 else ""

    def batches(self, count: int) -> Iterator[dict[Table, list[dict[str, Any]]]]:
        """The rows of each table."""
        for start in range(0, count, _BATCH):
            rows: dict[Table, list[dict[str, Any]]] = {}
            for number in range(start, min(count, start + _BATCH)):
                told = self.interaction(number, BEGIN + YEAR_S * number / count)
                item = self.item(told)
                texts = text_row_of(told)
                rows.setdefault(interaction, []).append(row_of(told))
                rows.setdefault(interaction_text, []).append({**texts, "messages": json.dumps(texts["messages"])})
                rows.setdefault(review_item, []).append(item)
                if tag := self.tag():
                    rows.setdefault(review_tag, []).append({"tag": tag, "number": item["number"]})
            yield rows


async def fill(engine: AsyncEngine, url: str, count: int) -> None:
    """Writes `count` interactions past the ledger, in bulk, and lets the database look at what it has."""
    write = _into_sqlite if engine.dialect.name == "sqlite" else _into_postgres
    for number, rows in enumerate(World().batches(count), 1):
        write(url, rows)
        if number % 10 == 0:
            print(f"  {min(count, number * _BATCH):,} filled", flush=True)
    async with engine.begin() as connection:
        await connection.execute(text(INDEX_ALL[engine.dialect.name]))
    if engine.dialect.name != "sqlite":
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(text("VACUUM ANALYZE"))


def _into_sqlite(url: str, rows: dict[Table, list[dict[str, Any]]]) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        for table, new in rows.items():
            names = list(new[0])
            marks = ", ".join("?" * len(names))
            statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"
            connection.executemany(statement, _values(new, as_text=True))
        connection.commit()
    finally:
        connection.close()


def _into_postgres(url: str, rows: dict[Table, list[dict[str, Any]]]) -> None:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for table, new in rows.items():
            statement = f"COPY {table.name} ({', '.join(new[0])}) FROM STDIN"
            with cursor.copy(statement.encode()) as copy:
                for values in _values(new, as_text=False):
                    copy.write_row(values)


def _values(rows: Sequence[dict[str, Any]], *, as_text: bool) -> Iterator[list[Any]]:
    for row in rows:
        yield [value.isoformat() if as_text and hasattr(value, "isoformat") else value for value in row.values()]
