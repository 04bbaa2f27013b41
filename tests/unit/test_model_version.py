"""The log names the model that answered, also where several hosts serve several versions."""

from __future__ import annotations

from dataclasses import replace

from core.chat.answer import answer
from core.chat.interaction import Interaction, Sampling
from core.chat.kit import Answerer, Attempt
from core.chat.message import Message, Outcome
from core.chat.persona import Persona
from core.chat.ports import Mail, ModelInfo
from tests.support.scripted_host import ScriptedHost
from tests.support.wall import Wall, said

NEXT = ModelInfo("scripted", "v2", 1000, 4, 2, exact=True)


async def answered(host: ScriptedHost, question: Message) -> Interaction:
    sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=100, seed=0)
    kit = Answerer(host, {"wall": Wall()}, Persona(), sampling, "worker-1")
    commit = await answer(Mail(question, (), intended=False, stop_requested=False), kit, Attempt())
    assert commit.interaction is not None
    return commit.interaction


async def test_the_version_in_the_log_is_that_of_the_host_that_answered() -> None:
    row = await answered(ScriptedHost(answers_as=NEXT), said("hello"))

    assert (row.outcome, row.answer, row.model_version) == (Outcome.ANSWERED, "you said: hello", "v2")


async def test_a_host_that_says_nothing_of_it_is_taken_at_its_description() -> None:
    row = await answered(ScriptedHost(), said("hello"))

    assert row.model_version == "v1"


async def test_the_host_is_told_the_conversation_and_the_trace() -> None:
    host = ScriptedHost()
    question = replace(said("hello"), trace="00-11111111111111111111111111111111-2222222222222222-01")

    await answered(host, question)

    assert (host.sessions, host.traces) == ([str(question.conversation)], [question.trace])
