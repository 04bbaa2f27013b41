"""The other commands of `parley`, as a user types them."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_discord import FakeDiscord
from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN
from tests.support.running import Home
from tests.support.stub_host import StubHost
from tests.support.tiny_model import make_bert_folder, make_tiny_llama
from tests.support.valkey import ValkeyServer
from tests.support.valkey_groups import WatchedValkey


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_the_parts_run_apart_on_one_redis_and_one_database(home: Home, sqlite_url: str) -> None:
    with ValkeyServer() as valkey:
        async with StubHost("From afar.") as host:
            home.settings |= {"REDIS_URL": valkey.url(), "DATABASE_URL": sqlite_url, "MODEL_URL": host.url}
            parts = [await home.spawn("bot"), await home.spawn("worker"), await home.spawn("worker")]

            code, out, err = await home.run("ask", "--json", "Who is there?")

            for part in parts:
                part.send_signal(signal.SIGTERM)
            codes = [await asyncio.wait_for(part.wait(), 40) for part in parts]

    assert code == 0, err
    assert json.loads(out)["answer"] == "From afar."
    assert codes == [0, 0, 0]


@pytest.fixture(params=["cluster", "sentinel"])
def many_servers(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings for a mailbox on several servers."""
    if request.param == "cluster":
        yield {"REDIS_URL": request.getfixturevalue("cluster_url")}
    else:
        with WatchedValkey() as watched:
            yield {"REDIS_URL": watched.url, "MAILBOX_REPLICAS": "1"}


async def test_the_parts_run_on_a_cluster_and_behind_sentinels(
    home: Home, many_servers: dict[str, str], sqlite_url: str
) -> None:
    async with StubHost("From many.") as host:
        home.settings |= {**many_servers, "DATABASE_URL": sqlite_url, "MODEL_URL": host.url}
        parts = [await home.spawn("worker", "--no-log"), await home.spawn("log")]

        code, out, err = await home.run("ask", "--json", "Who is there?")
        checked, report, _ = await home.run("check")

        for part in parts:
            part.send_signal(signal.SIGTERM)
        codes = [await asyncio.wait_for(part.wait(), 40) for part in parts]

    assert code == 0, err
    assert json.loads(out)["answer"] == "From many."
    assert checked == 0, report
    assert "replicas" in report
    assert codes == [0, 0]


async def test_stop_and_reset_work_in_the_terminal(home: Home, sqlite_url: str) -> None:
    with ValkeyServer() as valkey:
        async with StubHost([f"word{number} " for number in range(200)], delay_s=0.05) as host:
            home.settings |= {"REDIS_URL": valkey.url(), "DATABASE_URL": sqlite_url, "MODEL_URL": host.url}
            worker = await home.spawn("worker")
            chat = await home.spawn("chat")
            assert chat.stdin is not None
            chat.stdin.write(b"talk to me\n")
            await host.wait_chats(1, 30.0)
            chat.stdin.write(b"/stop\n")
            await host.wait_streams(0, 10.0)
            chat.stdin.write(b"/reset\n")
            chat.stdin.close()
            assert chat.stdout is not None
            out = (await asyncio.wait_for(chat.stdout.read(), 30)).decode()
            worker.send_signal(signal.SIGTERM)
            await worker.wait()

    assert "(stopped)" in out
    assert "word199" not in out
    assert "I have forgotten" in out


async def test_a_failed_answer_is_told_by_the_exit_code(home: Home, sqlite_url: str) -> None:
    with ValkeyServer() as valkey:
        home.settings |= {"REDIS_URL": valkey.url(), "DATABASE_URL": sqlite_url}
        async with StubHost() as host:
            home.settings["MODEL_URL"] = host.url
            worker = await home.spawn("worker")
            assert (await home.run("ask", "Anybody?"))[0] == 0
        code, out, _ = await home.run("ask", "Still there?")
        worker.send_signal(signal.SIGTERM)
        await worker.wait()

    assert code == 1
    assert "I cannot reach my language model" in out


async def test_check_names_what_is_wrong_and_the_remedy(home: Home) -> None:
    async with FakeSlack() as slack, FakeDiscord() as discord:
        slack.scopes.discard("chat:write")
        home.settings |= {
            "SLACK_BOT_TOKEN": BOT_TOKEN,
            "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_API_URL": slack.url,
            "DISCORD_TOKEN": discord.token,
            "DISCORD_API_URL": discord.api_url,
            "DISCORD_MESSAGE_CONTENT": "true",
            "MODEL_URL": "http://127.0.0.1:9",
        }
        (home.folder / ".env").write_text("SLACK_BOT_TOKN=xoxb-typo\n")

        code, out, _ = await home.run("check")

    assert code == 1
    assert "chat:write" in out
    assert "Message Content Intent" in out
    assert "SLACK_BOT_TOKN" in out
    assert "MODEL_URL" in out
    assert "permissions=" in out  # the invite link


async def test_check_is_content_before_anything_was_started(home: Home) -> None:
    code, out, err = await home.run("check")

    assert code == 0, out + err
    assert "parley up" in out


async def test_a_bert_is_refused_with_the_reason(home: Home) -> None:
    folder = make_bert_folder(home.folder / "bert")

    code, out, _ = await home.run("models", "check", str(folder))

    assert code == 1
    assert "understands text but cannot write answers" in out


async def test_a_causal_model_without_a_template_gets_a_named_fall_back(home: Home) -> None:
    folder = make_tiny_llama(home.folder / "tiny", template=False)

    code, out, _ = await home.run("models", "check", str(folder))

    assert code == 0, out
    assert "plain" in out


async def test_the_models_that_are_here_are_listed(home: Home) -> None:
    home.settings["COLUMNS"] = "200"
    make_tiny_llama(home.folder / "var" / "models" / "mine")

    code, out, _ = await home.run("models", "list")

    assert code == 0
    assert "SmolLM2-135M-Instruct" in out
    assert "mine" in out


async def test_help_names_all_commands(home: Home) -> None:
    code, out, _ = await home.run("--help")

    assert code == 0
    assert all(name in out for name in ("up", "bot", "worker", "log", "host", "chat", "ask", "check", "models"))
