"""Interactions with their texts and speakers, feedback, erasures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _interaction()
    _beside_interaction()
    _feedback()
    op.create_table(
        "erasure",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("platform", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("person_sha256", sa.String, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
    )


def _interaction() -> None:
    op.create_table(
        "interaction",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("turn_id", sa.String, primary_key=True),
        sa.Column("conversation", sa.String, nullable=False),
        sa.Column("platform", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("person_id", sa.String, nullable=False),
        sa.Column("person_name", sa.String, nullable=False),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.Column("accepted_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("first_token_ms", sa.Double),
        sa.Column("total_ms", sa.Double, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("finish_reason", sa.String, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("persona", sa.String, nullable=False),
        sa.Column("persona_version", sa.String, nullable=False),
        sa.Column("template_version", sa.String, nullable=False),
        sa.Column("prompt_hash", sa.String, nullable=False),
        sa.Column("temperature", sa.Double, nullable=False),
        sa.Column("top_p", sa.Double, nullable=False),
        sa.Column("max_tokens", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("tokens_exact", sa.Boolean, nullable=False),
        sa.Column("worker", sa.String, nullable=False),
    )
    op.create_index("interaction_turn", "interaction", ["turn_id"])
    op.create_index("interaction_conversation", "interaction", ["conversation", "sent_at"])
    op.create_index("interaction_person", "interaction", ["platform", "workspace", "person_id"])
    op.create_index("interaction_sent_at", "interaction", ["sent_at"], postgresql_using="brin")


def _beside_interaction() -> None:
    op.create_table(
        "interaction_text",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("turn_id", sa.String, primary_key=True),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("messages", sa.JSON, nullable=False),
    )
    op.create_table(
        "interaction_speaker",
        sa.Column("platform", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column("person_id", sa.String, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("turn_id", sa.String, primary_key=True),
    )
    op.create_index("interaction_speaker_turn", "interaction_speaker", ["turn_id"])


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("turn_id", sa.String, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("platform", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("person_id", sa.String, nullable=False),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("better", sa.Text, nullable=False),
        sa.Column("source", sa.String, nullable=False),
    )
    op.create_index("feedback_turn", "feedback", ["turn_id"])
    op.create_index("feedback_person", "feedback", ["platform", "workspace", "person_id"])
