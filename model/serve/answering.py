"""One answer from an engine, as text: decoded, cut before stop strings, counted, and cancelled when nobody reads on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from model.fitness import PLAIN
from model.serve.engine import Drawing, Engine, Step
from model.serve.errors import ContextOverflow, EngineFailed
from model.serve.prompting import PLAIN_STOPS
from model.serve.text import Detokenizer, StopFilter

_keys = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of an answer: `reason` is `stop` or `length`."""

    reason: str
    prompt_tokens: int
    completion_tokens: int


async def answer(
    engine: Engine,
    prompt: Sequence[int],
    drawing: Drawing,
    stops: Sequence[str] = (),
    idle_s: float = 10.0,
    drawn: Callable[[int], None] = lambda _: None,
) -> AsyncGenerator[str | Ended, None]:
    """The text of an answer to `prompt`, piece by piece, then its end; "" each `idle_s` while nothing comes.

    `drawn` is told how many tokens came, each time. Closing the generator early frees the engine's slot. Raises
    EngineFailed.
    """
    steps: asyncio.Queue[Step] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    text = _Text(engine, stops)
    completion_tokens = 0
    key = next(_keys)

    def deliver(step: Step) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits for the answer any more
            loop.call_soon_threadsafe(steps.put_nowait, step)

    engine.start(key, prompt, drawing, deliver)
    try:
        while True:
            try:
                step = await asyncio.wait_for(steps.get(), idle_s)
            except TimeoutError:
                yield ""
                continue
            if step.end == "abort":
                raise EngineFailed("The engine broke off the answer.")
            completion_tokens += len(step.tokens)
            drawn(len(step.tokens))
            if piece := text.take(step):
                yield piece
            if text.stopped or step.end:
                yield Ended("stop" if text.stopped else str(step.end), len(prompt), completion_tokens)
                return
    finally:
        engine.cancel(key)


def bounded(engine: Engine, prompt: Sequence[int], drawing: Drawing) -> Drawing:
    """`drawing` with no more tokens than the context has room for. Raises ContextOverflow where there is none."""
    room = engine.info.context_tokens - len(prompt)
    if room < 1:
        raise ContextOverflow(len(prompt), engine.info.context_tokens)
    return Drawing(drawing.temperature, drawing.top_p, min(drawing.max_tokens, room), drawing.seed)


class _Text:
    """From steps to text that may be shown."""

    def __init__(self, engine: Engine, stops: Sequence[str]) -> None:
        plain = PLAIN_STOPS if engine.info.template == PLAIN else ()
        self._decoded = Detokenizer(engine.decode)
        self._filter = StopFilter((*stops, *plain))
        # Plain lines end with "Assistant:", and the answer begins with the space after it.
        self._leading = engine.info.template == PLAIN

    @property
    def stopped(self) -> bool:
        return self._filter.stopped

    def take(self, step: Step) -> str:
        text = self._decoded.take(step.tokens)
        if step.end:
            text += self._decoded.finish()
        shown = self._filter.take(text)
        if step.end:
            shown += self._filter.finish()
        if self._leading:
            shown = shown.lstrip()
            self._leading = not shown
        return shown
