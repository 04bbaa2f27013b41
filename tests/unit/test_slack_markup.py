"""Slack's markup: people's words in, harmless words out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.slack.markup import escaped, harmless, mentioned, plain_words, settled

NAMES = {"U1": "Ada", "U2": "Bo"}
CALLS = ["<!channel>", "<!here>", "<!everyone>", "<!subteam^S1|@team>", "@channel", "@here", "@everyone", "<@U1>"]
pieces = st.sampled_from(
    ["<!", "!", "chan", "channel", "nel>", "here", "every", "one", "@", "<", "<@", "U1>", " ", "a"]
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<@UBOT> hello", "hello"),
        ("<@UBOT|parley>: hello", "hello"),
        ("hey <@UBOT> what is up", "hey what is up"),
        ("hey <@UBOT>, what is up", "hey what is up"),
        ("<@UBOT>", ""),
        ("ask <@U1>", "ask @Ada"),
        ("ask <@U9>", "ask @U9"),
        ("ask <@U9|cy>", "ask @cy"),
        ("in <#C1|general> and <#C2>", "in #general and #C2"),
        ("see <https://a.example/x|the page>", "see the page (https://a.example/x)"),
        ("see <https://a.example>", "see https://a.example"),
        ("see <http://a.example|a.example>", "see http://a.example"),
        ("to <mailto:a@b.example|a@b.example>", "to a@b.example"),
        ("<!here> and <!subteam^S1|@team>", "@here and @team"),
        ("<!date^1392734382^{date}|today>", "today"),
        ("1 &lt; 2 &amp;&amp; 3 &gt; 2", "1 < 2 && 3 > 2"),
        ("&amp;lt;", "&lt;"),
        ("```\n  <@UBOT> x\n    y\n```", "```\n x\n    y\n```"),
    ],
)
def test_markup_becomes_plain_words(text: str, words: str) -> None:
    assert plain_words(text, "UBOT", NAMES) == words


def test_a_name_cannot_bring_markup_of_its_own() -> None:
    assert plain_words("<@U1>", "UBOT", {"U1": "<!channel>"}) == "@<!channel>"


def test_mentioned_people_are_named_once() -> None:
    assert mentioned("<@U1> <@U2|bo> <@U1> <#C1>") == ["U1", "U2"]


@pytest.mark.parametrize("call", [*CALLS, "<!CHANNEL>", "hello <!here|here>"])
def test_no_call_to_many_survives(call: str) -> None:
    out = harmless(f"say {call} now")

    assert not any(start in out.lower() for start in ("<!", "<@", "@channel", "@here", "@everyone"))


@pytest.mark.parametrize("text", ["mail me@here.example", "<!DOCTYPE html>", "a < b", "@ada", "```\n<!-- x -->\n```"])
def test_other_words_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


@given(st.lists(pieces).map("".join))
def test_lengths_stay(text: str) -> None:
    assert len(harmless(text)) == len(text)


@given(st.lists(pieces).map("".join), st.lists(pieces).map("".join))
def test_what_was_settled_is_never_rewritten_by_what_follows(text: str, more: str) -> None:
    assert harmless(text + more).startswith(settled(harmless(text)))


def test_an_ending_that_may_become_a_call_waits() -> None:
    assert settled("hello <!chan") == "hello "
    assert settled("hello <!chance") == "hello <!chance"


def test_plain_text_is_escaped() -> None:
    assert escaped("a < b & <!here>") == "a &lt; b &amp; &lt;!here&gt;"
