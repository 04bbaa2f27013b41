"""Reads what a folder's safetensors files say of themselves, without their weights."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8}
_BITS |= {"F8_E4M3": 8, "F8_E5M2": 8}
_MAX_HEADER = 100 * 1024 * 1024  # the format's own limit


class BrokenSafetensors(Exception):
    """A file is missing, damaged or cut short; the text says which."""


@dataclass(frozen=True, slots=True)
class Weights:
    """All files of a folder together: how many numbers, how many bytes, the widest type's bits."""

    numbers: int
    file_bytes: int
    bits: int


def read_weights(folder: Path) -> Weights:
    """Reads the headers of all weights in `folder` and checks that the files are whole. Raises BrokenSafetensors."""
    numbers = file_bytes = bits = 0
    for file in _files(folder):
        tensors = _header(file)
        numbers += sum(prod(tensor["shape"]) for tensor in tensors)
        bits = max(bits, *(_BITS.get(tensor["dtype"], 4) for tensor in tensors), 0)
        file_bytes += file.stat().st_size
    return Weights(numbers, file_bytes, bits)


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        single = folder / "model.safetensors"
        return [single] if single.exists() else []
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise BrokenSafetensors(f"{index.name} is damaged") from error
    for name in names:
        if Path(name).name != name or not (folder / name).exists():
            raise BrokenSafetensors(f"{name} is missing; fetch it again")
    return [folder / name for name in names]


def _header(file: Path) -> list[dict[str, Any]]:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _MAX_HEADER:
                raise BrokenSafetensors(f"{file.name} is damaged")
            header = json.loads(opened.read(length))
            tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
            needed = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenSafetensors(f"{file.name} is damaged or cut short; fetch it again") from error
    size = file.stat().st_size
    if size < needed:
        raise BrokenSafetensors(f"{file.name} is cut short: {size:,} bytes of {needed:,}; fetch it again")
    return tensors
