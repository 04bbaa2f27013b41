"""`parley up` as a user starts it, with the real small model where the answer matters and a stub where it does not."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sqlite3
from pathlib import Path

import aiohttp
import pytest

from tests.support.browser import chromium, page_of
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN
from tests.support.running import Home, until
from tests.support.slack_harness import SlackHarness
from tests.support.stub_host import StubHost
from tests.support.tiny_model import make_tiny_llama
from tests.support.valkey import ValkeyServer
from tests.support.wall import Wall

SCREENSHOTS = Path(__file__).resolve().parents[2] / "var" / "screenshots"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def with_stub(home: Home, host: StubHost) -> Home:
    home.settings |= {"MODEL_URL": host.url}
    return home


# ── the real small model ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.xdist_group("real-model")
async def test_a_stranger_chats_with_the_real_model_and_finds_it_all_again(home: Home) -> None:
    """One story on embedded defaults: terminal, browser, log, second start."""
    home.settings |= {"TEMPERATURE": "0", "MAX_TOKENS": "64"}
    async with home.up() as parley:
        assert any("http://127.0.0.1" in line for line in parley.said)
        assert any("SLACK_BOT_TOKEN" in line for line in parley.said)
        assert any("model host http://127.0.0.1" in line for line in parley.said)

        code, out, err = await home.run("ask", "What is the capital of France?")
        assert (code, "Paris" in out) == (0, True), (out, err)

        code, out, _ = await home.run("ask", "--json", "What is the capital of Italy?")
        interaction = json.loads(out)
        assert (code, interaction["outcome"]) == (0, "answered")
        assert interaction["messages"][-1]["content"] == "What is the capital of Italy?"
        assert interaction["tokens_exact"]

        code, out, _ = await home.run("chat", stdin="My name is Quokka.\n")
        assert code == 0
        await _ask_in_the_browser(home)

        code, out, _ = await home.run("check")
        assert code == 0, out
        assert "Valkey" in out
        assert await parley.stop() == 0
        assert parley.children() == []

    async with home.up() as parley:
        await home.run("chat", stdin="What is my name?\n")
        last = _rows(home)[-1]
        assert [message["content"] for message in json.loads(last["messages"])][1] == "My name is Quokka."
        assert await parley.stop(signal.SIGTERM) == 0
    assert len(_rows(home)) == 5


async def _ask_in_the_browser(home: Home) -> None:
    async with chromium() as browser, page_of(browser) as page:
        await page.goto(home.page)
        await page.get_by_role("textbox").fill("What is the capital of France?")
        await page.keyboard.press("Enter")
        await page.get_by_text("Paris").first.wait_for(timeout=60_000)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=SCREENSHOTS / "real-model.png")


def _rows(home: Home) -> list[sqlite3.Row]:
    connection = sqlite3.connect(home.folder / "var" / "parley.db")
    connection.row_factory = sqlite3.Row
    try:
        sql = "SELECT * FROM interaction JOIN interaction_text USING (day, turn_id) ORDER BY interaction.accepted_at"
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.xdist_group("torch")
async def test_a_transformers_folder_is_served_with_torch(home: Home) -> None:
    folder = make_tiny_llama(home.folder / "tiny")
    home.settings |= {"MODEL": str(folder), "ENGINE": "torch", "MAX_TOKENS": "8"}

    async with home.up():
        code, out, err = await home.run("ask", "--json", "Hello?")

    row = json.loads(out)
    assert code in (0, 1), err  # random weights may say nothing at all
    assert row["prompt_tokens"] > 0
    assert row["model"]


# ── all platforms, with everything of ours replaced by a setting ────────────────────────────────────────────────────


async def test_slack_and_discord_are_answered_when_their_tokens_are_set(home: Home) -> None:
    async with StubHost("Hello from the model.") as host, FakeSlack() as slack, FakeDiscord() as discord:
        with_stub(home, host).settings |= {
            "SLACK_BOT_TOKEN": BOT_TOKEN,
            "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_API_URL": slack.url,
            "DISCORD_TOKEN": discord.token,
            "DISCORD_API_URL": discord.api_url,
            "DISCORD_GATEWAY_URL": discord.gateway_url,
        }
        async with home.up():
            await discord.wait_until_connected()
            await discord.say_direct("U1", "hello")
            await until(lambda: slack.sockets.count > 0)
            people = SlackHarness(slack, Wall())
            await people.say_in_room("U1", "hello")
            await until(lambda: people.visible() == ["Hello from the model."])
            await until(lambda: any("Hello from the model." in post.content for post in discord.posts()))


async def test_nothing_of_ours_is_started_where_all_three_are_set(home: Home, postgres_url: str) -> None:
    with ValkeyServer() as valkey:
        async with StubHost("Hello.") as host:
            with_stub(home, host).settings |= {"REDIS_URL": valkey.url(), "DATABASE_URL": postgres_url}
            async with home.up() as parley:
                code, out, err = await home.run("ask", "--json", "Hello?")
                commands = [" ".join(child.cmdline()) for child in parley.children()]

    assert code == 0, err
    assert json.loads(out)["answer"] == "Hello."
    assert not any("valkey" in command or " host " in command for command in commands)
    assert len(commands) == 2


async def test_each_part_says_where_it_can_be_watched(home: Home) -> None:
    async with StubHost("Hello.") as host, with_stub(home, host).up() as parley:
        (line,) = [line for line in parley.said if line.split()[:1] == ["watch"]]
        pages = re.findall(r"(\w+) (http://127\.0\.0\.1:\d+/ready)", line)
        async with aiohttp.ClientSession() as session, asyncio.timeout(30.0):
            for _, page in pages:
                while (await session.get(page)).status != 200:
                    await asyncio.sleep(0.05)

    assert [name for name, _ in pages] == ["bot", "worker"]


# ── stopping and dying ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_ctrl_c_lets_the_answer_under_way_finish(home: Home) -> None:
    async with StubHost([f"word{number} " for number in range(20)], delay_s=0.1) as host:
        async with with_stub(home, host).up() as parley:
            asking = asyncio.create_task(home.run("ask", "talk to me"))
            await host.wait_chats(1)

            code = await parley.stop(signal.SIGINT)

            assert code == 0
            assert parley.children() == []
        await asking

    (row,) = _rows(home)
    assert row["outcome"] == "answered"
    assert row["answer"].split() == [f"word{number}" for number in range(20)]


async def test_a_killed_parent_leaves_no_child_behind(home: Home) -> None:
    async with StubHost() as host, with_stub(home, host).up() as parley:
        assert len(parley.children()) == 3

        parley.process.kill()
        await parley.process.wait()

        await until(lambda: not parley.children())


async def test_what_a_kill_interrupted_is_answered_after_the_next_start(home: Home) -> None:
    async with StubHost() as host:
        host.gate.clear()
        home.settings["LEASE_S"] = "1"
        async with with_stub(home, host).up() as parley:
            asking = asyncio.create_task(home.run("ask", "are you there?"))
            await host.wait_chats(1)
            parley.process.kill()
            await asking
        host.gate.set()

        async with home.up():
            await until(lambda: (home.folder / "var" / "parley.db").exists() and len(_rows(home)) == 1)

    assert _rows(home)[0]["question"] == "are you there?"


async def test_a_worker_that_dies_is_started_again(home: Home) -> None:
    async with StubHost("Back again.") as host, with_stub(home, host).up() as parley:
        parley.child("worker").kill()
        await parley.wait_for("The worker ended")

        code, out, _ = await home.run("ask", "are you there?")

    assert (code, out.strip()) == (0, "Back again.")


# ── what keeps it from starting ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"SLACK_BOT_TOKEN": "xoxb-1"}, ["SLACK_APP_TOKEN", "Socket Mode"]),
        ({"SLACK_APP_TOKEN": "xapp-1"}, ["SLACK_BOT_TOKEN"]),
        ({"SLACK_BOT_TOKEN": "secret-value", "SLACK_APP_TOKEN": "xapp-1"}, ["SLACK_BOT_TOKEN", "xoxb-"]),
        ({"PARLEY_PORT": "http"}, ["PARLEY_PORT", "'http'"]),
        ({"MODEL": "nowhere.gguf"}, ["MODEL=nowhere.gguf"]),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, ["REDIS_URL"]),
        ({"REDIS_URL": "http://127.0.0.1"}, ["REDIS_URL", "redis://"]),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/none"}, ["DATABASE_URL"]),
        ({"DATABASE_URL": "mysql://127.0.0.1/none"}, ["DATABASE_URL"]),
        ({"PARLEY_HOME": "/dev/null/var"}, ["PARLEY_HOME=/dev/null/var"]),
        ({"PERSONA_FILE": "nobody.txt"}, ["PERSONA_FILE=nobody.txt"]),
        ({"MODEL_URL": "localhost:8000"}, ["MODEL_URL", "http://"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
async def test_a_wrong_setting_is_one_clear_line_and_an_exit_code(
    home: Home, settings: dict[str, str], names: list[str]
) -> None:
    async with StubHost() as host:
        home.settings |= ({} if "MODEL" in settings else {"MODEL_URL": host.url}) | settings

        code, _, err = await home.run("up")

    assert code == 78
    lines = [line for line in err.splitlines() if line.startswith("parley: ")]
    assert len(lines) == 1, err
    assert all(name in lines[0] for name in names), lines
    assert "Traceback" not in err
    assert "secret-value" not in err


async def test_a_damaged_model_file_is_named(home: Home) -> None:
    broken = home.folder / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x00" * 100)
    home.settings["MODEL"] = str(broken)

    code, _, err = await home.run("up")

    assert code == 78
    assert "broken.gguf" in err
    assert "Traceback" not in err


async def test_a_port_in_use_is_named_with_its_setting(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", home.port))
        taken.listen()

        code, _, err = await home.run("up")

    assert code == 78
    assert f"PARLEY_PORT={home.port}" in err


async def test_tokens_that_the_platforms_refuse_end_the_start_with_their_names(home: Home) -> None:
    async with StubHost() as host, FakeSlack() as slack:
        with_stub(home, host).settings |= {
            "SLACK_BOT_TOKEN": "xoxb-wrong",
            "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_API_URL": slack.url,
        }
        code, _, err = await home.run("up")

    assert code == 78
    assert "SLACK_BOT_TOKEN" in err
    assert "xoxb-wrong" not in err


async def test_a_second_parley_on_the_same_data_is_refused(home: Home) -> None:
    async with StubHost() as host, with_stub(home, host).up():
        code, _, err = await home.run("up")

    assert code == 78
    assert "Another Parley" in err


async def test_asking_without_a_running_parley_says_what_to_start(home: Home) -> None:
    code, _, err = await home.run("ask", "Hello?")

    assert code == 78
    assert "parley up" in err
    assert "Traceback" not in err
