"""Does a model fit the task? Answered from files of a few bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from model.fitness import inspect_model, list_models
from model.wheel import is_pinned, wheel_model
from tests.support.tiny_model import make_bert_folder, write_safetensors

LLAMA = {
    "general.architecture": "llama",
    "general.license": "mit",
    "llama.context_length": 2048,
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "b"],
    "tokenizer.chat_template": "{{ messages }}",
}


def write_gguf(file: Path, settings: dict[str, Any], *, cut: int = 0) -> Path:
    """A GGUF with one tensor of 32 weights in F32."""
    body = b"GGUF" + struct.pack("<IQQ", 3, 1, len(settings))
    for name, value in settings.items():
        body += _text(name) + _typed(value)
    body += _text("w") + struct.pack("<IQIQ", 1, 32, 0, 0)
    body += bytes(-len(body) % 32) + bytes(128)
    file.write_bytes(body[: len(body) - cut])
    return file


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _typed(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(item) for item in value)


def make_folder(folder: Path, **changes: Any) -> Path:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    write_safetensors(folder / "model.safetensors", 1000)
    return folder


def test_causal_gguf_fits_with_its_figures(tmp_path: Path) -> None:
    fitness = inspect_model(str(write_gguf(tmp_path / "a.gguf", LLAMA)))

    assert (fitness.fit, fitness.kind, fitness.architecture, fitness.causal) == (True, "gguf", "llama", True)
    assert (fitness.parameters, fitness.context_tokens, fitness.licence) == (32, 2048, "mit")
    assert fitness.kv_bytes_per_1k == 2 * 2 * 16 * 2 * 4 * 1000
    assert fitness.template == "own"


def test_causal_folder_fits_with_its_figures(tmp_path: Path) -> None:
    fitness = inspect_model(str(make_folder(tmp_path)))

    assert (fitness.fit, fitness.kind, fitness.architecture) == (True, "folder", "LlamaForCausalLM")
    assert (fitness.parameters, fitness.weight_bits, fitness.weights_bytes) == (1000, 32, 4000)
    assert (fitness.context_tokens, fitness.licence, fitness.template) == (512, "apache-2.0", "own")


def test_model_without_a_template_falls_back_to_plain_lines(tmp_path: Path) -> None:
    settings = {name: value for name, value in LLAMA.items() if name != "tokenizer.chat_template"}

    fitness = inspect_model(str(write_gguf(tmp_path / "a.gguf", settings)))

    assert (fitness.fit, fitness.template) == (True, "plain")
    assert "plain lines" in fitness.notes[0]


def test_bert_folder_is_refused_because_it_cannot_write(tmp_path: Path) -> None:
    fitness = inspect_model(str(make_bert_folder(tmp_path / "bert")))

    assert not fitness.fit
    assert "understands text but cannot write answers" in fitness.problems[0]


@pytest.mark.parametrize("architecture", ["bert", "nomic-bert", "jina-bert-v2", "modern-bert", "gemma-embedding"])
def test_encoder_gguf_is_refused(tmp_path: Path, architecture: str) -> None:
    fitness = inspect_model(str(write_gguf(tmp_path / "a.gguf", LLAMA | {"general.architecture": architecture})))

    assert not fitness.fit
    assert "cannot write answers" in fitness.problems[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True}, "rewrites"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "writes no text"),
        ({"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta"}, "cannot write answers"),
    ],
)
def test_folder_that_cannot_chat_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    fitness = inspect_model(str(make_folder(tmp_path, **changes)))

    assert not fitness.fit
    assert why in fitness.problems[0]


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")

    fitness = inspect_model(str(tmp_path))

    assert not fitness.fit
    assert "pickle" in fitness.problems[0]


@pytest.mark.parametrize("cut", [1, 100, 150, 300, 10_000])
def test_gguf_cut_short_is_refused_by_name(tmp_path: Path, cut: int) -> None:
    fitness = inspect_model(str(write_gguf(tmp_path / "half.gguf", LLAMA, cut=cut)))

    assert not fitness.fit
    assert "half.gguf" in fitness.problems[0]


def test_safetensors_cut_short_are_refused_by_name(tmp_path: Path) -> None:
    weights = make_folder(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    fitness = inspect_model(str(tmp_path))

    assert not fitness.fit
    assert "model.safetensors is cut short" in fitness.problems[0]


def test_missing_shard_is_refused_by_name(tmp_path: Path) -> None:
    make_folder(tmp_path)
    index = {"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    assert "model-2.safetensors is missing" in inspect_model(str(tmp_path)).problems[0]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all, but long enough to be read", bytes(200)])
def test_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)

    assert not inspect_model(str(tmp_path / "x.gguf")).fit


def test_missing_model_is_refused_and_a_hub_id_is_not(tmp_path: Path) -> None:
    assert "no model at" in inspect_model(str(tmp_path / "none.gguf")).problems[0]
    assert inspect_model("models/none.gguf").kind == "unknown"

    hub = inspect_model("owner/model")

    assert (hub.fit, hub.kind) == (True, "hub id")


def test_models_of_a_home_are_listed_with_the_small_one(tmp_path: Path) -> None:
    (tmp_path / "models" / "b").mkdir(parents=True)
    make_folder(tmp_path / "models" / "b")
    write_gguf(tmp_path / "models" / "a.gguf", LLAMA)
    (tmp_path / "models" / "notes.txt").write_text("no model")

    names = [fitness.name for fitness in list_models(tmp_path)]

    assert names == ["a", "b", "SmolLM2-135M-Instruct.Q4_1"]


def test_small_model_is_the_pinned_one_and_fits(tmp_path: Path) -> None:
    small = wheel_model()
    assert small is not None
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(small.read_bytes()[:-1] + b"x")

    fitness = inspect_model(str(small))

    assert (is_pinned(small), is_pinned(changed)) == (True, False)
    assert (fitness.fit, fitness.parameters, fitness.context_tokens) == (True, 134_515_008, 8192)
    assert (fitness.licence, fitness.template) == ("apache-2.0", "own")
