"""From tokens to text: no half characters, no stop strings, no beginnings of them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from model.serve.text import Detokenizer, StopFilter


def decode_bytes(tokens: Sequence[int]) -> str:
    """A tokenizer whose tokens are single bytes."""
    return bytes(tokens).decode(errors="replace")


def show(text: str, stops: list[str], sizes: list[int]) -> tuple[list[str], StopFilter]:
    """What a filter shows of `text`, which comes in pieces of `sizes`."""
    shown, rest, filter_ = [], text, StopFilter(stops)
    for size in sizes:
        shown.append(filter_.take(rest[:size]))
        rest = rest[size:]
    shown += [filter_.take(rest), "" if filter_.stopped else filter_.finish()]
    return shown, filter_


@given(st.text())
def test_characters_are_never_shown_in_halves(text: str) -> None:
    decoder = Detokenizer(decode_bytes)

    pieces = [decoder.take([byte]) for byte in text.encode()] + [decoder.finish()]

    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces if "\ufffd" not in text)


@given(st.binary(max_size=40))
def test_bytes_that_make_no_characters_do_not_stop_the_answer(raw: bytes) -> None:
    decoder = Detokenizer(decode_bytes)

    text = "".join(decoder.take([byte]) for byte in raw) + decoder.finish()

    # How many marks stand for broken bytes depends on where they are cut; what is readable comes in order.
    assert [c for c in text if c.isascii()] == [c for c in raw.decode(errors="replace") if c.isascii()]


def test_token_text_depends_on_the_token_before() -> None:
    words = {1: "Hello", 2: " world"}
    # As sentence-piece tokenizers do: the space before the first word of a text is left out.
    decoder = Detokenizer(lambda tokens: "".join(words[token] for token in tokens).lstrip())

    assert [decoder.take([1]), decoder.take([2]), decoder.take([2])] == ["Hello", " world", " world"]


@given(st.text("abc", max_size=30), st.text("abc", min_size=1, max_size=4), st.lists(st.integers(1, 5)))
def test_text_ends_before_its_first_stop_string_however_it_is_cut(text: str, stop: str, sizes: list[int]) -> None:
    shown, filter_ = show(text, [stop], sizes)

    assert "".join(shown) == text.partition(stop)[0]
    assert filter_.stopped == (stop in text)


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
    st.lists(st.integers(1, 5)),
)
def test_no_stop_string_ever_leaks(text: str, stops: list[str], sizes: list[int]) -> None:
    shown, _ = show(text, stops, sizes)

    assert text.startswith("".join(shown))
    assert not any(stop in "".join(shown) for stop in stops)


def test_text_without_a_possible_stop_is_shown_at_once() -> None:
    filter_ = StopFilter(["\nUser:"])

    assert [filter_.take("Hello"), filter_.take(" you\n"), filter_.take("Bye")] == ["Hello", " you", "\nBye"]
