"""HostEmbedder: core's Embedder over `/v1/embeddings` of one or several hosts that serve the same model."""

from __future__ import annotations

import base64
import binascii
import math
import random
import sys
import time
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from core.chat.errors import AnswerBroken, HostError, HostUnavailable
from core.loop.recall import Embedded, Vector
from model.client.errors import UnknownModel
from model.client.health import BackOff, Clock, Health
from model.client.rendezvous import ranked
from model.client.timing import Timeouts
from model.client.wire import Wire

# Texts that one request carries; more go one request after the other, so that others get their turn at the host.
REQUEST_TEXTS = 64
# Far more than a small model reads; what is behind it need not travel.
MAX_CHARS = 16_000
# A question is not held up for longer by what is a help only; a request of many texts is given as much for each 8.
ASK_S = 2.0


@dataclass(frozen=True, slots=True)
class EmbedderStanding:
    """How a host stands as an embedder, for whoever watches: `well` unless it is set aside, for `reason`."""

    url: str
    well: bool
    reason: str


class HostEmbedder:
    """Embeds at the hosts behind `wires`, asked for `model` ("" for whatever they have).

    A host that is gone, slow or broken is set aside for a while, as for answers; another is asked at once. Nothing is
    waited for: whoever wants a vector can go on without one.
    """

    def __init__(
        self,
        wires: Sequence[Wire],
        model: str = "",
        *,
        back_off: BackOff | None = None,
        clock: Clock = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not wires:
            raise ValueError("an embedder has at least one host")
        self._wires = {wire.root: wire for wire in wires}
        self._model = model
        self._clock = clock
        self._healths = {root: Health(back_off or BackOff(), clock, chance) for root in self._wires}

    @property
    def standings(self) -> list[EmbedderStanding]:
        """How each host stands, in the order in which they were named."""
        return [
            EmbedderStanding(root, not health.aside, health.reason if health.aside else "")
            for root, health in self._healths.items()
        ]

    async def embed(self, texts: Sequence[str], trace: str = "") -> Embedded:
        """The vectors of `texts`, none of which may be blank.

        Raises:
            HostUnavailable: no host to be had now.
            HostRefused: no host embeds, or the texts were refused.
            AnswerBroken: a host answered something else than vectors, or the hosts have different models.
        """
        vectors: list[Vector] = []
        cut: list[int] = []
        embedder = ""
        for begin in range(0, len(texts), REQUEST_TEXTS):
            part = await self._embed([text[:MAX_CHARS] for text in texts[begin : begin + REQUEST_TEXTS]], trace)
            if embedder not in {"", part.embedder}:
                raise AnswerBroken(f"The model hosts embed differently, {embedder} and {part.embedder}; give them one.")
            embedder = part.embedder
            vectors += part.vectors
            cut += [begin + place for place in part.cut]
        cut += [place for place, text in enumerate(texts) if len(text) > MAX_CHARS]
        return Embedded(tuple(vectors), embedder, tuple(sorted(set(cut))))

    async def _embed(self, texts: Sequence[str], trace: str) -> Embedded:
        failure: HostError | None = None
        for root in self._askable(texts[0]):
            began, health = self._clock(), self._healths[root]
            health.probing = health.aside  # one at a time tries a host that failed
            try:
                embedded = await self._ask(self._wires[root], texts, trace)
            except (HostUnavailable, AnswerBroken, UnknownModel) as error:
                failure = error
                health.failed(error, began)
            else:
                health.finished(began)
                return embedded
            finally:
                health.probing = False
        raise failure or HostUnavailable(f"No model host embeds now: {self._reasons()}")

    def _askable(self, key: str) -> list[str]:
        return ranked(key, [root for root, health in self._healths.items() if not health.wait_s()])

    def _reasons(self) -> str:
        return "; ".join(health.reason for health in self._healths.values() if health.reason)

    async def _ask(self, wire: Wire, texts: Sequence[str], trace: str) -> Embedded:
        body = {"model": self._model, "input": list(texts), "encoding_format": "base64"}
        patient = replace(wire.timeouts, ask_s=wire.timeouts.ask_s * math.ceil(len(texts) / 8))
        headers = {"traceparent": trace} if trace else {}
        answer = await replace(wire, timeouts=patient).ask("POST", "/v1/embeddings", body, headers)
        try:
            return _read(answer, len(texts))
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise AnswerBroken(f"The model host at {wire.root} answered no vectors ({error}).") from error


@asynccontextmanager
async def open_embedder(
    urls: Sequence[str], api_key: str, model: str = "", *, timeouts: Timeouts | None = None
) -> AsyncIterator[HostEmbedder]:
    """The embedder at the hosts of `urls`, with the connections to them, for as long as the block takes."""
    # As in `open_fleet`: uvicorn closes a connection after 5 idle seconds, and hosts have no business with cookies.
    connector, jar = aiohttp.TCPConnector(limit=0, keepalive_timeout=3.0), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        roots = [url.rstrip("/").removesuffix("/v1") for url in urls]
        patience = timeouts or Timeouts(ask_s=ASK_S)
        yield HostEmbedder([Wire(root, session, patience, api_key) for root in roots], model)


def _read(answer: Any, count: int) -> Embedded:
    """What a host answered; ours also says its model's version and which texts it cut. Raises what is odd in it."""
    vectors = [_unit(_numbers(item["embedding"])) for item in sorted(answer["data"], key=lambda item: item["index"])]
    if len(vectors) != count or len({len(vector) for vector in vectors}) != 1:
        raise ValueError(f"{len(vectors)} vectors for {count} texts, or of different widths")
    name, version = answer["model"], answer.get("version")
    cut = answer.get("truncated") or []
    return Embedded(tuple(vectors), f"{name}@{version}" if version else str(name), tuple(int(place) for place in cut))


def _numbers(given: Any) -> array[float]:
    """32-bit numbers, which servers give in base64 or, some of them even when asked for that, as a list."""
    if not isinstance(given, str):
        return array("f", given)
    numbers = array("f", base64.b64decode(given, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _unit(numbers: array[float]) -> array[float]:
    """The vector at length 1: not every server brings it to that."""
    length = math.hypot(*numbers)
    if not math.isfinite(length) or length == 0.0:
        raise ValueError("a vector without a length")
    return numbers if abs(length - 1.0) < 1e-5 else array("f", (number / length for number in numbers))
