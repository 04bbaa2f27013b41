"""The contract of an embedder: texts to tokens, and tokens to vectors whose dot product says how near two texts are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from model.serve.embedding_model import EmbeddingModel


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """What an embedder runs; `width` numbers a vector, at most `max_tokens` a text."""

    engine: str
    device: str
    width: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as the model reads it, its closing marks included; `cut` where it was longer than that."""

    ids: tuple[int, ...]
    cut: bool


class Embedder(Protocol):
    """Runs one embedding model. `encode` may be called from any thread, `embed` from one at a time."""

    info: EmbedderInfo

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text; control tokens written in it stay plain text."""

    def embed(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """A vector of length 1 for each row of tokens: shape (rows, width). What else is in the batch changes none."""


def load_embedder(engine: Literal["openvino", "torch"], model: EmbeddingModel) -> Embedder:
    """Loads the model; takes a second or so. Raises HostStartError."""
    if engine == "openvino":
        from model.serve.openvino_embedder import OpenVinoEmbedder  # noqa: PLC0415 - imported only where it is chosen

        return OpenVinoEmbedder(model)
    from model.serve.torch_embedder import TorchEmbedder  # noqa: PLC0415 - imported only where it is chosen

    return TorchEmbedder(model)
