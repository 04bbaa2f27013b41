"""Starting and stopping the model host: one clear line for each thing that is wrong, and a stop that drains."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import sys
from pathlib import Path

import aiohttp
import pytest

from model.serve.errors import HostStartError
from model.serve.main import HostOptions, find_model, listening, run_host
from model.wheel import wheel_model
from tests.support.tiny_model import make_bert_folder, make_tiny_llama

PROGRAM = """
import sys
from model.serve.main import HostOptions, run_host
model, engine, embedder = sys.argv[1:]
options = HostOptions(model=model, engine=engine, embedder=embedder, port=0, api_key="k")
run_host(options, lambda event, **fields: print(event, fields.get("url", ""), flush=True))
"""


def say_nothing(event: str, **_: object) -> None:
    pass


def start(**options: object) -> None:
    run_host(HostOptions(**({"port": 0} | options)), say_nothing)  # type: ignore[arg-type]


def test_missing_model_is_told_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(HostStartError, match=r"MODEL=.*none\.gguf"):
        start(model=str(tmp_path / "none.gguf"))


def test_bert_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(HostStartError, match=r"MODEL=.*cannot write answers"):
        start(model=str(make_bert_folder(tmp_path)))


def test_model_cut_short_is_told_by_its_setting(tmp_path: Path) -> None:
    small = wheel_model()
    assert small is not None
    half = tmp_path / "half.gguf"
    half.write_bytes(small.read_bytes()[:50_000_000])

    with pytest.raises(HostStartError, match=r"MODEL=.*half\.gguf is cut short|half\.gguf cannot be used: it is cut"):
        start(model=str(half))


@pytest.mark.timeout(60)
def test_model_that_no_engine_can_load_ends_the_host_with_one_line(tmp_path: Path) -> None:
    # A sound header that promises a llama, but only one of its tensors.
    name, tokens = b"general.architecture", b"tokenizer.ggml.tokens"
    body = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    body += struct.pack("<Q", len(name)) + name + struct.pack("<IQ", 8, 5) + b"llama"
    body += struct.pack("<Q", len(tokens)) + tokens + struct.pack("<IIQQ", 9, 8, 1, 1) + b"a"
    body += struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 32, 0, 0)
    (tmp_path / "odd.gguf").write_bytes(body + bytes(-len(body) % 32) + bytes(128))

    with pytest.raises(HostStartError, match="MODEL") as caught:
        start(model=str(tmp_path / "odd.gguf"), engine="openvino")

    assert "odd.gguf" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_embedder_is_told_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(HostStartError, match=r"EMBEDDER=.*nowhere.*config\.json"):
        start(embedder=str(tmp_path / "nowhere"))


def test_embedder_without_its_weights_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = make_bert_folder(tmp_path / "bert")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(HostStartError, match=r"EMBEDDER=.*cut short"):
        start(embedder=str(folder))


async def test_host_whose_embedder_fails_answers_all_the_same(tmp_path: Path) -> None:
    bert = make_bert_folder(tmp_path / "bert")  # sound files that hold no BERT
    arguments = (str(make_tiny_llama(tmp_path / "tiny")), "torch", str(bert))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        url = await until(process, "embedder failed")
        headers = {"Authorization": "Bearer k"}
        async with aiohttp.ClientSession(headers=headers) as http:
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
            async with http.post(f"{url}/chat/completions", json=body) as answer:
                answered = answer.status
            async with http.post(f"{url}/embeddings", json={"input": "Hi"}) as embedded:
                problem = await embedded.json()

        assert (answered, embedded.status, problem["error"]["code"]) == (200, 503, "failed")
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0


def test_port_in_use_is_told_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(HostStartError, match=rf"127\.0\.0\.1:{port}.*--port"):
            start(port=port)


def test_answers_are_sent_at_once_and_not_held_back_for_an_acknowledgement() -> None:
    with (
        listening(HostOptions(port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_open_network_wants_a_key() -> None:
    with pytest.raises(HostStartError, match=r"--host 0\.0\.0\.0.*MODEL_API_KEY"):
        start(host="0.0.0.0")


def test_unknown_engine_is_told_with_the_choices() -> None:
    with pytest.raises(HostStartError, match="auto, openvino or torch"):
        start(engine="fastest")


def test_small_model_is_found_without_a_setting() -> None:
    assert find_model("").source == str(wheel_model())


async def test_stop_lets_the_answer_under_way_finish(tmp_path: Path) -> None:
    folder = make_tiny_llama(tmp_path / "tiny")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(folder), "torch", "off", stdout=asyncio.subprocess.PIPE
    )
    try:
        url = await until(process, "model ready")
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 300, "temperature": 0, "stream": True}
        headers = {"Authorization": "Bearer k"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{url}/chat/completions", json=body, headers=headers) as response,
        ):
            first = await response.content.readline()
            process.send_signal(signal.SIGTERM)
            rest = await response.content.read()

        assert json.loads(first.removeprefix(b"data: "))["choices"]
        assert rest.endswith(b"data: [DONE]\n\n")
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(process: asyncio.subprocess.Process, event: str) -> str:
    """The address that the host prints, once it has come as far as `event`."""
    assert process.stdout is not None
    url = ""
    async with asyncio.timeout(90):
        while line := (await process.stdout.readline()).decode():
            if line.startswith("host listening"):
                url = line.split()[-1]
            if line.startswith(event):
                return url
    raise AssertionError("The host ended before it was ready.")
