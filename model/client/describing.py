"""What a host says of its model: its card, what its template adds to each message, how many tokens a text has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.chat.errors import HostError, HostRefused
from core.chat.ports import ModelInfo
from model.client.errors import Unreachable
from model.client.wire import Wire

DESCRIBE_FOR_S = 60.0
# Of so many texts, each of so many characters at most, the counts are kept.
KEPT_COUNTS = 100
KEPT_CHARS = 10_000
# Where a server has no /tokenize: what a chat template adds to a message, by a wide margin.
OVERHEAD_BOUND = 16


@dataclass(frozen=True, slots=True)
class Description:
    """A host's model; `versioned` where the host itself names the version, on its card and with each answer.

    `counts` are the tokens of texts that were counted lately: the system prompt comes with each question.
    """

    info: ModelInfo
    versioned: bool
    until: float
    counts: dict[str, int] = field(default_factory=dict, compare=False, repr=False)


class Describing:
    """Asks the host at `wire` for `model` ("" for its first), at most once a minute unless told to `forget`.

    `context_tokens` holds where the host does not say how much its model takes.
    """

    def __init__(
        self, wire: Wire, model: str, context_tokens: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wire = wire
        self._model = model
        self._context_tokens = context_tokens
        self._clock = clock
        self._known: Description | None = None
        self._failure: tuple[float, HostError] | None = None
        self._asking = asyncio.Lock()

    async def description(self) -> Description:
        """The model behind the host. Raises HostUnavailable and HostRefused."""
        began = self._clock()
        async with self._asking:
            if self._known is not None and self._clock() < self._known.until:
                return self._known
            if self._failure is not None and self._failure[0] > began:
                # Whoever waited for an attempt that failed has its result, too: a frozen host is waited for once.
                raise self._failure[1].with_traceback(None)
            try:
                self._known = await self._ask_model()
            except HostError as error:
                self._failure = (self._clock(), error)
                raise
            return self._known

    def forget(self, known: Description) -> None:
        """Asks anew the next time, unless that was done already: another process may listen there now."""
        if self._known is known:
            self._known = None

    async def count_tokens(self, text: str) -> int:
        """Tokens of `text` without special tokens; its UTF-8 bytes, an upper bound, where the host cannot count."""
        known = await self.description()
        if text in known.counts:
            return known.counts[text]
        if known.info.exact:
            try:
                counted = await self._count({"model": known.info.id, "prompt": text, "add_special_tokens": False})
            except Unreachable:
                self.forget(known)
                raise
            if counted is not None:
                _keep(known.counts, text, counted)
                return counted
        # A byte-level BPE never makes more tokens than bytes.
        return len(text.encode())

    async def _ask_model(self) -> Description:
        card = self._card(await self._wire.ask("GET", "/v1/models"))
        name = str(card["id"])
        says, version = card.get("max_model_len"), card.get("version")
        context = says if isinstance(says, int) and says > 0 else self._context_tokens
        overheads = await self._measure_overheads(name)
        of_message, of_prompt = overheads or (OVERHEAD_BOUND, OVERHEAD_BOUND)
        info = ModelInfo(name, str(version or name), context, of_message, of_prompt, exact=overheads is not None)
        return Description(info, bool(version), self._clock() + DESCRIBE_FOR_S)

    def _card(self, listing: Any) -> dict[str, Any]:
        listed = listing.get("data") if isinstance(listing, dict) else None
        cards: list[dict[str, Any]] = [card for card in listed or [] if isinstance(card, dict) and card.get("id")]
        if not cards:
            raise HostRefused(f"The model host at {self._wire.root} lists no model; check MODEL_URL.")
        for card in cards:
            if self._model in {"", card["id"]}:
                return card
        names = ", ".join(str(card["id"]) for card in cards[:5])
        raise HostRefused(
            f"The model host at {self._wire.root} has no model {self._model!r}, but {names}; check MODEL."
        )

    async def _measure_overheads(self, name: str) -> tuple[int, int] | None:
        """Tokens a message and a prompt cost beside their texts; None where the host cannot count.

        Measured with and without a system message, for some templates refuse one and others add their own.
        """
        text = await self._count({"model": name, "prompt": "a", "add_special_tokens": False})
        short = await self._count_roles(name, "user")
        long = await self._count_roles(name, "user", "assistant", "user")
        if text is None or short is None or long is None:
            return None
        per_message = max(0, -(-(long - short) // 2) - text)
        per_prompt = short - text - per_message
        with_system = await self._count_roles(name, "system", "user")
        if with_system is not None:
            per_prompt = max(per_prompt, with_system - 2 * (text + per_message))
        return per_message, max(0, per_prompt)

    async def _count_roles(self, name: str, *roles: str) -> int | None:
        messages = [{"role": role, "content": "a"} for role in roles]
        return await self._count({"model": name, "messages": messages, "add_generation_prompt": True})

    async def _count(self, body: dict[str, Any]) -> int | None:
        """What the host's `/tokenize` (in vLLM's shape, at the root) counts; None where it has none."""
        try:
            answer = await self._wire.ask("POST", "/tokenize", body)
        except HostRefused:
            return None
        count = answer.get("count") if isinstance(answer, dict) else None
        return count if isinstance(count, int) else None


def _keep(counts: dict[str, int], text: str, counted: int) -> None:
    if len(text) > KEPT_CHARS:
        return
    if len(counts) >= KEPT_COUNTS:
        counts.clear()
    counts[text] = counted
