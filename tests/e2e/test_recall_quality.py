"""The real embedding model on our question set: what docs/recall.md says of the thresholds holds."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from bench.recall import QUESTIONS, ask_all
from bench.recall_figures import Asked, choose, given_with_words, held_out, shown
from core.loop.recall import Closeness
from model.serve.embedder import load_embedder
from model.serve.embedding_model import EmbeddingModel, find_embedder

CLOSENESS = Closeness()


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    model = find_embedder("")
    assert isinstance(model, EmbeddingModel)
    return asyncio.run(ask_all(load_embedder("openvino", model), f"{model.name}@{model.version}"))


def test_set_is_as_large_as_it_says_and_nothing_stands_in_it_twice() -> None:
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    texts = Counter(
        text
        for row in rows
        for text in (row["question"], row["retyped"], *row["paraphrases"], *(n["question"] for n in row["near_misses"]))
    )

    assert len(rows) == len({row["id"] for row in rows}) >= 60
    assert {(len(row["paraphrases"]), len(row["near_misses"])) for row in rows} == {(3, 2)}
    assert [text for text, times in texts.items() if times > 1] == ["How do I book a desk?"]  # answered by its own pair


def test_nobody_is_given_an_answer_to_another_question(asked: list[Asked]) -> None:
    wrong = [each.text for each in asked if given_with_words(each, CLOSENESS.exact_at) not in {"", each.answered_by}]

    assert wrong == []


def test_similarity_alone_would_give_wrong_answers(asked: list[Asked]) -> None:
    near = [each for each in asked if each.nears[0].similarity >= CLOSENESS.exact_at]

    assert [each for each in near if each.nears[0].pair.id != each.answered_by]


def test_most_questions_typed_anew_are_given_their_answer(asked: list[Asked]) -> None:
    given = [given_with_words(each, CLOSENESS.exact_at) != "" for each in asked if each.kind == "retyped"]

    assert sum(given) >= 0.8 * len(given)


def test_most_paraphrases_have_their_answer_among_the_examples(asked: list[Asked]) -> None:
    assert shown(asked, CLOSENESS.example_at).paraphrases >= 0.75


def test_defaults_are_those_that_the_one_half_chose_and_the_other_bears_out(asked: list[Asked]) -> None:
    chosen = choose([each for each in asked if each.half == 0])

    assert (chosen.exact_at, chosen.example_at) == (CLOSENESS.exact_at, CLOSENESS.example_at)
    assert held_out([each for each in asked if each.half == 1], chosen)["wrong"] == 0
