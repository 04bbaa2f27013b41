"""The embedder without torch: a BERT of OpenVINO's own operators, and the tokenizer from its `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.safetensors_header import BrokenSafetensors
from model.serve.bert_graph import bert_graph
from model.serve.embedder import EmbedderInfo, Tokens
from model.serve.embedding_model import EmbeddingModel
from model.serve.errors import HostStartError

# Of fewer bits the vectors would depend on what else is in the batch; see model/serve/openvino_engine.py.
_PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


class OpenVinoEmbedder:
    """Runs `model` on the CPU.

    Raises:
        HostStartError: a file of the model is damaged.
    """

    def __init__(self, model: EmbeddingModel) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
            self._compiled = openvino.Core().compile_model(bert_graph(model), "CPU", _PROPERTIES)
        except BrokenSafetensors as error:
            raise HostStartError(f"EMBEDDER={model.folder} cannot be used: {error}.") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(model.max_tokens)
        self._tokenizer.encode_special_tokens = True  # what people write is text, whatever it looks like
        self.info = EmbedderInfo("openvino", "CPU", model.width, model.max_tokens)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return [Tokens(tuple(encoding.ids), bool(encoding.overflowing)) for encoding in encodings]

    def embed(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """A vector for each row of tokens."""
        shape = (len(batch), max(len(row) for row in batch))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        for place, row in enumerate(batch):
            ids[place, : len(row)], mask[place, : len(row)] = row, 1
        vectors: NDArray[np.float32] = self._compiled([ids, mask])[0]
        return vectors.copy()  # the next batch is computed in the same memory
