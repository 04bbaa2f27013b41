"""The command line's way to the model host and to the models that are here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog

from core.chat.ports import Tracer
from parley.compose import secret
from parley.errors import SetupError
from parley.extras import needs
from parley.outside import open_outside
from parley.settings import Settings

_log = structlog.get_logger(__name__)
_MB = 1_000_000


def serve_model(settings: Settings, host: str, port: int) -> None:
    """Runs the model host in this process until it is told to stop.

    Raises:
        SetupError: a line with the setting and the remedy.
    """
    with needs("host", "the model host", "MODEL"):
        from model.serve.errors import HostStartError  # noqa: PLC0415 - with the host's extra
        from model.serve.main import HostOptions, run_host  # noqa: PLC0415
    options = HostOptions(
        model=settings.model,
        engine=settings.engine,
        embedder=settings.embedder,
        host=host,
        port=port,
        api_key=secret(settings.model_api_key),
    )
    try:
        run_host(options, _log.info, lambda: host_tracer(settings))
    except HostStartError as error:
        raise SetupError(str(error)) from error


@asynccontextmanager
async def host_tracer(settings: Settings) -> AsyncIterator[Tracer]:
    """What follows the answers of the model host."""
    async with open_outside(settings, "host") as outside:
        yield outside.tracer


def known_models(settings: Settings) -> Iterable[tuple[str, ...]]:
    """A row a model: name, kind, parameters, size, context, licence, whether it fits."""
    with needs("host", "the model host", "MODEL"):
        from model.fitness import list_models  # noqa: PLC0415
    for model in list_models(settings.home):
        yield (
            model.name or model.source,
            model.kind,
            f"{model.parameters / _MB:.0f} M" if model.parameters else "?",
            f"{model.file_bytes / _MB:.0f} MB",
            str(model.context_tokens or "?"),
            model.licence or "?",
            "yes" if model.fit else model.problems[0],
        )


def model_report(path: str) -> tuple[bool, list[str]]:
    """Whether the model at `path` fits the task, and the lines that say why and what it needs."""
    with needs("host", "the model host", "MODEL"):
        from model.fitness import PLAIN, inspect_model  # noqa: PLC0415
    model = inspect_model(path)
    facts = [
        ("model", f"{model.name or model.source} ({model.kind})"),
        ("architecture", model.architecture),
        ("parameters", f"{model.parameters / _MB:.0f} million" if model.parameters else ""),
        ("weights", f"{model.file_bytes / _MB:.0f} MB at {model.weight_bits:.1f} bits" if model.file_bytes else ""),
        ("context", f"{model.context_tokens} tokens" if model.context_tokens else ""),
        ("memory", _memory(model.weights_bytes, model.kv_bytes_per_1k)),
        ("licence", model.licence),
        ("chat template", f"none; the fall-back {PLAIN!r} is used" if model.template == PLAIN else model.template),
    ]
    lines = [f"{name:<14} {value}" for name, value in facts if value]
    lines += [f"note           {note}" for note in model.notes]
    lines += [f"problem        {problem}" for problem in model.problems]
    return model.fit, [*lines, f"{'fit' if model.fit else 'not fit'} to answer in a chat"]


def _memory(weights_bytes: int, kv_bytes_per_1k: int) -> str:
    if not weights_bytes:
        return ""
    return f"about {weights_bytes / _MB:.0f} MB, and {kv_bytes_per_1k / _MB:.0f} MB per 1,000 tokens of open chats"
