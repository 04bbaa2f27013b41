from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat.errors import AnswerBroken
from core.chat.ports import Finish
from model.client.events import MAX_LINE_BYTES, AnswerReader

PIECES = ["Hel", "lo ", "wörld ", "😀\n", "data: [DONE]"]


def _event(delta: dict[str, str], reason: str | None = None) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\r\n\r\n"


def _stream(*, closing: bytes = b"data: [DONE]\n\n") -> bytes:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}\n\n'
    said = b"".join(_event({"content": piece}) for piece in PIECES)
    return b": keep alive\n\n" + said + _event({}, "stop") + usage + closing


@given(st.lists(st.integers(min_value=0, max_value=len(_stream()))))
def test_answer_is_the_same_however_it_arrives(cuts: list[int]) -> None:
    reader, stream = AnswerReader(), _stream()
    edges = [0, *sorted(cuts), len(stream)]

    text = "".join(reader.take(stream[start:end]) for start, end in pairwise(edges))

    assert text == "".join(PIECES)
    assert reader.finish() == Finish("stop", 9, 5)


def test_what_follows_the_closing_mark_is_not_read() -> None:
    reader = AnswerReader()

    text = reader.take(_event({"content": "yes"}, "stop") + b"data: [DONE]\n\n" + _event({"content": "no"}))

    assert (text, reader.done) == ("yes", True)


def test_what_was_said_before_a_fault_counts() -> None:
    reader = AnswerReader()

    text = reader.take(_event({"content": "One "}) + b'data: {"error": {"message": "died"}}\n\n' + _stream())

    assert (text, reader.done) == ("One ", True)
    with pytest.raises(AnswerBroken, match="died"):
        reader.finish()


def test_stream_without_its_closing_mark_is_broken() -> None:
    reader = AnswerReader()

    reader.take(_stream(closing=b""))

    assert not reader.done
    with pytest.raises(AnswerBroken, match="closing mark"):
        reader.finish()


def test_line_without_an_end_is_given_up() -> None:
    reader = AnswerReader()

    for _ in range(3):
        reader.take(b"data: " + b"x" * (MAX_LINE_BYTES // 2))

    assert reader.done
    with pytest.raises(AnswerBroken, match="line of more than"):
        reader.finish()
