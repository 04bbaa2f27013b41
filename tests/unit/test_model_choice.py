"""Which engine runs a model on which machine, and what is said when none can."""

from __future__ import annotations

import pytest

from model.fitness import Fitness
from model.serve.choose import Machine, choose_engine
from model.serve.errors import HostStartError

GGUF = Fitness("a.gguf", "gguf", name="a", architecture="llama")
PHI = Fitness("p.gguf", "gguf", name="p", architecture="phi3")
FOLDER = Fitness("f", "folder", name="f", architecture="LlamaForCausalLM")
HUB = Fitness("o/m", "hub id", name="o/m")
ALL, GPU = Machine(openvino=True, torch=True, cuda=False), Machine(openvino=True, torch=True, cuda=True)
LIGHT, HEAVY = Machine(openvino=True, torch=False, cuda=False), Machine(openvino=False, torch=True, cuda=False)
NONE = Machine(openvino=False, torch=False, cuda=False)


@pytest.mark.parametrize(
    ("wanted", "model", "machine", "engine"),
    [
        ("auto", GGUF, ALL, "openvino"),
        ("auto", GGUF, LIGHT, "openvino"),
        ("auto", GGUF, GPU, "torch"),
        ("auto", GGUF, HEAVY, "torch"),
        ("auto", PHI, ALL, "torch"),
        ("auto", FOLDER, ALL, "torch"),
        ("auto", HUB, ALL, "torch"),
        ("openvino", GGUF, GPU, "openvino"),
        ("torch", GGUF, ALL, "torch"),
    ],
)
def test_engine_fits_the_model_and_the_machine(wanted: str, model: Fitness, machine: Machine, engine: str) -> None:
    choice = choose_engine(wanted, model, machine)

    assert choice.engine == engine
    assert choice.why


@pytest.mark.parametrize(
    ("wanted", "model", "machine", "remedy"),
    [
        ("auto", FOLDER, LIGHT, r"parley\[torch\]"),
        ("auto", PHI, LIGHT, r"phi3.*parley\[torch\]"),
        ("torch", GGUF, LIGHT, r"parley\[torch\]"),
        ("openvino", GGUF, HEAVY, r"parley\[host\]"),
        ("openvino", FOLDER, ALL, "ENGINE=auto or torch"),
        ("auto", GGUF, NONE, r"parley\[host\]"),
        ("fastest", GGUF, ALL, "auto, openvino or torch"),
    ],
)
def test_engine_that_cannot_run_is_told_with_the_remedy(
    wanted: str, model: Fitness, machine: Machine, remedy: str
) -> None:
    with pytest.raises(HostStartError, match=remedy):
        choose_engine(wanted, model, machine)
