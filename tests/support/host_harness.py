"""Our own model host over real sockets, on an engine of a few lines that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import uvicorn

from model.serve.app import make_app
from model.serve.engine import ChatMessage, Drawing, EngineInfo, Step
from model.serve.errors import BadPrompt
from model.serve.main import HostOptions, listening
from model.serve.service import Service


class ScriptedEngine:
    """Answers with `reply`, a byte a token; waits while `gate` is cleared. Runs in the test's own loop."""

    def __init__(self) -> None:
        self.info = EngineInfo("scripted", "CPU", 256, "own", 2)
        self.reply = "Hello, wörld 😀!"
        self.broken = False
        self.failed = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.drawings: list[Drawing] = []
        self.answers: dict[int, asyncio.Task[None]] = {}

    def render(self, messages: Sequence[ChatMessage], *, answer: bool = True) -> list[int]:
        if messages[-1].content == "unspeakable":
            raise BadPrompt("The model's chat template does not take these messages.")
        text = "".join(f"{message.role}:{message.content}\n" for message in messages)
        return self.encode(text + ("assistant:" if answer else ""))

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    def start(self, key: int, prompt: Sequence[int], drawing: Drawing, deliver: Callable[[Step], None]) -> None:
        self.drawings.append(drawing)
        self.answers[key] = asyncio.create_task(self._answer(key, drawing, deliver))

    async def _answer(self, key: int, drawing: Drawing, deliver: Callable[[Step], None]) -> None:
        tokens = self.encode(self.reply)
        for token in tokens[: drawing.max_tokens]:
            await self.gate.wait()
            deliver(Step((token,)))
            await asyncio.sleep(0)
        ended = Step((), "length" if len(tokens) > drawing.max_tokens else "stop")
        deliver(Step((), "abort") if self.broken else ended)
        del self.answers[key]

    def cancel(self, key: int) -> None:
        if (task := self.answers.pop(key, None)) is not None:
            task.cancel()

    def close(self) -> None:
        self.failed = True

    async def wait_answers(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.answers) != count:
                await asyncio.sleep(0.005)


class Quiet(uvicorn.Server):
    """A server that leaves the test's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class Running:
    """A host under test: its engine, its service, its address."""

    def __init__(self, engine: ScriptedEngine, service: Service, url: str) -> None:
        self.engine = engine
        self.service = service
        self.url = url


@contextlib.asynccontextmanager
async def running(api_key: str = "", **service: Any) -> AsyncIterator[Running]:
    engine = ScriptedEngine()
    options: dict[str, Any] = {"model": "m", "version": "v1", "max_waiting": 1, "engine": engine}
    serving = Service(**(options | service))
    config = uvicorn.Config(make_app(serving, api_key), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = Quiet(config)
    with listening(HostOptions(port=0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield Running(engine, serving, f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            engine.gate.set()
            server.should_exit = True
            await task
