"""The splitter: nothing lost, no limit broken, fences whole."""

from __future__ import annotations

import regex
from hypothesis import example, given
from hypothesis import strategies as st

from core.chat.split import Fence, _fence_after, split_parts, split_reply

_WORDS = st.text(alphabet="abcdeé漢 \n\t*_#-`~", max_size=40)
_PIECES = st.one_of(
    _WORDS,
    st.sampled_from(
        ["```python\n", "\n```\n", "```", "~~~~\n", "\n\n", "a" * 90, "👩‍👩‍👧‍👦", "e\u0301", "🇩🇪", "    ```\n"]
    ),
    st.text(max_size=30),
)
TEXTS = st.lists(_PIECES, max_size=40).map("".join)
LIMITS = st.integers(min_value=64, max_value=300)


@given(TEXTS, LIMITS)
def test_bodies_join_to_the_very_text(text: str, max_chars: int) -> None:
    parts = split_parts(text, max_chars)

    assert "".join(part.body for part in parts) == text


@given(TEXTS, LIMITS)
@example("```python " + "x" * 300 + "\n" + "y" * 300, 64)
def test_no_part_breaks_the_limit_or_is_empty(text: str, max_chars: int) -> None:
    parts = split_reply(text, max_chars)

    assert all(0 < len(part) <= max_chars for part in parts)
    assert bool(parts) == bool(text.strip())


@given(TEXTS, LIMITS)
def test_every_part_closes_the_fences_it_opens(text: str, max_chars: int) -> None:
    fence: Fence | None = None
    for part in split_parts(text, max_chars):
        assert part.prefix == (fence.opening if fence else "")
        fence = _fence_after(part.body, fence)
        assert part.suffix == (fence.closing if fence else "")


@given(st.lists(st.sampled_from(["word", "longer", "é", "漢字"]), min_size=1, max_size=200), LIMITS)
def test_words_are_not_cut(words: list[str], max_chars: int) -> None:
    text = " ".join(words)

    parts = split_reply(text, max_chars)

    assert " ".join(parts).split() == words


@given(st.lists(st.sampled_from(["👩‍👩‍👧‍👦", "e\u0301", "🇩🇪", "x"]), min_size=1, max_size=150), LIMITS)
def test_graphemes_are_not_cut(graphemes: list[str], max_chars: int) -> None:
    text = "".join(graphemes)
    expected = regex.findall(r"\X", text)

    parts = split_reply(text, max_chars)

    assert [grapheme for part in parts for grapheme in regex.findall(r"\X", part)] == expected


def test_a_growing_answer_changes_only_its_last_part() -> None:
    text = "one two three. " * 30

    before = split_reply(text[:250], 100)
    after = split_reply(text, 100)

    assert after[: len(before) - 1] == before[:-1]


def test_a_long_code_block_is_fenced_in_each_part_with_its_language() -> None:
    code = "```python\n" + "\n".join(f"line_{number} = {number}" for number in range(40)) + "\n```"

    parts = split_reply(code, 200)

    assert len(parts) > 2
    assert all(part.startswith("```python\n") and part.endswith("\n```") for part in parts)


def test_a_cut_never_leaves_an_empty_block_behind() -> None:
    text = "x " * 30 + "\n```py\n" + "y = 1\n" * 30 + "```"

    parts = split_reply(text, 70)

    assert not any(regex.search(r"```py\n```", part) for part in parts)
