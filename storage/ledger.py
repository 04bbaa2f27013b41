"""The ledger in SQL: writes interactions in batches, reads them back, forgets people."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, and_, delete, insert, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.chat.interaction import Interaction, PromptMessage, Sampling
from core.chat.message import Conversation, Outcome
from core.loop.feedback import Feedback
from storage.engine import WRITES, in_our_words
from storage.review_items import SAME_FEEDBACK, add_items, erase_items, feedback_of, weigh_items
from storage.tables import erasure, feedback, interaction, interaction_speaker, interaction_text, review_item

ERASED = "[erased]"
# PostgreSQL takes no NUL, and neither database takes half of a surrogate pair.
_NUL = re.compile("\x00")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class SqlLedger:
    """Ledger of `core.chat.ports`, on the tables that `storage.migrate` made. Raises StoreUnavailable."""

    add_items = staticmethod(add_items)

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**WRITES)

    async def aclose(self) -> None:
        """Closes the engine's connections."""
        await self._engine.dispose()

    async def check(self) -> str:
        """Returns "" when the database answers. Raises StoreUnavailable."""
        with in_our_words():
            async with self._engine.connect() as connection:
                await connection.execute(select(interaction.c.turn_id).limit(1))
        return ""

    async def record(self, interactions: Sequence[Interaction]) -> None:
        """See `Ledger.record`. NUL is dropped from texts, half a surrogate pair becomes U+FFFD.

        Raises:
            LedgerRefused: a row cannot be stored as it is; nothing was written.
        """
        if not interactions:
            return
        cleaned = [_clean(each) for each in interactions]
        # Two writers with the same rows wait for each other in one order only.
        cleaned.sort(key=lambda each: (each.day, each.turn_id))
        with in_our_words():
            async with self._writer.begin() as connection:
                await _add(connection, interaction, [row_of(each) for each in cleaned])
                await _add(connection, interaction_text, [text_row_of(each) for each in cleaned])
                await _add(connection, interaction_speaker, [row for each in cleaned for row in _speaker_rows(each)])
                await self.add_items(connection, cleaned)

    async def record_feedback(self, said: Sequence[Feedback]) -> None:
        """See `Ledger.record_feedback`; texts are cleaned as in `record`."""
        if not said:
            return
        rows = [_feedback_row(_clean(each)) for each in said]
        rows.sort(key=lambda row: (row["day"], row["turn_id"], row["id"]))
        with in_our_words():
            async with self._writer.begin() as connection:
                await _add(connection, feedback, rows)
                await weigh_items(connection, [row["turn_id"] for row in rows])

    async def feedback_on(self, turn_id: str) -> list[Feedback]:
        """See `Ledger.feedback_on`."""
        query = select(feedback).where(feedback.c.turn_id == _clean_text(turn_id)).order_by(feedback.c.at)
        with in_our_words():
            async with self._engine.connect() as connection:
                return [feedback_of(row) for row in await connection.execute(query)]

    async def find(self, turn_id: str) -> Interaction | None:
        """See `Ledger.find`."""
        found = await self._read(_whole().where(interaction.c.turn_id == _clean_text(turn_id)).limit(1))
        return found[0] if found else None

    async def of_conversation(self, conversation: Conversation, limit: int) -> list[Interaction]:
        """See `Ledger.of_conversation`."""
        here = interaction.c.conversation == _clean_text(str(conversation))
        return await self._read(_whole().where(here).order_by(interaction.c.sent_at.desc()).limit(limit))

    async def erase_person(self, platform: str, workspace: str, person_id: str) -> int:
        """See `Ledger.erase_person`; counts interactions that were removed or changed, and notes the erasure.

        Hashes and counts of the prompts that held their words stay as they were.
        """
        person = (_clean_text(platform), _clean_text(workspace), _clean_text(person_id))
        if not person_id:
            return 0  # the bot's own words carry no id
        with in_our_words():
            async with self._writer.begin() as connection:
                removed = await _remove_own(connection, person)
                touched = removed + await _blank_in_prompts(connection, person)
                sha256 = hashlib.sha256(person[2].encode()).hexdigest()
                note = {"platform": person[0], "workspace": person[1], "person_sha256": sha256, "rows": touched}
                await connection.execute(insert(erasure).values(id=uuid.uuid4().hex, at=time.time(), **note))
        return touched

    async def _read(self, query: Select[Any]) -> list[Interaction]:
        with in_our_words():
            async with self._engine.connect() as connection:
                return [_interaction(row) for row in await connection.execute(query)]


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def row_of(item: Interaction) -> dict[str, Any]:
    """The columns of an interaction's row."""
    same = {name: getattr(item, name) for name in _SAME}
    return {
        **same,
        "day": item.day,
        "conversation": str(item.conversation),
        "platform": item.conversation.platform,
        "workspace": item.conversation.workspace,
        "outcome": item.outcome.value,
        "prompt_hash": item.prompt_hash,
        **asdict(item.sampling),
    }


# The columns that are fields of Interaction, unchanged.
_SAME = [c.name for c in interaction.c if c.name in Interaction.__dataclass_fields__ and c.name != "conversation"]


def text_row_of(item: Interaction) -> dict[str, Any]:
    """The columns of the row of its texts."""
    messages = [{"role": said.role, "content": said.content, "person_id": said.person_id} for said in item.messages]
    key = {"day": item.day, "turn_id": item.turn_id}
    return {**key, "question": item.question, "answer": item.answer, "messages": messages}


def _speaker_rows(item: Interaction) -> list[dict[str, Any]]:
    where = {"platform": item.conversation.platform, "workspace": item.conversation.workspace}
    people = {item.person_id, *(message.person_id for message in item.messages)} - {""}
    return [{**where, "person_id": person, "day": item.day, "turn_id": item.turn_id} for person in sorted(people)]


def _feedback_row(said: Feedback) -> dict[str, Any]:
    same = {name: getattr(said, name) for name in SAME_FEEDBACK}
    where = {"platform": said.conversation.platform, "workspace": said.conversation.workspace}
    return {**same, **where, "conversation": str(said.conversation), "day": said.day}


def _whole() -> Select[Any]:
    texts = [interaction_text.c.question, interaction_text.c.answer, interaction_text.c.messages]
    same_turn = and_(interaction.c.day == interaction_text.c.day, interaction.c.turn_id == interaction_text.c.turn_id)
    return select(interaction, *texts).join(interaction_text, same_turn)


def _interaction(row: Row[Any]) -> Interaction:
    found = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's public name for it
    fields = {name: found[name] for name in (*_SAME, "question", "answer")}
    fields["outcome"] = Outcome(found["outcome"])
    return Interaction(
        conversation=Conversation.parse(found["conversation"]),
        messages=tuple(PromptMessage(**message) for message in found["messages"]),
        sampling=Sampling(**{name: found[name] for name in Sampling.__dataclass_fields__}),
        **fields,
    )


def _clean(item: Any) -> Any:
    """`item` with every text in it as both databases can hold it."""
    if isinstance(item, str):
        return type(item)(_clean_text(item))
    if isinstance(item, list | tuple):
        return tuple(_clean(each) for each in item)
    if hasattr(item, "__dataclass_fields__"):
        return type(item)(**{name: _clean(getattr(item, name)) for name in item.__dataclass_fields__})
    return item


def _clean_text(text: str) -> str:
    return _LONE_SURROGATE.sub("�", _NUL.sub("", text))


# ── statements ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def _add(connection: AsyncConnection, table: Table, rows: list[dict[str, Any]]) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    await connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


async def _remove_own(connection: AsyncConnection, person: tuple[str, str, str]) -> int:
    own = select(interaction.c.turn_id).where(_by(interaction, person))
    await erase_items(connection, _by(review_item, person))
    for table in (interaction_text, interaction_speaker, feedback):
        await connection.execute(delete(table).where(table.c.turn_id.in_(own)))
    await connection.execute(delete(feedback).where(_by(feedback, person)))
    removed = await connection.execute(delete(interaction).where(_by(interaction, person)))
    return removed.rowcount


async def _blank_in_prompts(connection: AsyncConnection, person: tuple[str, str, str]) -> int:
    spoken = select(interaction_speaker.c.day, interaction_speaker.c.turn_id).where(_by(interaction_speaker, person))
    keys = (interaction_text.c.day, interaction_text.c.turn_id)
    texts = await connection.execute(select(*keys, interaction_text.c.messages).where(tuple_(*keys).in_(spoken)))
    changed = texts.all()
    for day, turn_id, messages in changed:
        kept = [
            {**each, "content": ERASED, "person_id": ""} if each["person_id"] == person[2] else each
            for each in messages
        ]
        here = and_(interaction_text.c.day == day, interaction_text.c.turn_id == turn_id)
        await connection.execute(update(interaction_text).where(here).values(messages=kept))
    await connection.execute(delete(interaction_speaker).where(_by(interaction_speaker, person)))
    return len(changed)


def _by(table: Table, person: tuple[str, str, str]) -> ColumnElement[bool]:
    return and_(table.c.platform == person[0], table.c.workspace == person[1], table.c.person_id == person[2])
