"""Discord's markup becomes text, and our text stays harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.discord.courier import nonce_for
from bots.discord.markup import Names, harmless, readable

NAMES = Names(
    own=frozenset({"1", "2"}),
    people={"10": "Ada", "11": "Bob"},
    roles={"20": "staff"},
    channels={"30": "general"},
)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<@1> hello", "hello"),
        ("<@!1>, hello", "hello"),
        ("<@&2>: hello", "hello"),
        ("hello <@1> there", "hello there"),
        ("hello <@1>", "hello"),
        ("<@1>", ""),
        ("<@1> <@10> and <@!11>", "@Ada and @Bob"),
        ("<@1> <@99>", "@someone"),
        ("<@&20> <@&21>", "@staff @some-role"),
        ("<#30> <#31>", "#general #some-channel"),
        ("<:wave:5> <a:dance:6>", ":wave: :dance:"),
        ("<t:0>", "1970-01-01 00:00 UTC"),
        ("<t:1700000000:R>", "2023-11-14 22:13 UTC"),
        ("<t:9999999999999>", "<t:9999999999999>"),
        ("</ask now:7>", "/ask now"),
        ("`<@1>` and ```\n<@10>\n```", "`<@1>` and ```\n<@10>\n```"),
        ("a < b > c", "a < b > c"),
    ],
)
def test_markup_becomes_words(content: str, text: str) -> None:
    assert readable(content, NAMES) == text


@given(st.text(alphabet="<>@!&#:at1 0`\n", max_size=60))
def test_no_content_breaks_the_reading(content: str) -> None:
    text = readable(content, NAMES)

    assert text == text.strip()


@given(st.text(max_size=100), st.sampled_from(["@everyone", "@here", "@EVERYONE", "@@here"]), st.text(max_size=100))
def test_broadcast_is_gone_and_the_length_stays(before: str, broadcast: str, after: str) -> None:
    text = before + broadcast + after

    safe = harmless(text)

    assert len(safe) == len(text)
    assert "@everyone" not in safe.lower()
    assert "@here" not in safe.lower()


def test_other_mentions_and_addresses_are_left_as_they_are() -> None:
    assert harmless("mail ada@example.org or @ada") == "mail ada@example.org or @ada"


@given(st.text(min_size=1), st.integers(0, 99))
def test_nonce_fits_and_repeats(turn_id: str, part: int) -> None:
    nonce = nonce_for(turn_id, str(part))

    assert len(nonce) <= 25
    assert nonce == nonce_for(turn_id, str(part)) != nonce_for(turn_id, str(part + 1))
