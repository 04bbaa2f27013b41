"""What `parley check` says of Slack."""

from __future__ import annotations

from pathlib import Path

import pytest

from bots.slack.check import NEEDED_SCOPES, check_slack
from tests.support.fake_slack import FakeSlack
from tests.support.fake_slack.server import APP_TOKEN, BOT_TOKEN


async def test_a_sound_set_up_has_no_errors() -> None:
    async with FakeSlack() as slack:
        findings = await check_slack(BOT_TOKEN, APP_TOKEN, slack.url)

    assert {finding.level for finding in findings} == {"ok"}


@pytest.mark.parametrize("scope", NEEDED_SCOPES)
async def test_a_missing_scope_is_named_with_where_to_add_it(scope: str) -> None:
    async with FakeSlack() as slack:
        slack.scopes.discard(scope)
        findings = await check_slack(BOT_TOKEN, APP_TOKEN, slack.url)

    errors = [finding.line for finding in findings if finding.level == "error"]
    assert len(errors) == 1
    assert f"scope {scope}:" in errors[0]
    assert "OAuth & Permissions" in errors[0]


@pytest.mark.parametrize(
    ("bot_token", "app_token", "named"),
    [
        ("", APP_TOKEN, "SLACK_BOT_TOKEN is not set"),
        (APP_TOKEN, APP_TOKEN, "SLACK_BOT_TOKEN does not begin with xoxb-"),
        ("xoxb-wrong", APP_TOKEN, "SLACK_BOT_TOKEN is refused by Slack (invalid_auth)"),
        (BOT_TOKEN, "", "SLACK_APP_TOKEN is not set"),
        (BOT_TOKEN, BOT_TOKEN, "SLACK_APP_TOKEN does not begin with xapp-"),
        (BOT_TOKEN, "xapp-wrong", "SLACK_APP_TOKEN is refused by Slack (invalid_auth)"),
    ],
)
async def test_a_wrong_token_is_named(bot_token: str, app_token: str, named: str) -> None:
    async with FakeSlack() as slack:
        findings = await check_slack(bot_token, app_token, slack.url)

    errors = [finding.line for finding in findings if finding.level == "error"]
    assert len(errors) == 1
    assert errors[0].startswith(named)
    assert "wrong" not in errors[0]  # a token is never repeated


@pytest.mark.parametrize("path", ["/elsewhere/", ""])
async def test_an_address_that_is_no_slack_names_the_setting(path: str) -> None:
    async with FakeSlack() as slack:
        url = slack.url.replace("/api/", path) if path else "http://127.0.0.1:9/api/"
        findings = await check_slack(BOT_TOKEN, APP_TOKEN, url)

    assert all("SLACK_API_URL" in finding.line for finding in findings if finding.level == "error")
    assert any(finding.level == "error" for finding in findings)


def test_the_manifest_asks_for_exactly_what_the_code_uses() -> None:
    lines = [line.split("#")[0].strip() for line in Path("docs/slack-manifest.yml").read_text().splitlines()]
    items = {line.removeprefix("- ").strip() for line in lines if line.startswith("- ")}

    events = {"app_mention", "message.channels", "message.groups", "message.im", "message.mpim"}
    events |= {"reaction_added", "reaction_removed"}
    assert items == set(NEEDED_SCOPES) | events
