"""The question is counted beside its answer, and waited for only where it may not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from core.chat.answer import answer
from core.chat.errors import HostUnavailable
from core.chat.interaction import PromptMessage, Sampling
from core.chat.kit import Answerer, Attempt
from core.chat.message import Outcome
from core.chat.persona import Persona
from core.chat.ports import Commit, Finish, Mail, ModelInfo, Piece
from tests.support.scripted_host import ScriptedHost
from tests.support.wall import Wall, said


@dataclass
class LateCounter(ScriptedHost):
    """Counts a question only once its answer has been asked for; `fails` instead of telling the count."""

    fails: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def count_tokens(self, text: str) -> int:
        if text != Persona().system_text(shared=False):
            async with asyncio.timeout(5.0):
                await self.asked.wait()
            if self.fails:
                raise HostUnavailable("away")
        return await super().count_tokens(text)

    async def stream(
        self, messages: Sequence[PromptMessage], sampling: Sampling, session: str, trace: str = ""
    ) -> AsyncIterator[ModelInfo | Piece | Finish]:
        self.asked.set()
        async for event in super().stream(messages, sampling, session, trace):
            yield event


async def answered(host: ScriptedHost, text: str) -> Commit:
    kit = Answerer(host, {"wall": Wall()}, Persona(), Sampling(0.0, 1.0, 100, seed=0), "worker-1")
    return await answer(Mail(said(text), (), intended=False, stop_requested=False), kit, Attempt())


async def test_an_answer_does_not_wait_until_its_question_is_counted() -> None:
    commit = await answered(LateCounter(), "how are you today")

    assert [turn.tokens for turn in commit.append] == [4, 6]


async def test_an_answer_whose_question_could_not_be_counted_is_given_and_its_bytes_stand_in() -> None:
    commit = await answered(LateCounter(fails=True), "how are you today")

    assert commit.interaction is not None
    assert commit.interaction.outcome is Outcome.ANSWERED
    assert commit.append[0].tokens == len("how are you today")


async def test_a_question_is_counted_first_where_its_bytes_would_not_fit() -> None:
    host = ScriptedHost(context_tokens=200)

    commit = await answered(host, "supercalifragilistic " * 10)

    assert len(host.prompts) == 1
    assert commit.append[0].tokens == 10
