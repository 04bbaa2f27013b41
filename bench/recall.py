"""How well approved answers are found again by meaning: precision and recall over the thresholds.

    python bench/recall.py [--json FILE] [--picture FILE]

Asks the questions of tests/data/recall.jsonl of the logic that answers people (`core.loop.recall`), with the vectors of
the embedding model that the host would take. docs/recall.md explains the figures and what was chosen by them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.recall_figures import (
    HERE,
    STEPS,
    Asked,
    Figures,
    Kind,
    Shown,
    as_it_is,
    choose,
    given_alone,
    given_with_words,
    held_out,
    shown,
)
from bench.recall_picture import Curve, Panel, picture_of
from core.loop.recall import Approved, Embedded, Scope
from model.serve.embedder import Embedder, load_embedder
from model.serve.embedding_model import EmbeddingModel, find_embedder
from storage.nearness import Nearness

QUESTIONS = Path(__file__).resolve().parents[1] / "tests" / "data" / "recall.jsonl"
_BATCH = 16


async def ask_all(embedder: Embedder, name: str) -> list[Asked]:
    """Each question of the set, with the pairs nearest to it."""
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    nearness = Nearness(name)
    for row, vector in zip(rows, vectors_of(embedder, [row["question"] for row in rows]), strict=True):
        nearness.put(Approved(row["id"], row["question"], row["answer"], Scope("web", "handbook"), 0.0), vector)
    questions = [question for place, row in enumerate(rows) for question in _questions(row, place % 2)]
    vectors = vectors_of(embedder, [text for text, *_ in questions])
    asked = []
    for (text, kind, answered_by, half), vector in zip(questions, vectors, strict=True):
        nears = await nearness.nearest(HERE, Embedded((vector,), name), 8)
        asked.append(Asked(text, kind, answered_by, half, tuple(nears)))
    return asked


def _questions(row: dict[str, Any], half: int) -> list[tuple[str, Kind, str, int]]:
    return [
        (row["retyped"], "retyped", row["id"], half),
        *((text, "paraphrase", row["id"], half) for text in row["paraphrases"]),
        *((near["question"], "near miss", near["answered_by"] or "", half) for near in row["near_misses"]),
    ]


def vectors_of(embedder: Embedder, texts: Sequence[str]) -> list[list[float]]:
    """A vector for each text."""
    tokens = embedder.encode(texts)
    batches = [tokens[begin : begin + _BATCH] for begin in range(0, len(tokens), _BATCH)]
    return [vector.tolist() for batch in batches for vector in embedder.embed([each.ids for each in batch])]


async def measure(model: EmbeddingModel) -> Figures:
    """All figures."""
    embedder = load_embedder("openvino", model)
    name = f"{model.name}@{model.version}"
    asked = await ask_all(embedder, name)
    chosen = choose([each for each in asked if each.half == 0])
    return Figures(
        name,
        [as_it_is(asked, given_alone, step) for step in STEPS],
        [as_it_is(asked, given_with_words, step) for step in STEPS],
        [shown(asked, step) for step in STEPS],
        chosen,
        held_out([each for each in asked if each.half == 1], chosen),
        _median_ms(lambda: vectors_of(embedder, [asked[0].text])),
        {},
    )


def measure_search(pairs: int, width: int) -> float:
    """Milliseconds of one search among as many pairs, the median of 21."""
    drawn = np.random.default_rng(7).standard_normal((pairs, width), np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    nearness = Nearness("bench")
    for number, vector in enumerate(drawn):
        scope = Scope("web", "handbook", f"channel {number % 50}" if number % 2 else "")
        nearness.put(Approved(f"p{number}", f"q{number}", "", scope, 0.0), vector)
    question, asked = Embedded((drawn[0].tolist(),), "bench"), Scope("web", "handbook", "channel 3")
    with asyncio.Runner() as runner:
        return _median_ms(lambda: runner.run(nearness.nearest(asked, question, 8)))


def _median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(21):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return sorted(times)[len(times) // 2]


# ── the report ──────────────────────────────────────────────────────────────────────────────────────────────────────


def tables(figures: Figures) -> str:
    """All of it as Markdown."""
    lines = ["| from | similarity alone: given / wrong | precision | and the same words: given / wrong | precision |"]
    lines[0] += " retyped given | paraphrases given |"
    lines += ["|---|---|---|---|---|---|---|"]
    for alone, words in zip(figures.alone, figures.with_words, strict=True):
        lines.append(
            f"| {alone.exact_at:.2f} | {alone.given} / {alone.wrong} | {alone.precision:.2f} | {words.given} / "
            f"{words.wrong} | {words.precision:.2f} | {words.retyped:.2f} | {words.paraphrases:.2f} |"
        )
    lines += ["", "| from | paraphrases with their answer among 3 examples | examples a question |"]
    lines[-1] += " of them right | near misses shown examples |"
    lines += ["|---|---|---|---|---|"]
    for row in figures.shown:
        lines.append(
            f"| {row.example_at:.2f} | {row.paraphrases:.2f} | {row.per_question:.2f} | {_of_shown(row)} | "
            f"{row.near_misses_shown:.2f} |"
        )
    lines += ["", f"Chosen on one half: as it is from {figures.chosen.exact_at:.2f}, examples from "]
    lines[-1] += f"{figures.chosen.example_at:.2f}. On the other half:"
    lines += [f"- {what}: {value:.2f}".removesuffix(".00") for what, value in figures.held_out.items()]
    searches = ", ".join(f"{ms:.1f} ms among {pairs:,} pairs" for pairs, ms in figures.search_ms.items())
    lines += ["", f"{figures.embedder}: {figures.embed_ms:.1f} ms to embed a question; a search takes {searches}."]
    return "\n".join(lines)


def _of_shown(row: Shown) -> str:
    return f"{row.right_share:.2f}" if row.per_question else "-"


def curves(figures: Figures) -> list[Panel]:
    """What the picture shows."""
    given = [
        Curve("right among those given, by similarity alone", [row.precision for row in figures.alone]),
        Curve("right among those given, with the same words", [row.precision for row in figures.with_words]),
        Curve("retyped questions that are given their answer", [row.retyped for row in figures.with_words]),
    ]
    examples = [
        Curve("paraphrases with their answer among 3 examples", [row.paraphrases for row in figures.shown]),
        Curve("right ones among the examples", [row.right_share for row in figures.shown]),
        Curve("near misses that are shown examples", [row.near_misses_shown for row in figures.shown]),
    ]
    return [
        Panel("Given as it is, from a similarity on", STEPS, figures.chosen.exact_at, given),
        Panel("Shown as an example, from a similarity on", STEPS, figures.chosen.example_at, examples),
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="How well approved answers are found again by meaning.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there, as SVG")
    arguments = parser.parse_args()
    model = find_embedder("")
    if not isinstance(model, EmbeddingModel):
        sys.exit(model.why)
    figures = asyncio.run(measure(model))
    figures.search_ms.update({pairs: measure_search(pairs, model.width) for pairs in (1_000, 10_000, 100_000)})
    print(tables(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")
    if arguments.picture:
        arguments.picture.write_text(picture_of(curves(figures)), encoding="utf-8")


if __name__ == "__main__":
    main()
