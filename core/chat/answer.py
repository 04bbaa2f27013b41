"""Answers one message: prompt, stream, delivery; returns the commit that makes it part of the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import structlog

from core.chat import lines
from core.chat.again import Replaced, replaced_in
from core.chat.delivery import Delivery
from core.chat.errors import AnswerBroken, DeliveryFailed, HostError, HostRefused, HostUnavailable, PromptTooLong
from core.chat.holding import Halt
from core.chat.kit import Answerer, Attempt, Interrupted
from core.chat.message import Message, Outcome
from core.chat.ports import Commit, Draft, Finish, Mail, ModelInfo, Piece
from core.chat.prompt import Budget, Prompt, TooLong, build_prompt, spoken
from core.chat.record import Outcomes, commit_of, seed_of, was_said, withdrawal

_log = structlog.get_logger(__name__)

# Begins to count the question, or gives the count that is under way.
_Count = Callable[[], asyncio.Task[int]]


async def answer(mail: Mail, kit: Answerer, attempt: Attempt) -> Commit:
    """Answers the first waiting message where people see it, or takes back what answered a withdrawn one.

    Raises:
        Interrupted: an end was asked for that leaves the message to another attempt.
        Fenced, StoreUnavailable: from `attempt`, before the next visible step.
    """
    draft = kit.couriers[mail.message.conversation.platform].draft(mail.message, resumed=mail.intended)
    with kit.tracer.span("answer", mail.message.trace, turn=mail.message.id) as trace:
        mail = replace(mail, message=replace(mail.message, trace=trace))
        if mail.withdrawn:
            return await _withdraw(mail, kit, attempt, draft)
        if mail.message.kind != "again":
            return await _answer(mail, kit, attempt, draft, None)
        if replaced := replaced_in(mail):
            return await _answer(replaced.mail, kit, attempt, draft, replaced)
        return await _keep(mail, kit, attempt)


async def _keep(mail: Mail, kit: Answerer, attempt: Attempt) -> Commit:
    """Another answer was asked for to a question that is forgotten: what people see stays, and they are told why."""
    attempt.check()
    state = Outcomes(started_at=kit.now(), outcome=Outcome.REFUSED, error="the question is no longer in the history")
    try:
        await kit.couriers[mail.message.conversation.platform].notice(mail.message, lines.FORGOTTEN)
    except DeliveryFailed as error:
        _log.warning("line_not_delivered", turn=mail.message.id, reason=str(error))
    return commit_of(mail.message, kit, state, ())


async def _answer(mail: Mail, kit: Answerer, attempt: Attempt, draft: Draft, replaced: Replaced | None) -> Commit:
    message, halt = mail.message, attempt.halt
    delivery = Delivery(draft, lambda: _intend(kit, attempt), attempt.check, lambda: kit.reach("posted"))
    delivery.start()
    state = Outcomes(started_at=kit.now(), replaced=replaced)
    if mail.stop_requested:
        halt.ask("stop")
    try:
        if message.kind != "reset":
            await _generate(mail, kit, halt, delivery, state)
        if halt.reason in ("revised", "drain", "fenced"):
            raise Interrupted(halt.reason)
        await kit.reach("closing")
        with kit.tracer.span("deliver", message.trace):
            await _close(delivery, attempt, state, message)
    except BaseException:
        attempt.posts = attempt.posts or await delivery.abandon()
        raise
    await kit.reach("closed")
    if state.outcome is Outcome.WITHDRAWN:
        return withdrawal(message, kit, state)
    if message.kind == "reset":
        return Commit(message.id, clear=True, posts=attempt.posts)
    return commit_of(message, kit, state, attempt.posts)


async def _intend(kit: Answerer, attempt: Attempt) -> None:
    await attempt.intend()
    await kit.reach("intended")


async def _withdraw(mail: Mail, kit: Answerer, attempt: Attempt, draft: Draft) -> Commit:
    """A question that was deleted before this attempt: only what an earlier one posted is to be taken back."""
    state = Outcomes(started_at=kit.now())
    if mail.intended:
        attempt.check()
        try:
            await draft.close("", Outcome.WITHDRAWN)
        except DeliveryFailed as error:
            state.error = _not_delivered(error)
    return withdrawal(mail.message, kit, state)


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
    if halt.reason == "stop" and state.finish is None:
        state.outcome, state.line = Outcome.STOPPED, lines.STOPPED


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
    async with _counted_beside(mail.message, kit, state) as count:
        for share in (1.0, 0.5, 0.0):
            prompt = await _prompt(mail, kit, state, count, budget, share)
            if isinstance(prompt, TooLong):
                raise PromptTooLong(prompt.tokens, prompt.room)
            state.prompt, state.history_drop, state.messages = prompt, prompt.dropped, prompt.messages
            try:
                await _stream(mail.message, kit, delivery, state, count)
                return
            except PromptTooLong:
                if prompt.dropped == len(mail.history):
                    raise


@asynccontextmanager
async def _counted_beside(message: Message, kit: Answerer, state: Outcomes) -> AsyncIterator[_Count]:
    """Counts the question once its answer has begun: nearly always it fits, and nobody has to wait for its count.

    Until it is counted, and where that fails, its bytes stand in: a byte-level BPE makes no more tokens than those.
    """
    question = spoken(message.text, message.person, shared=message.shared)
    state.question_tokens = len(question.encode())
    counting: asyncio.Task[int] | None = None

    def count() -> asyncio.Task[int]:
        nonlocal counting
        counting = counting or asyncio.ensure_future(kit.host.count_tokens(question))
        return counting

    try:
        yield count
        await asyncio.wait({count()})
    finally:
        if counting is not None:
            counting.cancel()
            (counted,) = await asyncio.gather(counting, return_exceptions=True)
            if isinstance(counted, int):
                state.question_tokens = counted


async def _prompt(
    mail: Mail, kit: Answerer, state: Outcomes, count: _Count, budget: Budget, share: float
) -> Prompt | TooLong:
    message = mail.message
    system_text = kit.persona.system_text(shared=message.shared)
    system_tokens = await kit.host.count_tokens(system_text)
    if share == 1.0:
        prompt = build_prompt(system_text, system_tokens, mail.history, message, state.question_tokens, budget)
        if isinstance(prompt, Prompt) and not prompt.dropped:
            return prompt
    state.question_tokens = await asyncio.shield(count())
    if share < 1.0:
        asked = system_tokens + state.question_tokens + budget.prompt_overhead_tokens
        asked += 2 * budget.message_overhead_tokens
        budget = replace(budget, prompt_tokens=asked + int((budget.prompt_tokens - asked) * share))
    return build_prompt(system_text, system_tokens, mail.history, message, state.question_tokens, budget)


async def _stream(message: Message, kit: Answerer, delivery: Delivery, state: Outcomes, count: _Count) -> None:
    sampling = replace(kit.sampling, seed=seed_of(message.id))
    with kit.tracer.span("generate", message.trace) as trace:
        stream = kit.host.stream(state.messages, sampling, session=str(message.conversation), trace=trace)
        await _read(stream, kit, delivery, state, count)
    state.outcome = Outcome.ANSWERED
    if not state.text.strip():
        state.outcome, state.error, state.line = Outcome.FAILED, "empty answer", lines.NO_ANSWER


async def _read(
    stream: AsyncIterator[ModelInfo | Piece | Finish], kit: Answerer, delivery: Delivery, state: Outcomes, count: _Count
) -> None:
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
            else:
                count()  # not with the first piece: that is to be seen at once
            state.text += event.text
            delivery.grow(state.text.strip())


def _too_long(state: Outcomes, error: PromptTooLong) -> str:
    tokens = state.question_tokens or error.prompt_tokens
    return lines.SPEND_LESS.format(tokens=tokens, budget=error.context_tokens)


def _final_text(state: Outcomes) -> str:
    if state.replaced is not None and not was_said(state):
        return "\n\n".join((state.replaced.answer.text, f"({lines.NO_OTHER})"))
    return "\n\n".join(part for part in (state.text.strip(), state.line) if part)


async def _close(delivery: Delivery, attempt: Attempt, state: Outcomes, message: Message) -> None:
    """Shows the final text. A platform that does not take it makes the answer a failed one."""
    if attempt.halt.reason == "withdrawn":
        text, state.outcome = "", Outcome.WITHDRAWN
    elif message.kind == "reset":
        text, state.outcome = lines.RESET, Outcome.ANSWERED
    else:
        text = _final_text(state)
    try:
        attempt.posts = await delivery.close(text, state.outcome)
    except DeliveryFailed as error:
        _log.warning("answer_not_delivered", turn=message.id, reason=str(error))
        state.error = _not_delivered(error)
        if state.outcome is not Outcome.WITHDRAWN:
            state.outcome = Outcome.FAILED


def _not_delivered(error: DeliveryFailed) -> str:
    return f"DeliveryFailed: {error}"
