"""Both embedders on the model from its wheel: the same vectors, whoever computes them, whatever is in their batch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.serve.embedder import Embedder, load_embedder
from model.serve.embedding_model import find_embedder, inspect_embedder
from model.serve.errors import HostStartError
from model.wheel import is_pinned_embedder, wheel_embedder

TEXTS = (
    "How do I claim travel expenses?",
    "how do i CLAIM Travel-Expenses ???",
    "Wie viele Urlaubstage habe ich im ersten Jahr? Größe, Straße, Ärger.",
    "Où est le café ? Ça coûte 12,50 € — naïve façade.",
    "東京の天気はどうですか",
    "Сколько дней отпуска? ёлка",
    "مرحبا بالعالم",
    "😀 emoji 👩‍👩‍👧 and \u200b zero\u200dwidth \ufeff marks",
    "tabs\tand\nlines\r\nand \x00 nothing \ufffd",
    "[CLS] [SEP] [MASK] [PAD] are only words here",
    "x",
    "?",
    "1234567890 3.14159 -42 1e10",
    "supercalifragilisticexpialidocious" * 5,
    "word " * 1000,
    "e\u0301 \u00e9 \uff21\uff22\uff23 \u2167 \u00bd",
)


@pytest.fixture(scope="module")
def folder() -> Path:
    folder = wheel_embedder()
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def without_torch(folder: Path) -> Embedder:
    return load_embedder("openvino", inspect_embedder(folder))


@pytest.fixture(scope="module")
def reference(folder: Path) -> Embedder:
    return load_embedder("torch", inspect_embedder(folder))


@pytest.fixture(params=["without_torch", "reference"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    named: Embedder = request.getfixturevalue(request.param)
    return named


def vectors(embedder: Embedder, *texts: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return embedder.embed([tokens.ids for tokens in embedder.encode(texts)])


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_both_read_the_same_tokens_and_give_the_same_vector(
    text: str, without_torch: Embedder, reference: Embedder
) -> None:
    assert without_torch.encode([text]) == reference.encode([text])
    np.testing.assert_allclose(vectors(without_torch, text), vectors(reference, text), atol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(min_size=1, max_size=200))
def test_both_agree_on_whatever_people_write(without_torch: Embedder, reference: Embedder, text: str) -> None:
    assert without_torch.encode([text]) == reference.encode([text])
    np.testing.assert_allclose(vectors(without_torch, text), vectors(reference, text), atol=1e-5)


def test_batch_gives_each_text_the_vector_that_it_has_alone(embedder: Embedder) -> None:
    together = vectors(embedder, *TEXTS)

    alone = np.concatenate([vectors(embedder, text) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_vectors_have_length_1_and_outlive_the_next_batch(embedder: Embedder) -> None:
    first = vectors(embedder, *TEXTS)
    kept = first.copy()

    vectors(embedder, *reversed(TEXTS))

    assert first.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(first, kept)


def test_long_text_is_cut_at_the_models_limit_and_said_to_be(embedder: Embedder) -> None:
    just, over = embedder.encode(["word " * 254, "word " * 255])

    assert (len(just.ids), just.cut) == (256, False)
    assert (len(over.ids), over.cut) == (256, True)
    assert just.ids == over.ids


def test_meaning_is_nearer_than_words(embedder: Embedder) -> None:
    question, paraphrase, other = vectors(
        embedder,
        "How many vacation days do I get?",
        "How much annual leave do I have?",
        "How many parking lots do I get?",
    )

    assert question @ paraphrase > question @ other + 0.1


# ── which model ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_model_from_the_wheel_is_the_one_that_was_reviewed(folder: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    (changed / "config.json").write_text((folder / "config.json").read_text() + " ")

    assert (is_pinned_embedder(folder), is_pinned_embedder(changed)) == (True, False)
    assert inspect_embedder(folder).version != inspect_embedder(changed).version
    assert find_embedder("") == inspect_embedder(folder, "all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    ("file", "entry", "says"),
    [
        ("config.json", {"model_type": "roberta"}, "not a BERT"),
        ("config.json", {"hidden_act": "relu"}, "activation"),
        ("config.json", {"position_embedding_type": "relative_key"}, "positions"),
        ("config.json", {"num_attention_heads": "many"}, "configuration is damaged"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pooling_mode_cls_token"),
    ],
)
def test_model_that_we_do_not_compute_is_refused_by_what_is_other(
    folder: Path, tmp_path: Path, file: str, entry: dict[str, object], says: str
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other, copy_function=lambda source, target: Path(target).symlink_to(source))
    changed = json.loads((folder / file).read_text()) | entry
    (other / file).unlink()
    (other / file).write_text(json.dumps(changed))

    with pytest.raises(HostStartError, match=f"EMBEDDER=.*{says}"):
        inspect_embedder(other)
