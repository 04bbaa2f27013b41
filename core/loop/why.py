"""Why an answer is as it is: what it was made with, in lines for the person who asked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from core.chat.interaction import Interaction
from core.chat.message import Outcome

_OUTCOMES = {
    Outcome.FAILED: "It failed on the way.",
    Outcome.STOPPED: "It was stopped before its end.",
    Outcome.REFUSED: "The question was not put to the model.",
    Outcome.WITHDRAWN: "Its question was taken back.",
}


def why(done: Interaction, reviewed: Sequence[str] = ()) -> list[str]:
    """The lines; `reviewed` names the reviewed answers that it leaned on, of which none are shown when there are none.

    They name versions and counts, and no words of the prompt: it may hold what others said.
    """
    lines = [_model(done), _persona(done), _history(done), _sampling(done), _when(done)]
    if done.replaces:
        lines.append("It took the place of an earlier answer to the same question.")
    if note := _OUTCOMES.get(done.outcome):
        lines.append(note)
    lines += [f"It leaned on a reviewed answer: {title}" for title in reviewed]
    return lines


def _model(done: Interaction) -> str:
    if not done.model:
        return "No model was asked."
    version = f", version {done.model_version}" if done.model_version else ""
    return f"Model: {done.model}{version}"


def _persona(done: Interaction) -> str:
    return f"Persona: {done.persona}, version {done.persona_version}"


def _history(done: Interaction) -> str:
    turns = max(0, len(done.messages) - 2)  # without the persona's words and the question
    what = {0: "the question alone, nothing said before", 1: "the question and 1 earlier message"}
    read = what.get(turns, f"the question and {turns} earlier messages")
    about = "" if done.tokens_exact else "at most "
    tokens = f"{about}{done.prompt_tokens} tokens read, {about}{done.completion_tokens} written"
    return f"It read {read} ({tokens})"


def _sampling(done: Interaction) -> str:
    drawn = done.sampling
    return (
        f"Sampling: temperature {drawn.temperature:g}, top-p {drawn.top_p:g}, at most {drawn.max_tokens} tokens, "
        f"seed {drawn.seed}"
    )


def _when(done: Interaction) -> str:
    began = datetime.fromtimestamp(done.started_at, UTC)
    seconds = max(0.0, done.accepted_at + done.total_ms / 1000 - done.started_at)
    return f"Made on {began:%Y-%m-%d at %H:%M:%S} UTC, in {seconds:.1f} s"
