"""The embedder on torch: Transformers loads the model, on CUDA, Apple's GPU or the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch.nn.functional import normalize

from model.serve.embedder import EmbedderInfo, Tokens
from model.serve.embedding_model import EmbeddingModel
from model.serve.errors import HostStartError
from model.serve.torch_engine import best_device


class TorchEmbedder:
    """Runs `model` in 32 bits wherever that is: it is small, and vectors made here and elsewhere must be the same.

    Raises:
        HostStartError: Transformers cannot load the model.
    """

    def __init__(self, model: EmbeddingModel) -> None:
        self._device, _ = best_device()
        transformers.utils.logging.disable_progress_bar()
        options = {"trust_remote_code": False, "local_files_only": True}
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(model.folder), **options)
            loaded = transformers.AutoModel.from_pretrained(
                str(model.folder), dtype=torch.float32, use_safetensors=True, **options
            )
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise HostStartError(
                f"EMBEDDER={model.folder} cannot be loaded ({type(error).__name__}: {error})"
            ) from error
        self._model = loaded.to(self._device).eval()
        self.info = EmbedderInfo("torch", self._device, model.width, model.max_tokens)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text."""
        # Not `verbose`: it warns of long texts, which are cut here.
        encoded = self._tokenizer(list(texts), truncation=False, split_special_tokens=True, verbose=False)
        return [self._cut([int(token) for token in ids]) for ids in encoded["input_ids"]]

    def embed(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """A vector for each row of tokens."""
        width = max(len(row) for row in batch)
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in batch], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch], device=self._device)
        with torch.inference_mode():
            states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            share = mask[:, :, None].to(states.dtype)
            vectors: NDArray[np.float32] = normalize((states * share).sum(1) / share.sum(1)).cpu().numpy()
        return vectors

    def _cut(self, ids: list[int]) -> Tokens:
        most = self.info.max_tokens
        return Tokens((*ids[: most - 1], ids[-1]) if len(ids) > most else tuple(ids), len(ids) > most)
