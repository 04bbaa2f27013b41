"""Feedback with a verdict and a closed reason, keyed by its turn; answers that took the place of others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # No version wrote the first table, so there is nothing to carry over.
    op.drop_table("feedback")
    op.create_table(
        "feedback",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("turn_id", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("platform", sa.String, nullable=False),
        sa.Column("workspace", sa.String, nullable=False),
        sa.Column("conversation", sa.String, nullable=False),
        sa.Column("person_id", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("better", sa.Text, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("sent_at", sa.Double, nullable=False),
    )
    op.create_index("feedback_turn", "feedback", ["turn_id"])
    op.create_index("feedback_person", "feedback", ["platform", "workspace", "person_id"])
    # The default is for log writers of the version before, which go on for a while beside this one.
    op.add_column("interaction", sa.Column("replaces", sa.String, nullable=False, server_default=""))
