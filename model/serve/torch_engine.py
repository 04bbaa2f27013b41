"""The engine on torch: Transformers models on CUDA, Apple's GPU or the CPU, the answers under way as one batch.

Transformers has continuous batching of its own. It is not used: its sampling has no seed per request and takes all
requests as sampled or all as greedy, and on a CPU it was half as fast as the plain batch here (`model/serve/batch.py`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from jinja2 import TemplateError

from model.fitness import PLAIN, Fitness
from model.serve.batch import Batch, Prefill, Row
from model.serve.engine import ChatMessage, Drawing, EngineInfo, Step
from model.serve.errors import BadPrompt, HostStartError
from model.serve.orders import Desk, Order
from model.serve.prompting import Defuser, plain_lines

RUNNING = 8


@dataclass(slots=True)
class _Answer:
    order: Order
    produced: int = 0


class TorchEngine:
    """Runs the model that `fitness` describes. Loading takes seconds to minutes: make it in a thread.

    One thread of its own owns the model. Each of its rounds reads one part of one new prompt, then draws one token for
    every answer under way, so that a long prompt does not stop the others.

    Raises:
        HostStartError: Transformers cannot load the model.
    """

    def __init__(self, fitness: Fitness) -> None:
        device, dtype = best_device()
        self._tokenizer, model = _load(fitness, dtype)
        self._batch = Batch(model.to(device).eval(), device)
        self._stop_ids = _stop_ids(model, self._tokenizer)
        added = self._tokenizer.added_tokens_decoder.values()
        self._defuser = Defuser(token.content for token in added if token.special)
        context = getattr(model.config, "max_position_embeddings", None) or fitness.context_tokens or 2048
        own = bool(self._tokenizer.chat_template)
        self.info = EngineInfo("torch", device, int(context), "own" if own else PLAIN, RUNNING)
        self._prefills: deque[tuple[_Answer, Prefill]] = deque()
        self._answers: dict[int, _Answer] = {}
        self._desk = Desk()
        self._thread = threading.Thread(target=self._run, name="torch-engine", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether the engine's thread has ended."""
        return self._desk.is_shut

    def render(self, messages: Sequence[ChatMessage], *, answer: bool = True) -> list[int]:
        """The tokens of a prompt. Raises BadPrompt."""
        safe = self._defuser.messages(messages)
        if self.info.template == PLAIN:
            return self._encode(plain_lines(safe, answer=answer))
        try:
            text = self._tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=answer)
        except TemplateError as error:
            raise BadPrompt(f"The model's chat template does not take these messages: {error}") from error
        return self._encode(text)

    def encode(self, text: str) -> list[int]:
        """The tokens of `text` alone."""
        return self._encode(self._defuser.text(text))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

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
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]

    # ── the engine's own thread ─────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._desk.wait(idle=not self._answers):
                    self._round()
        finally:
            self._desk.shut()
            for answer in self._answers.values():
                answer.order.deliver(Step((), "abort"))

    def _round(self) -> None:
        self._drop(self._desk.take_cancelled())
        while len(self._answers) < RUNNING and (order := self._desk.take()):
            self._add(order)
        self._read_on()
        for key, token in self._batch.step():
            self._hand_out(key, token)

    def _add(self, order: Order) -> None:
        if not order.prompt:
            order.deliver(Step((), "abort"))
            return
        answer = self._answers[order.key] = _Answer(order)
        self._prefills.append((answer, Prefill(tuple(order.prompt))))

    def _drop(self, keys: set[int]) -> None:
        ours = keys & self._answers.keys()
        self._prefills = deque(waiting for waiting in self._prefills if waiting[0].order.key not in ours)
        self._batch.remove(ours)
        for key in ours:
            del self._answers[key]

    def _read_on(self) -> None:
        """Reads one part of the oldest new prompt; the first token is drawn when it is read whole."""
        if not self._prefills:
            return
        answer, prefill = self._prefills[0]
        logits = self._batch.read_on(prefill)
        if logits is None:
            return
        self._prefills.popleft()
        drawing = answer.order.drawing
        generator = torch.Generator().manual_seed(drawing.seed % 2**63)
        row = Row(answer.order.key, drawing.temperature, drawing.top_p, generator)
        token = row.draw(logits)
        self._batch.add(row, token, prefill)
        self._hand_out(answer.order.key, token)

    def _hand_out(self, key: int, token: int) -> None:
        answer = self._answers[key]
        answer.produced += 1
        step = Step((token,))
        if token in self._stop_ids:
            step = Step((), "stop")
        elif answer.produced >= answer.order.drawing.max_tokens:
            step = Step((token,), "length")
        if step.end:
            del self._answers[key]
            self._batch.remove({key})
        answer.order.deliver(step)


def best_device() -> tuple[str, torch.dtype]:
    """Where to run, and in which numbers: 16 bits only where the hardware has them, for a CPU emulates them slowly."""
    if torch.cuda.is_available():
        return "cuda", torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if torch.backends.mps.is_available():
        return "mps", torch.float16
    return "cpu", torch.float32


def _load(fitness: Fitness, dtype: torch.dtype) -> tuple[Any, Any]:
    # Code that comes with a model never runs here, and a pickle never loads.
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": fitness.kind != "hub id"}
    where = fitness.source
    if fitness.kind == "gguf":
        file = Path(fitness.source)
        where, options["gguf_file"] = str(file.parent), file.name
    else:
        options["use_safetensors"] = True
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(where, dtype=dtype, **options)
        options.pop("use_safetensors", None)
        return transformers.AutoTokenizer.from_pretrained(where, **options), model
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise HostStartError(
            f"Transformers cannot load {fitness.source} ({why}); set MODEL to another model."
        ) from error


def _stop_ids(model: Any, tokenizer: Any) -> set[int]:
    named = model.generation_config.eos_token_id
    ids = set(named) if isinstance(named, list) else {named}
    return {int(token) for token in ids | {tokenizer.eos_token_id} if token is not None}
