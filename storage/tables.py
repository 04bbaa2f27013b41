"""The tables of the ledger. Every change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

# One row a turn. The day leads the key, so that PostgreSQL may one day partition by it without another key.
interaction = Table(
    "interaction",
    metadata,
    Column("day", Date, primary_key=True),
    Column("turn_id", String, primary_key=True),
    Column("conversation", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("person_id", String, nullable=False),
    Column("person_name", String, nullable=False),
    Column("sent_at", Double, nullable=False),
    Column("accepted_at", Double, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("first_token_ms", Double),
    Column("total_ms", Double, nullable=False),
    Column("outcome", String, nullable=False),
    Column("finish_reason", String, nullable=False),
    Column("error", Text, nullable=False),
    Column("model", String, nullable=False),
    Column("model_version", String, nullable=False),
    Column("persona", String, nullable=False),
    Column("persona_version", String, nullable=False),
    Column("template_version", String, nullable=False),
    Column("prompt_hash", String, nullable=False),
    Column("temperature", Double, nullable=False),
    Column("top_p", Double, nullable=False),
    Column("max_tokens", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("tokens_exact", Boolean, nullable=False),
    Column("worker", String, nullable=False),
    Column("replaces", String, nullable=False, server_default=""),
    Index("interaction_turn", "turn_id"),
    Index("interaction_conversation", "conversation", "sent_at"),
    Index("interaction_person", "platform", "workspace", "person_id"),
    # Rows come in the order of time, so a few bytes a page find a span of it. Other databases make a plain index.
    Index("interaction_sent_at", "sent_at", postgresql_using="brin"),
)

# Long text lies apart: the console lists and counts rows without reading it.
interaction_text = Table(
    "interaction_text",
    metadata,
    Column("day", Date, primary_key=True),
    Column("turn_id", String, primary_key=True),
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("messages", JSON, nullable=False),
)

# Everyone whose words stand in a prompt, so that erasure finds them in other people's rows.
interaction_speaker = Table(
    "interaction_speaker",
    metadata,
    Column("platform", String, primary_key=True),
    Column("workspace", String, primary_key=True),
    Column("person_id", String, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("turn_id", String, primary_key=True),
    Index("interaction_speaker_turn", "turn_id"),
)

# Append-only, the last one counts. No foreign key: a thumb may overtake the row of its turn on the way here.
feedback = Table(
    "feedback",
    metadata,
    Column("day", Date, primary_key=True),
    Column("turn_id", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("at", Double, nullable=False),
    Column("platform", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("conversation", String, nullable=False),
    Column("person_id", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("note", Text, nullable=False),
    Column("better", Text, nullable=False),
    Column("source", String, nullable=False),
    Column("sent_at", Double, nullable=False),
    Index("feedback_turn", "turn_id"),
    Index("feedback_person", "platform", "workspace", "person_id"),
)

# That somebody was erased, without saying who: the id is kept as its SHA-256 only.
erasure = Table(
    "erasure",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", Double, nullable=False),
    Column("platform", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("person_sha256", String, nullable=False),
    Column("rows", Integer, nullable=False),
)

# ── the console ─────────────────────────────────────────────────────────────────────────────────────────────────────

# `key` is the name without case and width. Accounts are disabled, never deleted: the audit trail names them.
account = Table(
    "account",
    metadata,
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("password_hash", String, nullable=False),  # "" where there is none
    Column("created_at", Double, nullable=False),
    Index("account_key", "key", unique=True),
)

# A login at an OIDC provider and the account that it opens.
account_identity = Table(
    "account_identity",
    metadata,
    Column("issuer", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("account_id", String, ForeignKey("account.id"), nullable=False),
    Index("account_identity_account", "account_id"),
)

# Of sessions, tokens and links only hashes are kept: whoever reads the database cannot enter with what they find.
console_session = Table(
    "console_session",
    metadata,
    Column("id", String, primary_key=True),
    Column("token_hash", String, nullable=False),
    Column("account_id", String, ForeignKey("account.id"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("address", String, nullable=False),
    Column("agent", String, nullable=False),
    Index("console_session_token", "token_hash", unique=True),
    Index("console_session_account", "account_id"),
    Index("console_session_expires", "expires_at"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("id", String, primary_key=True),
    Column("token_hash", String, nullable=False),
    Column("account_id", String, ForeignKey("account.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double),
    Column("expires_at", Double, nullable=False),
    Index("api_token_token", "token_hash", unique=True),
    Index("api_token_account", "account_id"),
)

one_time_link = Table(
    "one_time_link",
    metadata,
    Column("id", String, primary_key=True),
    Column("token_hash", String, nullable=False),
    Column("role", String, nullable=False),
    Column("account_id", String, ForeignKey("account.id")),
    Column("made_by", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("first", Boolean, nullable=False),
    Index("one_time_link_token", "token_hash", unique=True),
)

# Tries at a password, by what they are counted under (hashed), and the browsers that have signed in before.
login_throttle = Table(
    "login_throttle",
    metadata,
    Column("name", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", Double, nullable=False),
    Index("login_throttle_last", "last_at"),
)

# The hash chain of core.loop.audit. Triggers refuse to change or delete a row.
audit_event = Table(
    "audit_event",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("details", Text, nullable=False),
    Column("prev", String, nullable=False),
    Column("hash", String, nullable=False),
    Index("audit_event_actor", "actor", "seq"),
    Index("audit_event_action", "action", "seq"),
    Index("audit_event_subject", "subject", "seq"),
)

# ── review ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# SQLite pages by its row number only where the key is spelled INTEGER.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

# What the inbox shows of an interaction, without its texts; `number` is core.loop.inbox.number_of. `sign` is what there
# is to learn, `weight` the same while the item waits and 0 from then on: each index leads to a filter's items by
# weight and time at once. The words of question and answer are found through `search` (storage/search.py).
review_item = Table(
    "review_item",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    Column("day", Date, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("person_id", String, nullable=False),
    Column("model_version", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("slow", Boolean, nullable=False),
    Column("long", Boolean, nullable=False),
    Column("opinion", String, nullable=False),
    Column("regenerated", Boolean, nullable=False),
    Column("state", String, nullable=False),
    Column("sign", SmallInteger, nullable=False),
    Column("weight", SmallInteger, nullable=False),
    Column("claimed_by", String, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("row_version", Integer, nullable=False),
    Index("review_item_turn", "turn_id", unique=True),
    Index("review_item_weight", "weight", "number"),
    Index("review_item_platform", "platform", "weight", "number"),
    Index("review_item_workspace", "workspace", "weight", "number"),
    Index("review_item_channel", "channel", "weight", "number"),
    Index("review_item_person", "person_id", "weight", "number"),
    Index("review_item_version", "model_version", "weight", "number"),
    Index("review_item_outcome", "outcome", "weight", "number"),
    Index("review_item_opinion", "opinion", "weight", "number"),
    Index("review_item_state", "state", "number"),
    Index("review_item_slow", "weight", "number", sqlite_where=text("slow"), postgresql_where=text("slow")),
    Index("review_item_long", "weight", "number", sqlite_where=text("long"), postgresql_where=text("long")),
)

# A verdict, in the order in which they were given. `blind` marks the second one on an item.
review = Table(
    "review",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", _NUMBER, nullable=False),
    Column("turn_id", String, nullable=False),
    Column("reviewer", String, nullable=False),
    Column("at", Double, nullable=False),
    Column("verdict", String, nullable=False),
    Column("answer", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("ms_spent", BigInteger, nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("undone", Boolean, nullable=False),
    Index("review_number", "number"),
    Index("review_reviewer", "reviewer", "at"),
)

second_review = Table(
    "second_review",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    Column("first_reviewer", String, nullable=False),
    Column("claimed_by", String, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("done", Boolean, nullable=False),
    Index("second_review_done", "done", "number"),
)

review_tag = Table(
    "review_tag",
    metadata,
    Column("tag", String, primary_key=True),
    Column("number", _NUMBER, primary_key=True),
    Index("review_tag_number", "number"),
)

saved_view = Table(
    "saved_view",
    metadata,
    Column("owner", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("filter", JSON, nullable=False),
    Column("by_weight", Boolean, nullable=False),
)

# Random bytes in hex, made once with the tables: what is drawn with them cannot be foretold from outside.
salt = Table(
    "salt",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
