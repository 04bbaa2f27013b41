"""The inbox: an item an interaction, its reviews and tags, the index over its words, saved views."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

from core.chat.message import Conversation, Outcome
from core.loop.inbox import LONG_CHARS, SLOW_MS, number_of
from core.loop.review import first_state, weight_of
from storage.search import INDEX_ALL, create_search

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BATCH = 5000
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _items()
    _beside_items()
    _reviews()
    create_search(op.get_bind())
    _take_in()


def _items() -> None:
    names = ("turn_id", "platform", "workspace", "channel", "person_id", "model_version", "outcome")
    op.create_table(
        "review_item",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("day", sa.Date, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in names),
        sa.Column("slow", sa.Boolean, nullable=False),
        sa.Column("long", sa.Boolean, nullable=False),
        sa.Column("opinion", sa.String, nullable=False),
        sa.Column("regenerated", sa.Boolean, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("sign", sa.SmallInteger, nullable=False),
        sa.Column("weight", sa.SmallInteger, nullable=False),
        sa.Column("claimed_by", sa.String, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("row_version", sa.Integer, nullable=False),
    )
    op.create_index("review_item_turn", "review_item", ["turn_id"], unique=True)
    op.create_index("review_item_weight", "review_item", ["weight", "number"])
    leading = {"platform": "platform", "workspace": "workspace", "channel": "channel", "person": "person_id"}
    for name, column in {**leading, "version": "model_version", "outcome": "outcome", "opinion": "opinion"}.items():
        op.create_index(f"review_item_{name}", "review_item", [column, "weight", "number"])
    op.create_index("review_item_state", "review_item", ["state", "number"])
    for name in ("slow", "long"):
        only = sa.text(name)
        columns = ["weight", "number"]
        op.create_index(f"review_item_{name}", "review_item", columns, sqlite_where=only, postgresql_where=only)


def _beside_items() -> None:
    op.create_table(
        "second_review",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("first_reviewer", sa.String, nullable=False),
        sa.Column("claimed_by", sa.String, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
    )
    op.create_index("second_review_done", "second_review", ["done", "number"])
    op.create_table(
        "review_tag",
        sa.Column("tag", sa.String, primary_key=True),
        sa.Column("number", _NUMBER, primary_key=True),
    )
    op.create_index("review_tag_number", "review_tag", ["number"])
    op.create_table(
        "saved_view",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("filter", sa.JSON, nullable=False),
        sa.Column("by_weight", sa.Boolean, nullable=False),
    )
    salt = op.create_table(
        "salt",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.bulk_insert(salt, [{"name": "second_review", "value": secrets.token_hex(32)}])


def _reviews() -> None:
    op.create_table(
        "review",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("turn_id", sa.String, nullable=False),
        sa.Column("reviewer", sa.String, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("ms_spent", sa.BigInteger, nullable=False),
        sa.Column("blind", sa.Boolean, nullable=False),
        sa.Column("undone", sa.Boolean, nullable=False),
    )
    op.create_index("review_number", "review", ["number"])
    op.create_index("review_reviewer", "review", ["reviewer", "at"])


# ── the interactions that are there already ─────────────────────────────────────────────────────────────────────────


def _take_in() -> None:
    connection = op.get_bind()
    meta = sa.MetaData()
    logged = sa.Table("interaction", meta, autoload_with=connection)
    texts = sa.Table("interaction_text", meta, autoload_with=connection)
    items = sa.Table("review_item", meta, autoload_with=connection)
    same = sa.and_(logged.c.day == texts.c.day, logged.c.turn_id == texts.c.turn_id)
    query = sa.select(logged, sa.func.length(texts.c.answer).label("chars")).join(texts, same)
    taken: set[int] = set()
    rows = connection.execute(query.execution_options(yield_per=_BATCH))
    for batch in rows.mappings().partitions():
        connection.execute(items.insert(), [_item(row, taken) for row in batch])
    connection.execute(sa.text(INDEX_ALL[connection.dialect.name]))


def _item(row: sa.RowMapping, taken: set[int]) -> dict[str, Any]:
    number = number_of(row["turn_id"], row["sent_at"])
    while number in taken:
        number += 1
    taken.add(number)
    weight = weight_of(row["turn_id"], Outcome(row["outcome"]))
    same = ("day", "turn_id", "platform", "workspace", "person_id", "model_version", "outcome")
    return {
        **{name: row[name] for name in same},
        "number": number,
        "channel": Conversation.parse(row["conversation"]).channel,
        "slow": row["total_ms"] >= SLOW_MS,
        "long": row["chars"] >= LONG_CHARS,
        "opinion": "",  # no version before this one took feedback
        "regenerated": False,
        "state": first_state(weight).value,
        "sign": weight,
        "weight": weight,
        "claimed_by": "",
        "lease_until": 0.0,
        "row_version": 0,
    }
