"""Answers one message: prompt, stream, delivery; returns the commit that makes it part of the conversation."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal

import structlog

from core.chat import lines
from core.chat.delivery import Delivery
from core.chat.errors import (
    AnswerBroken,
    DeliveryFailed,
    HostError,
    HostRefused,
    HostUnavailable,
    ParleyError,
    PromptTooLong,
)
from core.chat.interaction import Interaction, PromptMessage, Sampling
from core.chat.message import Message, Outcome, Turn
from core.chat.persona import Persona
from core.chat.ports import Commit, Courier, Finish, Mail, ModelHost, ModelInfo
from core.chat.prompt import TEMPLATE_VERSION, Budget, Prompt, TooLong, build_prompt, spoken

_log = structlog.get_logger(__name__)

Reason = Literal["stop", "fenced", "drain"]


class Interrupted(ParleyError):
    """The answer was given up half way and must not be committed here: fenced, or the drain's time is over."""


class Halt:
    """Tells an answer under way to end, and why. The first reason counts."""

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self._asked = asyncio.Event()

    def ask(self, reason: Reason) -> None:
        """Ends the answer as soon as possible."""
        if self.reason is None:
            self.reason = reason
            self._asked.set()

    async def wait(self) -> None:
        """Returns once an end was asked for."""
        await self._asked.wait()


@dataclass(frozen=True, slots=True)
class Answerer:
    """All that an answer needs, put together once. `sampling.seed` is replaced by one that the turn id gives."""

    host: ModelHost
    couriers: Mapping[str, Courier]
    persona: Persona
    sampling: Sampling
    worker: str
    now: Callable[[], float] = time.time


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
    posts: tuple[str, ...] = ()
    messages: tuple[PromptMessage, ...] = field(default=())


def seed_of(turn_id: str) -> int:
    """The seed of a turn, 0 to 2**31 - 1: the same question delivered twice draws the same tokens."""
    return int.from_bytes(hashlib.sha256(turn_id.encode()).digest()[:4]) & 0x7FFF_FFFF


async def answer(mail: Mail, kit: Answerer, halt: Halt, intend: Callable[[], Awaitable[None]]) -> Commit:
    """Answers the first waiting message where people see it.

    Raises:
        Interrupted: `halt` asked for an end that leaves the message to another worker.
        Fenced, StoreUnavailable: from `intend`, before anything was visible.
    """
    message = mail.message
    courier = kit.couriers[message.conversation.platform]
    delivery = Delivery(courier.draft(message, resumed=mail.intended), intend)
    delivery.start()
    if message.kind == "reset":
        posts, _ = await _close(delivery, lines.RESET, Outcome.ANSWERED)
        return Commit(message.id, clear=True, posts=posts)
    if mail.stop_requested:
        halt.ask("stop")
    state = Outcomes(started_at=kit.now())
    try:
        await _generate(mail, kit, halt, delivery, state)
    except BaseException:
        await delivery.abandon()
        raise
    state.posts, failure = await _close(delivery, _final_text(state), state.outcome)
    if failure:
        state.outcome, state.error = Outcome.FAILED, failure
    return await _commit(message, kit, state)


async def _generate(mail: Mail, kit: Answerer, halt: Halt, delivery: Delivery, state: Outcomes) -> None:
    """Fills `state`; every failure of the host ends in an outcome and a line for the person."""
    try:
        await _until_halt(lambda: _answer_with_room(mail, kit, delivery, state), halt)
    except PromptTooLong as error:
        _fail(state, error, Outcome.REFUSED, _too_long(state, error))
    except HostUnavailable as error:
        _fail(state, error, Outcome.FAILED, lines.BROKE_OFF if state.text else lines.HOST_AWAY)
    except HostRefused as error:
        _fail(state, error, Outcome.FAILED, lines.HOST_REFUSED)
    except AnswerBroken as error:
        _fail(state, error, Outcome.FAILED, lines.BROKE_OFF if state.text else lines.HOST_AWAY)
    if halt.reason in ("fenced", "drain"):
        raise Interrupted(f"The answer was interrupted: {halt.reason}.")
    if halt.reason == "stop" and state.finish is None:
        state.outcome, state.line = Outcome.STOPPED, lines.STOPPED


def failure(message: Message, kit: Answerer, error: Exception) -> Commit:
    """The commit of a message whose answering failed in a way that nobody foresaw; names the error's type only."""
    state = Outcomes(started_at=kit.now(), error=f"fault: {type(error).__name__}")
    return Commit(message.id, interaction=_interaction(message, kit, state))


def _fail(state: Outcomes, error: HostError, outcome: Outcome, line: str) -> None:
    state.outcome, state.error, state.line = outcome, f"{type(error).__name__}: {error}", line
    _log.warning("host_failed", error=state.error)


async def _until_halt(work: Callable[[], Coroutine[None, None, None]], halt: Halt) -> None:
    """Runs `work`, cancelling it when an end is asked for. Only the model host is called inside, never Redis."""
    if halt.reason is not None:
        return
    working = asyncio.create_task(work())
    waiting = asyncio.ensure_future(halt.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not working.done():
            working.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
    if not working.cancelled():
        working.result()


async def _answer_with_room(mail: Mail, kit: Answerer, delivery: Delivery, state: Outcomes) -> None:
    """Asks the host; when its count and ours differ, asks again with less history, then with none."""
    info = state.info = await kit.host.describe()
    if not mail.message.text.strip():
        state.outcome, state.line = Outcome.REFUSED, lines.EMPTY
        return
    budget = Budget.of(info, min(kit.sampling.max_tokens, info.context_tokens // 2))
    for share in (1.0, 0.5, 0.0):
        prompt = await _prompt(mail, kit, state, budget, share)
        if isinstance(prompt, TooLong):
            raise PromptTooLong(prompt.tokens, prompt.room)
        state.prompt, state.history_drop, state.messages = prompt, prompt.dropped, prompt.messages
        try:
            await _stream(mail.message, kit, delivery, state)
            return
        except PromptTooLong:
            if prompt.dropped == len(mail.history):
                raise


async def _prompt(mail: Mail, kit: Answerer, state: Outcomes, budget: Budget, share: float) -> Prompt | TooLong:
    message = mail.message
    system_text = kit.persona.system_text(shared=message.shared)
    question = spoken(message.text, message.person, shared=message.shared)
    system_tokens, state.question_tokens = await asyncio.gather(
        kit.host.count_tokens(system_text), kit.host.count_tokens(question)
    )
    if share < 1.0:
        asked = system_tokens + state.question_tokens + budget.prompt_overhead_tokens
        asked += 2 * budget.message_overhead_tokens
        budget = replace(budget, prompt_tokens=asked + int((budget.prompt_tokens - asked) * share))
    return build_prompt(system_text, system_tokens, mail.history, message, state.question_tokens, budget)


async def _stream(message: Message, kit: Answerer, delivery: Delivery, state: Outcomes) -> None:
    sampling = replace(kit.sampling, seed=seed_of(message.id))
    stream = kit.host.stream(state.messages, sampling, session=str(message.conversation), trace=message.trace)
    async with aclosing(stream) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, ModelInfo):
                state.info = event
                continue
            if isinstance(event, Finish):
                state.finish = event
                break
            if state.first_token_at is None:
                state.first_token_at = kit.now()
            state.text += event.text
            delivery.grow(state.text.strip())
    state.outcome = Outcome.ANSWERED
    if not state.text.strip():
        state.outcome, state.error, state.line = Outcome.FAILED, "empty answer", lines.NO_ANSWER


def _too_long(state: Outcomes, error: PromptTooLong) -> str:
    tokens = state.question_tokens or error.prompt_tokens
    return lines.SPEND_LESS.format(tokens=tokens, budget=error.context_tokens)


def _final_text(state: Outcomes) -> str:
    return "\n\n".join(part for part in (state.text.strip(), state.line) if part)


async def _close(delivery: Delivery, text: str, outcome: Outcome) -> tuple[tuple[str, ...], str]:
    try:
        return await delivery.close(text, outcome), ""
    except DeliveryFailed as error:
        _log.warning("answer_not_delivered", reason=str(error))
        return (), f"DeliveryFailed: {error}"


async def _commit(message: Message, kit: Answerer, state: Outcomes) -> Commit:
    interaction = _interaction(message, kit, state)
    text = state.text.strip()
    if state.outcome not in (Outcome.ANSWERED, Outcome.STOPPED) or not text:
        return Commit(message.id, drop=state.history_drop, interaction=interaction, posts=state.posts)
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
    return Commit(message.id, (asked, replied), state.history_drop, interaction=interaction, posts=state.posts)


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
