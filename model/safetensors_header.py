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
class Placed:
    """Where one tensor lies: its type as safetensors name it, its shape, and its first byte in `file`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begins: int


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
        tensors = list(_header(file).values())
        numbers += sum(prod(tensor["shape"]) for tensor in tensors)
        bits = max(bits, *(_BITS.get(tensor["dtype"], 4) for tensor in tensors), 0)
        file_bytes += file.stat().st_size
    return Weights(numbers, file_bytes, bits)


def find_tensors(folder: Path) -> dict[str, Placed]:
    """Where each tensor in `folder` lies; the files are whole, and each tensor inside its own. BrokenSafetensors."""
    return {name: _placed(file, name, tensor) for file in _files(folder) for name, tensor in _header(file).items()}


def _placed(file: Path, name: str, tensor: dict[str, Any]) -> Placed:
    begins, ends = tensor["data_offsets"]
    shape = tuple(int(size) for size in tensor["shape"])
    if not 0 <= begins <= ends or (ends - begins) * 8 != prod(shape) * _BITS.get(tensor["dtype"], 0):
        raise BrokenSafetensors(f"{name} in {file.name} is not as long as it says; fetch it again")
    return Placed(file, tensor["dtype"], shape, _data_begins(file) + begins)


def _data_begins(file: Path) -> int:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
    return 8 + int(length)


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


def _header(file: Path) -> dict[str, dict[str, Any]]:
    """The tensors in `file` by name."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _MAX_HEADER:
                raise BrokenSafetensors(f"{file.name} is damaged")
            header = json.loads(opened.read(length))
            tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
            needed = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenSafetensors(f"{file.name} is damaged or cut short; fetch it again") from error
    size = file.stat().st_size
    if size < needed:
        raise BrokenSafetensors(f"{file.name} is cut short: {size:,} bytes of {needed:,}; fetch it again")
    return tensors
