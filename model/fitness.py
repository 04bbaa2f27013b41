"""Says whether a model fits the task: to answer in a chat. Reads what it says of itself; needs no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from model.gguf_header import BrokenGguf, GgufHeader, read_gguf_header
from model.safetensors_header import BrokenSafetensors, read_weights
from model.wheel import wheel_model

# A causal model without a chat template is prompted with plain lines: `User: ...` and `Assistant:`.
PLAIN = "plain"

_ENCODERS = re.compile(r"bert|electra|mpnet|t5-?encoder|gemma-embedding|longformer|fnet|canine", re.IGNORECASE)
_SEQ2SEQ = re.compile(r"^(t5|mt5|umt5|bart|mbart|pegasus|marian|led|m2m|whisper|blenderbot|prophetnet)", re.IGNORECASE)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

UNDERSTANDS_ONLY = (
    "It is an encoder like BERT: it understands text but cannot write answers. Choose a causal (GPT) model."
)
REWRITES_ONLY = (
    "It is an encoder-decoder: it rewrites one text as another and keeps no chat. Choose a causal (GPT) model."
)


@dataclass(frozen=True, slots=True)
class Fitness:
    """What is known of a model; numbers are 0 and texts empty where it does not say.

    `weights_bytes` and `kv_bytes_per_1k` estimate the memory for serving: the weights once, and the attention's keys
    and values per 1,000 tokens of all conversations under way together. `template` says whose chat template is used:
    `own` or `plain`. Each of `problems` is a line that says why the model cannot serve; `notes` are for information.
    """

    source: str
    kind: Literal["gguf", "folder", "hub id", "unknown"]
    name: str = ""
    architecture: str = ""
    causal: bool = False
    parameters: int = 0
    file_bytes: int = 0
    weight_bits: float = 0.0
    context_tokens: int = 0
    weights_bytes: int = 0
    kv_bytes_per_1k: int = 0
    licence: str = ""
    template: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fit(self) -> bool:
        """Whether it can answer in a chat."""
        return not self.problems


def inspect_model(path_or_id: str) -> Fitness:
    """Reads what the GGUF file, Transformers folder or hub id says of itself. Never raises for a bad model."""
    path = Path(path_or_id).expanduser()
    try:
        if path.is_dir():
            return _folder(path)
        if path.is_file():
            return _gguf(path)
    except OSError as error:
        return Fitness(path_or_id, "unknown", problems=(f"{path} cannot be read: {error.strerror}.",))
    if path.suffix != ".gguf" and not path.is_absolute() and _HUB_ID.fullmatch(path_or_id):
        note = "A hub id: it is fetched, and looked at, when the host starts with it."
        return Fitness(path_or_id, "hub id", name=path_or_id, notes=(note,))
    return Fitness(path_or_id, "unknown", problems=(f"There is no model at {path_or_id}.",))


def list_models(home: Path) -> list[Fitness]:
    """The models under `home`/models, by name, and the small one from its wheel where that is installed."""
    folder = home / "models"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    models = [str(path) for path in found if path.suffix == ".gguf" or (path / "config.json").is_file()]
    if (small := wheel_model()) is not None:
        models.append(str(small))
    return [inspect_model(model) for model in models]


# ── GGUF ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _gguf(path: Path) -> Fitness:
    fitness = Fitness(str(path), "gguf", name=path.stem, file_bytes=path.stat().st_size)
    try:
        header = read_gguf_header(path)
    except BrokenGguf as error:
        return replace(fitness, problems=(f"{path.name} cannot be used: {error}.",))
    settings = header.settings
    bits = fitness.file_bytes * 8 / header.weights if header.weights else 0.0
    fitness = replace(
        fitness,
        architecture=header.architecture,
        parameters=header.weights,
        weight_bits=round(bits, 1),
        context_tokens=int(header.of_architecture("context_length") or 0),
        weights_bytes=fitness.file_bytes,
        kv_bytes_per_1k=_gguf_kv(header),
        licence=str(settings.get("general.license", "")),
    )
    problems = _architecture_problems(header.architecture, encoder_decoder=False)
    if settings.get("general.type", "model") != "model":
        problems = (f"It is no model but a {settings['general.type']}.",)
    if header.of_architecture("attention.causal") is False:
        problems = (UNDERSTANDS_ONLY,)
    if "tokenizer.ggml.tokens" not in settings:
        problems += (f"{path.name} holds no tokenizer.",)
    return _with_template(
        replace(fitness, causal=not problems, problems=problems), "tokenizer.chat_template" in settings
    )


def _gguf_kv(header: GgufHeader) -> int:
    layers, heads = header.of_architecture("block_count"), header.of_architecture("attention.head_count")
    width = header.of_architecture("embedding_length")
    if not all(isinstance(number, int) and number for number in (layers, heads, width)):
        return 0
    kv_heads = header.of_architecture("attention.head_count_kv")
    head_width = header.of_architecture("attention.key_length") or width // heads
    return _kv_bytes(layers, kv_heads if isinstance(kv_heads, int) else heads, head_width)


# ── Transformers folders ────────────────────────────────────────────────────────────────────────────────────────────


def _folder(path: Path) -> Fitness:
    fitness = Fitness(str(path), "folder", name=path.name)
    config = _json(path / "config.json")
    if not config:
        return replace(fitness, problems=(f"{path} is no Transformers folder: its config.json is missing or damaged.",))
    kinds = config.get("architectures") or []
    kind = str(kinds[0]) if kinds else str(config.get("model_type", ""))
    problems = _architecture_problems(
        str(config.get("model_type", kind)), encoder_decoder=bool(config.get("is_encoder_decoder"))
    )
    if not problems and kinds and not kind.endswith(("ForCausalLM", "LMHeadModel")):
        problems = (f"It is a {kind}, which writes no text. Choose a model whose config.json says ...ForCausalLM.",)
    fitness = replace(
        fitness,
        architecture=kind,
        causal=not problems,
        context_tokens=int(config.get("max_position_embeddings") or config.get("n_positions") or 0),
        kv_bytes_per_1k=_folder_kv(config),
        licence=_licence(path),
    )
    fitness = _with_weights(replace(fitness, problems=problems), path)
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        fitness = replace(fitness, problems=(*fitness.problems, f"{path} holds no tokenizer."))
    if "auto_map" in config:
        fitness = replace(fitness, notes=(*fitness.notes, "It brings code of its own, which Parley never runs."))
    templates = ("chat_template.jinja", "chat_template.json")
    own = "chat_template" in _json(path / "tokenizer_config.json") or any((path / name).exists() for name in templates)
    return _with_template(fitness, own)


def _with_weights(fitness: Fitness, path: Path) -> Fitness:
    try:
        weights = read_weights(path)
    except BrokenSafetensors as error:
        return replace(fitness, problems=(*fitness.problems, f"{path} cannot be used: {error}."))
    if not weights.numbers:
        pickled = any(path.glob("*.bin")) or any(path.glob("*.pt*"))
        # A pickle runs code when it is loaded.
        why = "its weights are a pickle, which can run code; convert them to" if pickled else "it holds no"
        return replace(fitness, problems=(*fitness.problems, f"{path} cannot be used: {why} safetensors."))
    return replace(
        fitness,
        parameters=weights.numbers,
        file_bytes=weights.file_bytes,
        weight_bits=float(weights.bits),
        weights_bytes=weights.numbers * 4,  # fp32 on a CPU; half of it where the hardware has bf16 or fp16
    )


def _folder_kv(config: Mapping[str, Any]) -> int:
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    width = config.get("hidden_size")
    if not (isinstance(layers, int) and isinstance(heads, int) and isinstance(width, int) and heads):
        return 0
    kv_heads = config.get("num_key_value_heads") or heads
    return _kv_bytes(layers, int(kv_heads), int(config.get("head_dim") or width // heads))


def _licence(path: Path) -> str:
    """The licence that the model card names in its front matter."""
    card = path / "README.md"
    found = (
        re.search(r"^license:\s*(\S+)", card.read_text(errors="replace")[:4000], re.MULTILINE)
        if card.exists()
        else None
    )
    return found[1] if found else ""


# ── both ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _architecture_problems(architecture: str, *, encoder_decoder: bool) -> tuple[str, ...]:
    if not architecture:
        return ("It does not say its architecture.",)
    if encoder_decoder or (_SEQ2SEQ.match(architecture) and not _ENCODERS.search(architecture)):
        return (REWRITES_ONLY,)
    return (UNDERSTANDS_ONLY,) if _ENCODERS.search(architecture) else ()


def _with_template(fitness: Fitness, own: bool) -> Fitness:  # noqa: FBT001 - one fact
    if own:
        return replace(fitness, template="own")
    note = "It has no chat template: plain lines (`User: ...`, `Assistant:`) are used. Better choose an instruct model."
    return replace(fitness, template=PLAIN, notes=(*fitness.notes, note))


def _kv_bytes(layers: int, kv_heads: int, head_width: int) -> int:
    return layers * kv_heads * head_width * 2 * 4 * 1000  # keys and values, fp32, 1,000 tokens


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
