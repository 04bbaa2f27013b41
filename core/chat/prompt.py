"""Builds the prompt: persona, history within a budget of tokens, speaker labels, the question. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex

from core.chat.interaction import PromptMessage
from core.chat.message import Message, Person, Turn
from core.chat.ports import ModelInfo

TEMPLATE_VERSION = "1"

# Over budget, history is cut to this share of it: dropping one turn at a time would break the prefix cache each time.
KEPT_SHARE = 0.6
_MAX_LABEL_CHARS = 40
_UNLABELLED = regex.compile(r"[\p{C}\p{Z}:]+")


@dataclass(frozen=True, slots=True)
class Budget:
    """Room for a prompt, in tokens: the context less what the answer may take; overheads as in `ModelInfo`."""

    prompt_tokens: int
    message_overhead_tokens: int
    prompt_overhead_tokens: int

    @classmethod
    def of(cls, info: ModelInfo, answer_tokens: int) -> Budget:
        """The budget that leaves `answer_tokens` of the context to the answer."""
        room = info.context_tokens - answer_tokens
        return cls(room, info.message_overhead_tokens, info.prompt_overhead_tokens)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to the model. `dropped` is how many of the oldest turns no longer fit, `tokens` an estimate."""

    messages: tuple[PromptMessage, ...]
    dropped: int
    tokens: int


@dataclass(frozen=True, slots=True)
class TooLong:
    """The question alone is over the budget: `tokens` of it, where `room` are left."""

    tokens: int
    room: int


def spoken(text: str, person: Person, *, shared: bool) -> str:
    """`text` as the model reads it: with its speaker's label where several people speak."""
    return f"{label(person)}: {text}" if shared else text


def label(person: Person) -> str:
    """The speaker's name on one line, without the colon that ends a label; the id when nothing is left of the name."""
    clean = _UNLABELLED.sub(" ", person.name).strip()[:_MAX_LABEL_CHARS].strip()
    return clean or person.id


def build_prompt(
    system_text: str,
    system_tokens: int,
    history: Sequence[Turn],
    question: Message,
    question_tokens: int,
    budget: Budget,
) -> Prompt | TooLong:
    """The prompt for `question`, whose text with its label has `question_tokens` tokens."""
    fixed = budget.prompt_overhead_tokens + system_tokens + budget.message_overhead_tokens
    room = budget.prompt_tokens - fixed
    asked = question_tokens + budget.message_overhead_tokens
    if asked > room:
        return TooLong(question_tokens, max(0, room - budget.message_overhead_tokens))
    costs = [turn.tokens + budget.message_overhead_tokens for turn in history]
    dropped = _turns_to_drop(history, costs, room - asked)
    kept = [PromptMessage(turn.role, turn.text, turn.person_id) for turn in history[dropped:]]
    text = spoken(question.text, question.person, shared=question.shared)
    messages = (
        PromptMessage("system", system_text),
        *kept,
        PromptMessage("user", text, question.person.id),
    )
    return Prompt(messages, dropped, fixed + asked + sum(costs[dropped:]))


def _turns_to_drop(history: Sequence[Turn], costs: Sequence[int], room: int) -> int:
    total = sum(costs)
    if total <= room:
        return 0
    goal = int(room * KEPT_SHARE)
    dropped = 0
    while dropped < len(history) and (total > goal or history[dropped].role != "user"):
        total -= costs[dropped]
        dropped += 1
    return dropped
