"""The engine without torch: OpenVINO GenAI reads the GGUF directly and batches the answers under way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np  # comes with OpenVINO
import openvino_genai
from openvino import Tensor

from model.fitness import PLAIN, Fitness
from model.gguf_header import read_gguf_header
from model.serve.engine import ChatMessage, Drawing, End, EngineInfo, Step
from model.serve.errors import BadPrompt, HostStartError
from model.serve.orders import Desk, Order
from model.serve.prompting import Defuser, plain_lines

RUNNING = 16
# With the default of 8 bits a seed gives another answer beside other answers; with 32 it is the same, as fast. On CPUs
# with VNNI, OpenVINO also rounds activations to 8 bits by default, for one row and for several in different ways.
_PROPERTIES = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}
_GIB = 1024**3


@dataclass(slots=True)
class _Answer:
    handle: Any
    deliver: Callable[[Step], None]


class OpenVinoEngine:
    """Runs the GGUF that `fitness` describes on the CPU. Loading takes seconds: make it in a thread.

    One thread of its own owns the pipeline: it takes orders from the desk, steps, and hands out tokens.

    Raises:
        HostStartError: OpenVINO cannot read the file.
    """

    def __init__(self, fitness: Fitness) -> None:
        self._genai = openvino_genai
        try:
            self._pipe = openvino_genai.ContinuousBatchingPipeline(
                fitness.source, _scheduling(openvino_genai, fitness), "CPU", _PROPERTIES
            )
        except RuntimeError as error:
            why = str(error).strip().splitlines()[-1]
            raise HostStartError(
                f"OpenVINO cannot read {fitness.source} ({why}); set MODEL to another file or ENGINE=torch."
            ) from error
        self._tokenizer = self._pipe.get_tokenizer()
        self._defuser = Defuser(read_gguf_header(Path(fitness.source)).special_tokens)
        self._stop_ids = {self._tokenizer.get_eos_token_id()} | set(self._pipe.get_config().stop_token_ids)
        self.info = EngineInfo("openvino", "CPU", fitness.context_tokens, fitness.template, RUNNING)
        self._answers: dict[int, _Answer] = {}
        self._desk = Desk()
        self._thread = threading.Thread(target=self._run, name="openvino-engine", daemon=True)
        self._thread.start()

    def render(self, messages: Sequence[ChatMessage], *, answer: bool = True) -> list[int]:
        """The tokens of a prompt. Raises BadPrompt."""
        safe = self._defuser.messages(messages)
        if self.info.template == PLAIN:
            return self._encode(plain_lines(safe, answer=answer))
        try:
            text = self._tokenizer.apply_chat_template(safe, add_generation_prompt=answer)
        except RuntimeError as error:
            raise BadPrompt("The model's chat template does not take these messages.") from error
        return self._encode(text)

    def encode(self, text: str) -> list[int]:
        """The tokens of `text` alone."""
        return self._encode(self._defuser.text(text))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    @property
    def failed(self) -> bool:
        """Whether the engine's thread has ended."""
        return self._desk.is_shut

    def start(self, key: int, prompt: Sequence[int], drawing: Drawing, deliver: Callable[[Step], None]) -> None:
        """Begins an answer."""
        self._desk.place(Order(key, prompt, drawing, deliver))

    def cancel(self, key: int) -> None:
        """Ends an answer at the next step."""
        self._desk.cancel(key)

    def close(self) -> None:
        """Ends all answers and the thread."""
        self._desk.close()
        self._thread.join()

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return [int(token) for token in encoded.input_ids.data[0]]

    # ── the engine's own thread ─────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while self._desk.wait(idle=not self._answers):
                for key in self._desk.take_cancelled():
                    self._drop(key)
                while len(self._answers) < RUNNING and (order := self._desk.take()):
                    self._add(order)
                # A cancelled request leaves the pipeline, and gives back its memory, with the next step only.
                if self._pipe.has_non_finished_requests():
                    self._pipe.step()
                    self._hand_out()
        finally:
            self._desk.shut()
            for answer in self._answers.values():
                answer.deliver(Step((), "abort"))

    def _add(self, order: Order) -> None:
        try:
            tokens = Tensor(np.array([order.prompt], dtype=np.int64))
            handle = self._pipe.add_request(order.key, tokens, self._generation(order.drawing))
        except (RuntimeError, TypeError, ValueError):
            order.deliver(Step((), "abort"))
            return
        self._answers[order.key] = _Answer(handle, order.deliver)

    def _drop(self, key: int) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            answer.handle.cancel()

    def _hand_out(self) -> None:
        for key, answer in list(self._answers.items()):
            step = self._step_of(answer.handle)
            if step.end:
                del self._answers[key]
            if step.tokens or step.end:
                answer.deliver(step)

    def _step_of(self, handle: Any) -> Step:
        tokens: list[int] = []
        end: End | None = None
        while handle.can_read():
            for output in handle.read().values():
                tokens += output.generated_ids
                end = self._end(output.finish_reason) or end
        if end is None and handle.get_status() != self._genai.GenerationStatus.RUNNING:
            end = "abort"  # ignored or dropped: the cache is too small for it
        if tokens and tokens[-1] in self._stop_ids:
            del tokens[-1]
        return Step(tuple(tokens), end)

    def _end(self, reason: Any) -> End | None:
        reasons = self._genai.GenerationFinishReason
        if reason == reasons.STOP:
            return "stop"
        return "length" if reason == reasons.LENGTH else None

    def _generation(self, drawing: Drawing) -> Any:
        generation = self._genai.GenerationConfig()
        generation.max_new_tokens = drawing.max_tokens
        generation.stop_token_ids = self._stop_ids
        generation.apply_chat_template = False
        generation.do_sample = drawing.temperature > 0
        if generation.do_sample:
            generation.temperature = drawing.temperature
            generation.top_p = drawing.top_p
            generation.rng_seed = drawing.seed
        return generation


def _scheduling(genai: Any, fitness: Fitness) -> Any:
    """Room for four whole contexts at once, within a quarter of the memory, at least 1 GiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = 4 * fitness.context_tokens * fitness.kv_bytes_per_1k // 1000
    scheduling = genai.SchedulerConfig()
    scheduling.cache_size = max(1, -(-min(wanted, memory // 4) // _GIB))
    scheduling.max_num_seqs = RUNNING
    scheduling.max_num_batched_tokens = 512  # a long prompt is read in parts, so that other answers go on meanwhile
    scheduling.enable_prefix_caching = True
    return scheduling
