"""The log's record of one interaction: who, where, when, what was sent, what came back, and how long it took."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from core.chat.message import Conversation, Outcome


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. `max_tokens` bounds the answer; the same seed repeats an answer on the same host."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message as the model sees it, and whose words it holds (person ids, for erasure)."""

    role: str
    content: str
    person_id: str = ""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One question and what became of it.

    Times ending in `_at` are Unix seconds, those ending in `_ms` are milliseconds counted from `accepted_at`, the
    moment the mailbox took the message. `first_token_ms` is None when no token came. `tokens_exact` is false where the
    counts are an upper bound because the host reported none. `trace` is the W3C `traceparent` of the answer, or "".
    `replaces` is the turn id of the answer whose place this one took, or "".
    """

    turn_id: str
    conversation: Conversation
    person_id: str
    person_name: str
    sent_at: float
    accepted_at: float
    started_at: float
    first_token_ms: float | None
    total_ms: float
    outcome: Outcome
    finish_reason: str
    error: str
    question: str
    messages: Sequence[PromptMessage]
    answer: str
    model: str
    model_version: str
    persona: str
    persona_version: str
    template_version: str
    sampling: Sampling
    prompt_tokens: int
    completion_tokens: int
    tokens_exact: bool
    worker: str
    trace: str = ""
    replaces: str = ""

    @property
    def day(self) -> date:
        """The UTC day of `sent_at`: part of the row's key, the same at each replay of the message."""
        return datetime.fromtimestamp(self.sent_at, UTC).date()

    @property
    def prompt_hash(self) -> str:
        """SHA-256 over the exact messages sent, hex."""
        sent = [[message.role, message.content] for message in self.messages]
        return hashlib.sha256(json.dumps(sent, ensure_ascii=False).encode()).hexdigest()
