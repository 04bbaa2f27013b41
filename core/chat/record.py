"""What is known of an answer while it is made, and the commit that it becomes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from core.chat.again import Replaced
from core.chat.interaction import Interaction, PromptMessage
from core.chat.kit import Answerer
from core.chat.message import Answered, Message, Outcome, Turn
from core.chat.ports import Commit, Finish, ModelInfo
from core.chat.prompt import TEMPLATE_VERSION, Prompt, spoken


@dataclass(slots=True)
class Outcomes:
    """What is known of an answer while it is made; becomes the log's interaction."""

    started_at: float
    info: ModelInfo | None = None
    prompt: Prompt | None = None
    text: str = ""
    first_token_at: float | None = None
    finish: Finish | None = None
    outcome: Outcome = Outcome.FAILED
    error: str = ""
    line: str = ""
    question_tokens: int = 0
    history_drop: int = 0
    messages: tuple[PromptMessage, ...] = field(default=())
    replaced: Replaced | None = None


def seed_of(turn_id: str) -> int:
    """The seed of a turn, 0 to 2**31 - 1: the same question delivered twice draws the same tokens."""
    return int.from_bytes(hashlib.sha256(turn_id.encode()).digest()[:4]) & 0x7FFF_FFFF


def commit_of(message: Message, kit: Answerer, state: Outcomes, posts: tuple[str, ...]) -> Commit:
    """The commit of an answer that came to its end; only what was said to a person joins the history."""
    interaction = _interaction(message, kit, state)
    text = state.text.strip()
    if state.replaced is not None:
        return _commit_in_place(message, state, interaction, posts, state.replaced)
    answered = _answered(message, posts)
    if not was_said(state):
        return Commit(message.id, drop=state.history_drop, interaction=interaction, posts=posts, answered=answered)
    asked = Turn(
        role="user",
        text=spoken(message.text, message.person, shared=message.shared),
        tokens=state.question_tokens,
        turn_id=message.id,
        at=message.sent_at,
        speaker=message.person.name,
        person_id=message.person.id,
    )
    replied = Turn("assistant", text, interaction.completion_tokens, message.id, kit.now())
    turns = (asked, replied)
    return Commit(message.id, turns, state.history_drop, interaction=interaction, posts=posts, answered=answered)


def was_said(state: Outcomes) -> bool:
    """Whether there is an answer, whole or stopped half way, that joins the history."""
    return state.outcome in (Outcome.ANSWERED, Outcome.STOPPED) and bool(state.text.strip())


def _commit_in_place(
    message: Message, state: Outcomes, interaction: Interaction, posts: tuple[str, ...], replaced: Replaced
) -> Commit:
    """The commit of another answer: it takes the place of the first, unless it failed. No turn is dropped for it."""
    if not was_said(state):
        return Commit(message.id, interaction=interaction)
    now = replace(
        replaced.answer,
        text=state.text.strip(),
        tokens=interaction.completion_tokens,
        at=interaction.accepted_at + interaction.total_ms / 1000,
        answer_id=message.id,
    )
    answered = _answered(message, posts)
    return Commit(message.id, (now,), interaction=interaction, posts=posts, answered=answered, place=replaced.place)


def _answered(message: Message, posts: tuple[str, ...]) -> Answered | None:
    """Which answer the posts show, for those who judge it, or want another."""
    if not posts:
        return None
    person = message.person
    return Answered(
        message.id,
        message.conversation,
        person.id,
        person.name,
        message.sent_at,
        posts,
        shared=message.shared,
        reply_to=message.reply_to,
    )


def withdrawal(message: Message, kit: Answerer, state: Outcomes) -> Commit:
    """The commit of a deleted question: a row without its text, and nothing in the history."""
    bare = Outcomes(started_at=state.started_at, info=state.info, outcome=Outcome.WITHDRAWN, error=state.error)
    interaction = _interaction(replace(message, text=""), kit, bare)
    return Commit(message.id, interaction=interaction, withdrawn=True)


def failure(message: Message, kit: Answerer, error: Exception, posts: tuple[str, ...]) -> Commit:
    """The commit of a message whose answering failed in a way that nobody foresaw; names the error's type only."""
    state = Outcomes(started_at=kit.now(), error=f"fault: {type(error).__name__}")
    return Commit(message.id, interaction=_interaction(message, kit, state), posts=posts)


def _interaction(message: Message, kit: Answerer, state: Outcomes) -> Interaction:
    info, finish = state.info, state.finish
    prompt_tokens, completion_tokens = _counts(state)
    first = state.first_token_at
    return Interaction(
        turn_id=message.id,
        conversation=message.conversation,
        person_id=message.person.id,
        person_name=message.person.name,
        sent_at=message.sent_at,
        accepted_at=message.accepted_at,
        started_at=state.started_at,
        first_token_ms=None if first is None else (first - message.accepted_at) * 1000,
        total_ms=(kit.now() - message.accepted_at) * 1000,
        outcome=state.outcome,
        finish_reason=finish.reason if finish else "",
        error=state.error,
        question=message.text,
        messages=state.messages,
        answer=state.text.strip(),
        model=info.id if info else "",
        model_version=info.version if info else "",
        persona=kit.persona.name,
        persona_version=kit.persona.version,
        template_version=TEMPLATE_VERSION,
        sampling=replace(kit.sampling, seed=seed_of(message.id)),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        tokens_exact=finish is not None and finish.completion_tokens is not None,
        worker=kit.worker,
        trace=message.trace,
        replaces=message.replaces,
    )


def _counts(state: Outcomes) -> tuple[int, int]:
    """Tokens of prompt and answer: what the host reported, else upper bounds (one token a byte at most)."""
    finish = state.finish
    prompt = state.prompt.tokens if state.prompt else 0
    answer_bytes = len(state.text.strip().encode())
    if finish is None:
        return prompt, answer_bytes
    return (
        prompt if finish.prompt_tokens is None else finish.prompt_tokens,
        answer_bytes if finish.completion_tokens is None else finish.completion_tokens,
    )
