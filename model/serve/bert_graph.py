"""BERT with mean pooling as a graph of OpenVINO's own operators, its weights taken from safetensors as they lie.

After Devlin et al. 2018 (arXiv:1810.04805) and Reimers & Gurevych 2019 (arXiv:1908.10084).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from model.safetensors_header import BrokenSafetensors, Placed, find_tensors
from model.serve.embedding_model import EmbeddingModel

_TYPES = {"F32": "<f4", "F16": "<f2"}
_SHUT_OUT = np.float32(1e9)  # what padding gets taken off before the softmax: nothing of it remains


def bert_graph(model: EmbeddingModel) -> openvino.Model:
    """From ids (int64) and mask (float32), both (rows, tokens), to vectors of length 1 (rows, width).

    Raises:
        BrokenSafetensors: a tensor is missing, or of a type that we do not read.
    """
    weights = _Weights(model)
    ids = ops.parameter([-1, -1], np.int64, "ids")
    mask = ops.parameter([-1, -1], np.float32, "mask")
    states = _embeddings(ids, weights)
    bias = ops.unsqueeze(ops.multiply(ops.subtract(mask, np.float32(1)), _SHUT_OUT), _whole(1, 2))
    for layer in range(model.layers):
        states = _layer(states, bias, weights, f"encoder.layer.{layer}.", model.heads)
    return openvino.Model([_pooled(states, mask)], [ids, mask], model.name)


class _Weights:
    """The tensors of a folder as constants, under the names that Transformers gives them."""

    def __init__(self, model: EmbeddingModel) -> None:
        found = find_tensors(model.folder)
        self._placed = {name.removeprefix("bert."): placed for name, placed in found.items()}
        self._eps = model.norm_eps

    def constant(self, name: str) -> Any:
        if name not in self._placed:
            raise BrokenSafetensors(f"there is no {name} among its weights")
        return ops.constant(_read(name, self._placed[name]))

    def linear(self, states: Any, name: str) -> Any:
        weighed = ops.matmul(states, self.constant(f"{name}.weight"), transpose_a=False, transpose_b=True)
        return ops.add(weighed, self.constant(f"{name}.bias"))

    def norm(self, states: Any, name: str) -> Any:
        normal = ops.mvn(states, _whole(-1), normalize_variance=True, eps=self._eps, eps_mode="inside_sqrt")
        return ops.add(ops.multiply(normal, self.constant(f"{name}.weight")), self.constant(f"{name}.bias"))


def _embeddings(ids: Any, weights: _Weights) -> Any:
    length = ops.gather(ops.shape_of(ids), np.int64(1), np.int64(0))
    places = ops.range(np.int64(0), length, np.int64(1), "i64")
    words = ops.gather(weights.constant("embeddings.word_embeddings.weight"), ids, np.int64(0))
    positions = ops.gather(weights.constant("embeddings.position_embeddings.weight"), places, np.int64(0))
    kinds = ops.gather(weights.constant("embeddings.token_type_embeddings.weight"), np.int64(0), np.int64(0))
    return weights.norm(ops.add(ops.add(words, positions), kinds), "embeddings.LayerNorm")


def _layer(states: Any, bias: Any, weights: _Weights, name: str, heads: int) -> Any:
    seen = _attention(states, bias, weights, f"{name}attention.", heads)
    states = weights.norm(ops.add(states, seen), f"{name}attention.output.LayerNorm")
    inner = ops.gelu(weights.linear(states, f"{name}intermediate.dense"), "erf")
    outer = weights.linear(inner, f"{name}output.dense")
    return weights.norm(ops.add(states, outer), f"{name}output.LayerNorm")


def _attention(states: Any, bias: Any, weights: _Weights, name: str, heads: int) -> Any:
    query, key, value = (
        _by_head(weights.linear(states, f"{name}self.{part}"), heads) for part in ("query", "key", "value")
    )
    seen = ops.transpose(ops.scaled_dot_product_attention(query, key, value, bias), _whole(0, 2, 1, 3))
    joined = ops.reshape(seen, _whole(0, 0, -1), special_zero=True)
    return weights.linear(joined, f"{name}output.dense")


def _by_head(states: Any, heads: int) -> Any:
    """(rows, tokens, width) as (rows, heads, tokens, width of a head)."""
    return ops.transpose(ops.reshape(states, _whole(0, 0, heads, -1), special_zero=True), _whole(0, 2, 1, 3))


def _pooled(states: Any, mask: Any) -> Any:
    share = ops.unsqueeze(mask, _whole(2))
    total = ops.reduce_sum(ops.multiply(states, share), _whole(1))
    mean = ops.divide(total, ops.reduce_sum(share, _whole(1)))
    return ops.normalize_l2(mean, _whole(1), 1e-12, "max")


def _whole(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def _read(name: str, placed: Placed) -> NDArray[np.float32]:
    if placed.dtype not in _TYPES:
        raise BrokenSafetensors(f"{name} is of type {placed.dtype}; we read {' and '.join(_TYPES)}")
    there = np.memmap(placed.file, _TYPES[placed.dtype], "r", placed.begins, placed.shape)
    return np.array(there, np.float32)
