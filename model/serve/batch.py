"""The answers under way as one batch: prompts are read in parts, rows join and leave between two tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

PART_TOKENS = 256


@dataclass(slots=True)
class Prefill:
    """A prompt while it is read; `cache` holds keys and values of its first `read` tokens."""

    prompt: tuple[int, ...]
    cache: Any = field(default_factory=DynamicCache)
    read: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """How one answer draws its tokens: with dice of its own, so that a seed repeats it whatever runs beside it."""

    key: int
    temperature: float
    top_p: float
    dice: torch.Generator

    def draw(self, logits: torch.Tensor) -> int:
        """One token from `logits` of shape (vocabulary,)."""
        if self.temperature <= 0:
            return int(logits.argmax())
        chances = torch.softmax(logits.float().cpu() / self.temperature, dim=-1)
        if self.top_p < 1:
            ordered, places = chances.sort(descending=True)
            # Tokens after the nucleus go; the first stays always.
            ordered[ordered.cumsum(-1) - ordered >= self.top_p] = 0
            chances = torch.zeros_like(chances).scatter_(0, places, ordered)
        return int(torch.multinomial(chances, 1, generator=self.dice))


class Batch:
    """Rows of different lengths, padded on the left, with one cache of keys and values for all."""

    def __init__(self, model: Any, device: str) -> None:
        self._model = model
        self._device = device
        self._rows: list[Row] = []
        self._lengths: list[int] = []  # tokens of each row in the cache
        self._last: list[int] = []  # each row's newest token, not yet in the cache
        self._cache: Any = None

    def read_on(self, prefill: Prefill) -> torch.Tensor | None:
        """Reads the next part of a prompt; the logits after its last token once it is read whole, else None."""
        part = prefill.prompt[prefill.read : prefill.read + PART_TOKENS]
        output = self._model(
            input_ids=torch.tensor([part], device=self._device),
            past_key_values=prefill.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        prefill.read += len(part)
        logits: torch.Tensor = output.logits[0, -1]
        return logits if prefill.read == len(prefill.prompt) else None

    def add(self, row: Row, token: int, prefill: Prefill) -> None:
        """Lets a prompt that is read whole, and the first `token` of its answer, join."""
        length = len(prefill.prompt)
        self._cache = _joined(self._cache, prefill.cache, max([length, *self._lengths]))
        self._rows.append(row)
        self._lengths.append(length)
        self._last.append(token)

    def remove(self, keys: Iterable[int]) -> None:
        """Lets the rows of `keys` leave; unknown keys are ignored."""
        gone = set(keys)
        stay = [place for place, row in enumerate(self._rows) if row.key not in gone]
        if len(stay) == len(self._rows):
            return
        self._rows = [self._rows[place] for place in stay]
        self._lengths = [self._lengths[place] for place in stay]
        self._last = [self._last[place] for place in stay]
        self._cache = _kept(self._cache, stay, max(self._lengths)) if stay else None

    def step(self) -> list[tuple[int, int]]:
        """Draws one token for each row; pairs of key and token."""
        if not self._rows:
            return []
        width = max(self._lengths) + 1
        lengths = torch.tensor(self._lengths, device=self._device)
        seen = torch.arange(width, device=self._device)[None, :] >= width - 1 - lengths[:, None]
        output = self._model(
            input_ids=torch.tensor(self._last, device=self._device)[:, None],
            attention_mask=seen.long(),
            position_ids=lengths[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._last = [row.draw(output.logits[place, -1]) for place, row in enumerate(self._rows)]
        self._lengths = [length + 1 for length in self._lengths]
        return [(row.key, token) for row, token in zip(self._rows, self._last, strict=True)]


def _joined(cache: Any, other: Any, width: int) -> Any:
    """One cache with the rows of both, padded on the left to `width` tokens."""
    joined = DynamicCache()
    for place, layer in enumerate(other.layers):
        keys, values = _widened(layer.keys, width), _widened(layer.values, width)
        if cache is not None:
            mine = cache.layers[place]
            keys = torch.cat([_widened(mine.keys, width), keys])
            values = torch.cat([_widened(mine.values, width), values])
        joined.update(keys, values, place)
    return joined


def _kept(cache: Any, rows: list[int], width: int) -> Any:
    """A cache with some of the rows, without the padding that none of them needs."""
    kept = DynamicCache()
    for place, layer in enumerate(cache.layers):
        # Copies: a slice would keep the whole of the old cache in memory.
        kept.update(layer.keys[rows, :, -width:].contiguous(), layer.values[rows, :, -width:].contiguous(), place)
    return kept


def _widened(states: torch.Tensor, width: int) -> torch.Tensor:
    return pad(states, (0, 0, width - states.shape[-2], 0))
