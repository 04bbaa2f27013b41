"""What counts of what people said, how it is written down, and why an answer is as it is."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from core.chat import codec
from core.chat.errors import BadEntry
from core.chat.interaction import PromptMessage
from core.chat.message import Outcome
from core.loop.feedback import Reason, Verdict, last_words
from core.loop.why import why
from tests.support.store_cases import interaction, judged, message

ASKED = message("1")


def test_the_last_word_of_each_person_counts_in_whatever_order_they_came() -> None:
    first = judged(ASKED, Verdict.HELPFUL, id="a", at=1.0)
    changed = judged(ASKED, Verdict.NOT_HELPFUL, id="b", at=2.0, reason=Reason.WRONG)
    other = judged(ASKED, Verdict.HELPFUL, id="c", at=1.5, person_id="U2")

    for order in itertools.permutations((first, changed, other)):
        assert last_words(order) == {"U1": changed, "U2": other}


def test_what_was_taken_back_does_not_count_until_something_is_said_again() -> None:
    said = judged(ASKED, Verdict.HELPFUL, id="a", at=1.0)
    back = judged(ASKED, Verdict.TAKEN_BACK, id="b", at=2.0)
    anew = judged(ASKED, Verdict.NOT_HELPFUL, id="c", at=3.0)

    assert last_words([said, back]) == {}
    assert last_words([anew, back, said]) == {"U1": anew}


def test_of_two_words_at_one_moment_the_same_one_counts_at_every_reading() -> None:
    one = judged(ASKED, Verdict.HELPFUL, id="a")
    two = judged(ASKED, Verdict.NOT_HELPFUL, id="b")

    assert last_words([one, two]) == last_words([two, one]) == {"U1": two}


def test_feedback_is_read_as_it_was_written() -> None:
    said = judged(ASKED, Verdict.NOT_HELPFUL, reason=Reason.OTHER, note="ünclear", better="So:\n\n*this*")

    assert codec.load_feedback(codec.dump(said)) == said


def test_a_reason_that_only_a_newer_version_knows_is_some_other_reason() -> None:
    written = json.loads(codec.dump(judged(ASKED))) | {"reason": "too_poetic", "mood": "dark"}

    assert codec.load_feedback(json.dumps(written)).reason is Reason.OTHER


def test_a_verdict_that_only_a_newer_version_knows_cannot_be_read() -> None:
    written = json.loads(codec.dump(judged(ASKED))) | {"verdict": "brilliant"}

    with pytest.raises(BadEntry):
        codec.load_feedback(json.dumps(written))


# ── why ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_why_names_versions_history_sampling_and_time() -> None:
    history = (PromptMessage("user", "ada: hi", "U1"), PromptMessage("assistant", "Hello."))
    system, question = interaction(ASKED).messages
    done = interaction(ASKED, messages=(system, *history, question))

    assert why(done) == [
        "Model: smol, version v1",
        "Persona: parley, version 1",
        "It read the question and 2 earlier messages (20 tokens read, 5 written)",
        "Sampling: temperature 0.7, top-p 0.9, at most 256 tokens, seed 42",
        "Made on 2025-06-15 at 15:06:40 UTC, in 0.0 s",
    ]


def test_why_says_what_is_only_a_bound_and_what_went_wrong() -> None:
    done = interaction(ASKED, tokens_exact=False, outcome=Outcome.STOPPED, replaces="slack:T1:C1:0", total_ms=2250.0)

    lines = why(done, reviewed=["How to reset a password"])

    assert "It read the question alone, nothing said before (at most 20 tokens read, at most 5 written)" in lines
    assert lines[-4:] == [
        "Made on 2025-06-15 at 15:06:40 UTC, in 2.0 s",
        "It took the place of an earlier answer to the same question.",
        "It was stopped before its end.",
        "It leaned on a reviewed answer: How to reset a password",
    ]


def test_why_repeats_no_word_of_the_prompt() -> None:
    secret = PromptMessage("user", "bob: the code is 1234", "U2")
    done = interaction(ASKED)

    lines = why(replace(done, messages=(*done.messages[:1], secret, *done.messages[1:])))

    assert "It read the question and 1 earlier message (20 tokens read, 5 written)" in lines
    assert not any("1234" in line or "bob" in line for line in lines)


def test_why_says_when_no_model_was_asked() -> None:
    done = interaction(ASKED, model="", model_version="", outcome=Outcome.REFUSED, messages=())

    assert why(done)[0] == "No model was asked."
