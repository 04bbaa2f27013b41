"""Secrets and personal data are found by their shape, and masked."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.loop.private import Finding, Kind, find, luhn, mask

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/=\nabc\n-----END RSA PRIVATE KEY-----"
PRIVATE = [
    ("ada@example.com", Kind.EMAIL),
    ("ada.king+news@mail.example.co.uk", Kind.EMAIL),
    ("jörg@bücher.example", Kind.EMAIL),
    ("+49 30 901820", Kind.PHONE),
    ("(030) 901-820", Kind.PHONE),
    ("+1-202-555-0143", Kind.PHONE),
    ("0049 (0)30 901820", Kind.PHONE),
    ("DE89 3704 0044 0532 0130 00", Kind.IBAN),
    ("gb82west12345698765432", Kind.IBAN),
    ("4111 1111 1111 1111", Kind.CARD),
    ("378282246310005", Kind.CARD),
    ("192.0.2.17", Kind.IP),
    ("2001:db8::8a2e:370:7334", Kind.IP),
    ("::ffff:192.0.2.1", Kind.IP),
    ("xoxb-" + "1" * 12 + "-abcDEF", Kind.TOKEN),
    ("ghp_" + "a1" * 18, Kind.TOKEN),
    ("AKIA" + "Z9" * 8, Kind.TOKEN),
    ("sk-proj-" + "a1B2" * 6, Kind.TOKEN),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dGhlLXNpZ25hdHVyZQ", Kind.TOKEN),
    (KEY, Kind.PRIVATE_KEY),
    (KEY[:50], Kind.PRIVATE_KEY),
]
HARMLESS = [
    "Version 1.2.3 came in 2024.",
    "It happened on 2026-11-24 at 11:37.",
    "The order is 1234567890123456 of 9999.",
    "3.14159265",
    "std::vector and a::b",
    "@ada look at #1234",
    "It costs 12,345.67 euros.",
    "1.2.3.4.5",
    "DE89 3704 0044 0532 0130 01 is none",
]


@pytest.mark.parametrize(("secret", "kind"), PRIVATE)
@pytest.mark.parametrize("around", ["{}", "Write to {}, please.", "({})", "a\n{}\nb", "«{}»"])
def test_what_is_private_is_found_whole_wherever_it_stands(secret: str, kind: Kind, around: str) -> None:
    text = around.format(secret)

    start = text.index(secret)

    assert Finding(start, start + len(secret), kind) in [
        found if found.kind is not Kind.PRIVATE_KEY else Finding(found.start, start + len(secret), found.kind)
        for found in find(text)
    ]
    assert secret not in mask(text)
    assert f"[{kind.value}]" in mask(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays(text: str) -> None:
    assert [found for found in find(text) if found.kind is not Kind.PHONE] == []


@pytest.mark.parametrize("text", HARMLESS[:2] + HARMLESS[3:8])
def test_what_is_no_number_to_call_stays(text: str) -> None:
    assert mask(text) == text


def test_a_key_takes_nothing_behind_it_along() -> None:
    assert mask(f"key {KEY} and ada@example.com!") == "key [private key] and [e-mail]!"


@given(st.lists(st.sampled_from([secret for secret, _ in PRIVATE]) | st.text(), max_size=6).map(" ".join))
def test_findings_are_in_order_and_nothing_is_left_after_masking(text: str) -> None:
    found = find(text)

    ends = [0, *(each.end for each in found)]
    assert all(end <= each.start < each.end <= len(text) for end, each in zip(ends, found, strict=False))
    assert find(mask(text)) == []
    assert mask(mask(text)) == mask(text)
    if not found:
        assert mask(text) == text


@given(st.text(alphabet=string.digits + " -.:@+()/abcxDE", max_size=80))
def test_nothing_is_left_of_whatever_looks_like_numbers(text: str) -> None:
    assert find(mask(text)) == []


@given(st.text(alphabet=string.digits, min_size=12, max_size=18))
def test_every_number_has_one_check_digit(digits: str) -> None:
    assert sum(luhn(digits + last) for last in string.digits) == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "1",
        "1 ",
        "-----BEGIN PRIVATE KEY-----",
        "a@",
        "a.",
        "@a.",
        "1.",
        ":",
        "a:",
        "eyJ",
        "DE89 ",
        "sk-",
        "(1",
        "💡",
    ],
)
def test_a_hundred_thousand_characters_of_anything_take_no_time_to_speak_of(piece: str) -> None:
    mask(piece * (100_000 // len(piece)))
