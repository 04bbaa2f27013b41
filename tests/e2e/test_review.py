"""`parley review` as a reviewer types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.chat.message import Outcome
from core.loop.people import Role
from storage.accounts import SqlAccounts
from storage.engine import open_engine
from storage.ledger import SqlLedger
from tests.support.running import Home
from tests.support.store_cases import NOON, interaction, message

FAILED = interaction(message("1"), outcome=Outcome.FAILED, question="Mail ada@example.com\x1b[2J \u202eplease")
PLAIN = interaction(message("2"), sent_at=NOON + 1, question="How long is the notice?")


@pytest.fixture
async def home(tmp_path: Path, migrated_url: str) -> Home:
    engine = open_engine(migrated_url)
    await SqlLedger(engine).record([FAILED, PLAIN])
    accounts = SqlAccounts(engine)
    for name, role in (("Ada", Role.REVIEWER), ("Bob", Role.ADMIN), ("Eve", Role.VIEWER)):
        await accounts.add(name, role, "", "command-line")
    await engine.dispose()
    return Home(tmp_path, settings={"DATABASE_URL": migrated_url})


async def said(home: Home, *arguments: str, stdin: str = "") -> str:
    code, out, err = await home.run("review", *arguments, stdin=stdin)
    assert code == 0, err
    return out


async def read(home: Home, *arguments: str) -> Any:
    return json.loads(await said(home, *arguments, "--json"))


async def test_an_item_goes_from_the_inbox_to_its_verdict_and_back(home: Home) -> None:
    page = await read(home, "list", "--limit", "1")
    assert [item["turn_id"] for item in page["items"]] == [PLAIN.turn_id]
    rest = await read(home, "list", "--after", page["after"])
    assert [item["turn_id"] for item in rest["items"]] == [FAILED.turn_id]

    given = await read(home, "next", "--as", "ada")
    assert given["item"]["turn_id"] == FAILED.turn_id
    code, _, err = await home.run("review", "approve", FAILED.turn_id, "--as", "Bob")
    assert (code, "Somebody else" in err) == (78, True)
    assert "edited" in await said(home, "edit", FAILED.turn_id, "--as", "Ada", "--answer", "-", stdin="Write to us.\n")
    shown = await read(home, "show", FAILED.turn_id, "--as", "Ada")
    assert shown["item"]["state"] == "edited"
    assert shown["reviews"][0]["draft"]["answer"] == "Write to us."
    assert "taken back" in await said(home, "undo", "--as", "Ada")
    assert "skipped" in await said(home, "skip", FAILED.turn_id, "--as", "Ada")
    for verdict in ("reject", "escalate"):
        code, _, err = await home.run("review", verdict, FAILED.turn_id, "--as", "Bob")
        assert (code, err) == (0, "") or "already" in err


async def test_the_queue_ends_and_figures_are_told(home: Home) -> None:
    await said(home, "approve", FAILED.turn_id, "--as", "Bob", "--ms", "1500")
    assert await said(home, "tag", PLAIN.turn_id, "Policy", "tone", "--as", "Ada") == "policy, tone\n"
    assert await said(home, "tag", PLAIN.turn_id, "--remove", "tone", "--as", "Ada") == "policy\n"
    assert PLAIN.turn_id in (await read(home, "list", "--tag", "policy"))["items"][0]["turn_id"]
    await said(home, "reject", PLAIN.turn_id, "--as", "Ada")

    code, _, err = await home.run("review", "next", "--as", "Ada")

    assert (code, err) == (1, "Nothing waits.\n")
    table = await said(home, "stats")
    assert "Bob" in table
    assert "1.5" in table
    assert (await read(home, "stats"))["states"] == {"approved": 1, "rejected": 1}


async def test_what_people_wrote_steers_no_terminal_and_is_masked_when_asked(home: Home) -> None:
    for arguments in (("list",), ("show", FAILED.turn_id), ("show", FAILED.turn_id, "--mask")):
        out = await said(home, *arguments)
        assert "\x1b[2J" not in out
        assert "\u202e" not in out
        if "show" in arguments:
            assert ("ada@example.com" in out) != ("--mask" in arguments)
    shown = await read(home, "show", FAILED.turn_id, "--mask")
    assert "ada@example.com" not in json.dumps(shown)
    assert "[e-mail]" in shown["interaction"]["question"]


async def test_only_accounts_that_may_review_do(home: Home) -> None:
    for name, reason in (("Nobody", "no active account"), ("Eve", "may not review")):
        code, _, err = await home.run("review", "approve", PLAIN.turn_id, "--as", name)
        assert code == 78
        assert reason in err
    code, _, err = await home.run("review", "approve", "slack:T1:C1:none", "--as", "Ada")
    assert (code, "no such item" in err) == (78, True)
