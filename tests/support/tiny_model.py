"""Models made on the fly: a random two-layer Llama with a byte tokenizer and a chat template, and a BERT as small."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|open|>{{ message['role'] }}\n{{ message['content'] }}<|close|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|open|>assistant\n{% endif %}"
)
CONTEXT_TOKENS = 512


def make_tiny_llama(folder: Path, *, template: bool = True) -> Path:
    """Saves the model in `folder`; it writes nonsense, the same nonsense for the same prompt. Needs torch."""
    import torch  # noqa: PLC0415 - a BERT is made without it
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    tokenizer = _byte_tokenizer()
    if template:
        tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|close|>"),
        initializer_range=0.5,  # far from uniform, so that greedy choices are clear
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_bert_folder(folder: Path) -> Path:
    """A folder as a BERT has it, with eight weights; no torch needed."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "max_position_embeddings": 512,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", 8)
    return folder


def write_safetensors(file: Path, numbers: int) -> None:
    """A file with one tensor of zeros."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * numbers))


def _byte_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, pre_tokenizers  # noqa: PLC0415 - comes with Transformers
    from tokenizers.models import BPE  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = Tokenizer(BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    model.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<|close|>", pad_token="<|close|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|open|>"]})
    return tokenizer
