"""Reads what a GGUF file says of itself, without its weights: settings, tokens, and which tensors follow.

The `gguf` package's reader builds a Python object per token, which takes seconds; this walks the header once.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: value types by number.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_STRING, _MAX_ITEMS = 64 * 1024 * 1024, 16 * 1024 * 1024

# Tensor types by number: name, weights per block, bytes per block.
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}


class BrokenGguf(Exception):
    """The file is no GGUF, or ends too early; the text says which."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The settings by name (arrays as tuples), the number of weights, and the tensors' types by name."""

    settings: Mapping[str, Any]
    weights: int
    tensor_types: frozenset[str]

    @property
    def architecture(self) -> str:
        """The family of the model, such as `llama`; "" where the file does not say."""
        return str(self.settings.get("general.architecture", ""))

    def of_architecture(self, name: str) -> Any:
        """The setting `name` under the architecture's own prefix, such as `llama.context_length`; None if absent."""
        return self.settings.get(f"{self.architecture}.{name}")

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The texts that the tokenizer turns into control tokens."""
        tokens = self.settings.get("tokenizer.ggml.tokens", ())
        kinds = self.settings.get("tokenizer.ggml.token_type", ())
        return tuple(token for token, kind in zip(tokens, kinds, strict=False) if kind == 3)  # 3: control


def read_gguf_header(path: Path) -> GgufHeader:
    """Reads the header of the file at `path` and checks that all its tensors are there.

    Raises:
        BrokenGguf: no GGUF, a version unknown to us, damaged, or cut short.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            header, needed = _read(file)
        except (struct.error, UnicodeDecodeError, MemoryError, OverflowError) as error:
            raise BrokenGguf("its header is damaged or cut short") from error
    size = path.stat().st_size
    if size < needed:
        raise BrokenGguf(f"it is cut short: {size:,} bytes of {needed:,}; fetch it again")
    return header


def _read(file: BinaryIO) -> tuple[GgufHeader, int]:
    if file.read(4) != b"GGUF":
        raise BrokenGguf("it is no GGUF file")
    version, tensors, count = struct.unpack("<IQQ", file.read(20))
    if version not in {2, 3}:
        raise BrokenGguf(f"it has version {version} of the format, not 2 or 3")
    if max(tensors, count) > _MAX_ITEMS:
        raise BrokenGguf("its header is damaged")
    settings = {}
    for _ in range(count):
        name = _string(file)
        settings[name] = _value(file, _one(file, "I"))
    weights, end, kinds = _tensors(file, tensors)
    alignment = int(settings.get("general.alignment", 32))
    start = -(-file.tell() // alignment) * alignment
    return GgufHeader(settings, weights, frozenset(kinds)), start + end


def _tensors(file: BinaryIO, count: int) -> tuple[int, int, set[str]]:
    """All tensors' weights, the end of the last one after the data's start, and their types."""
    weights = end = 0
    kinds = set()
    for _ in range(count):
        _string(file)
        dimensions = struct.unpack(f"<{(rank := _one(file, 'I'))}Q", file.read(8 * rank))
        kind, offset = struct.unpack("<IQ", file.read(12))
        name, block, block_bytes = TENSOR_TYPES.get(kind, (f"type {kind}", 1, 0))
        kinds.add(name)
        weights += prod(dimensions)
        end = max(end, offset + prod(dimensions) // block * block_bytes)
    return weights, end, kinds


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        if kind not in _SCALARS:
            raise BrokenGguf("its header is damaged")
        return _one(file, _SCALARS[kind])
    inner, count = struct.unpack("<IQ", file.read(12))
    if count > _MAX_ITEMS:
        raise BrokenGguf("its header is damaged")
    if inner in _SCALARS:
        form = f"<{count}{_SCALARS[inner]}"
        return struct.unpack(form, file.read(struct.calcsize(form)))
    return tuple(_value(file, inner) for _ in range(count))


def _one(file: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]


def _string(file: BinaryIO) -> str:
    length = _one(file, "Q")
    if length > _MAX_STRING:
        raise BrokenGguf("its header is damaged")
    text = file.read(length)
    if len(text) < length:
        raise BrokenGguf("it is cut short in its header; fetch it again")
    # Some files hold tokens that are no UTF-8; they are of no interest here.
    return text.decode(errors="replace")
