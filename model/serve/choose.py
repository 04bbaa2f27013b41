"""Chooses the engine for a model on this machine, and says why."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.fitness import Fitness
from model.serve.engine import Engine
from model.serve.errors import HostStartError

# What OpenVINO GenAI 2026's GGUF reader takes; for the rest there is torch.
OPENVINO_ARCHITECTURES = frozenset({"llama", "qwen2", "qwen3"})

ENGINES = ("auto", "openvino", "torch")
_TORCH_REMEDY = "install it with: pip install 'parley[torch]'"
_OPENVINO_REMEDY = "install it with: pip install 'parley[host]'"


@dataclass(frozen=True, slots=True)
class Machine:
    """What is here to run models with."""

    openvino: bool
    torch: bool
    cuda: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why this one, as a sentence's end."""

    engine: Literal["openvino", "torch"]
    why: str


def look_around() -> Machine:
    """What this machine has. Imports torch only where a GPU's driver is present."""
    torch = _installed("torch") and _installed("transformers")
    driver = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))
    return Machine(_installed("openvino_genai"), torch, torch and driver and _cuda_works())


def choose_engine(wanted: str, fitness: Fitness, machine: Machine) -> Choice:
    """The engine for the model that `fitness` describes. `wanted` is `auto`, `openvino` or `torch`.

    Raises:
        HostStartError: no engine fits, or its package is missing.
    """
    if wanted not in ENGINES:
        raise HostStartError(f"ENGINE={wanted!r} is unknown; set it to auto, openvino or torch.")
    if wanted == "torch":
        return _torch("it was asked for", machine)
    unreadable = _unreadable(fitness)
    if wanted == "openvino":
        if unreadable:
            raise HostStartError(f"ENGINE=openvino cannot run {fitness.name}: {unreadable}; set ENGINE=auto or torch.")
        return _openvino("it was asked for", machine)
    if machine.cuda:
        return _torch("there is a GPU", machine)
    if unreadable:
        return _torch(unreadable, machine)
    if machine.torch and not machine.openvino:
        return _torch("OpenVINO is not installed", machine)
    return _openvino("there is no GPU, and it reads this GGUF directly", machine)


def load_engine(choice: Choice, fitness: Fitness) -> Engine:
    """Loads the model; takes seconds to minutes. Raises HostStartError."""
    if choice.engine == "openvino":
        from model.serve.openvino_engine import OpenVinoEngine  # noqa: PLC0415 - imported only where it is chosen

        return OpenVinoEngine(fitness)
    from model.serve.torch_engine import TorchEngine  # noqa: PLC0415 - imported only where it is chosen

    return TorchEngine(fitness)


def _unreadable(fitness: Fitness) -> str:
    """Why OpenVINO cannot run the model; "" where it can."""
    if fitness.kind != "gguf":
        return f"a {fitness.kind} needs Transformers"
    if fitness.architecture not in OPENVINO_ARCHITECTURES:
        return f"OpenVINO does not read the GGUF architecture {fitness.architecture!r}"
    return ""


def _torch(why: str, machine: Machine) -> Choice:
    if not machine.torch:
        raise HostStartError(f"The engine must be torch ({why}), which is not installed; {_TORCH_REMEDY}")
    return Choice("torch", why)


def _openvino(why: str, machine: Machine) -> Choice:
    if not machine.openvino:
        raise HostStartError(f"The engine must be openvino ({why}), which is not installed; {_OPENVINO_REMEDY}")
    return Choice("openvino", why)


def _cuda_works() -> bool:
    import torch  # noqa: PLC0415 - only where there is a driver

    return bool(torch.cuda.is_available())


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
