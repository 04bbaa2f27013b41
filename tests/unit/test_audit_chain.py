"""The hash chain: every way to change it afterwards is found, at the first entry that does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.loop.audit import EMPTY, GENESIS, Entry, Head, Note, Verdict, Walk, canonical, digest, link

NOTE = Note("ada", "account.role", "account:bob", {"role": "admin", "was": "viewer"})


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    head = EMPTY
    for number in range(length):
        entry = link(head, replace(NOTE, actor=f"actor-{number}"), 1_800_000_000_000 + number)
        entries.append(entry)
        head = Head(entry.seq, entry.hash)
    return entries


def walk(entries: list[Entry], expected: Head | None = None) -> Verdict:
    steps = Walk(expected)
    for entry in entries:
        if broken := steps.step(entry):
            return Verdict(steps.head, broken)
    return Verdict(steps.head, steps.end())


def test_a_chain_as_it_was_written_is_whole() -> None:
    entries = chain(5)

    verdict = walk(entries)

    assert verdict.broken is None
    assert verdict.head == Head(5, entries[-1].hash)
    assert str(verdict).startswith("The audit trail is whole: 5 entries, head 5:")
    assert entries[0].prev == GENESIS


@pytest.mark.parametrize(
    "change",
    [
        {"at_ms": 1},
        {"actor": "eve"},
        {"action": "account.added"},
        {"subject": "account:eve"},
        {"details": "{}"},
        {"details": '{"role": "admin","was":"viewer"}'},
        {"hash": "f" * 64},
    ],
)
def test_a_changed_field_is_found_where_it_is(change: dict[str, Any]) -> None:
    entries = chain(5)
    entries[2] = replace(entries[2], **change)

    broken = walk(entries).broken

    assert broken is not None
    assert (broken.seq, broken.reason) == (3, "it was changed after it was written")


def test_a_changed_entry_with_its_hash_made_anew_is_found_behind_it() -> None:
    entries = chain(5)
    forged = replace(entries[2], actor="eve")
    entries[2] = replace(forged, hash=digest(forged))

    broken = walk(entries).broken

    assert broken is not None
    assert broken.seq == 4
    assert "changed or replaced" in broken.reason


def test_entries_taken_out_or_put_in_another_order_are_found() -> None:
    without, swapped = chain(5), chain(5)
    del without[1]
    swapped[1], swapped[2] = swapped[2], swapped[1]

    found = [walk(without).broken, walk(swapped).broken]

    assert [broken.seq for broken in found if broken] == [2, 2]


def test_a_chain_that_was_cut_off_or_written_anew_does_not_reach_the_head_that_was_noted() -> None:
    entries = chain(5)
    noted = Head(5, entries[-1].hash)
    anew = [link(EMPTY, NOTE, 1)]
    while len(anew) < 6:
        anew.append(link(Head(anew[-1].seq, anew[-1].hash), NOTE, 1))

    found = [walk(entries[:3], noted).broken, walk(anew, noted).broken, walk(entries, noted).broken]

    assert [broken.seq if broken else None for broken in found] == [4, 5, None]


def test_a_head_is_read_as_it_is_printed() -> None:
    head = Head(7, "ab" * 32)

    assert Head.parse(str(head)) == head
    for wrong in ("", "7", "x:" + "ab" * 32, "7:abc"):
        with pytest.raises(ValueError, match="is no head"):
            Head.parse(wrong)


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.booleans()))
def test_any_text_can_be_noted_and_is_hashed(actor: str, subject: str, details: dict[str, str | int | bool]) -> None:
    entry = link(EMPTY, Note(actor, "a", subject, details), 0)

    assert walk([entry]).broken is None
    assert walk([replace(entry, subject=subject + "x")]).broken is not None


def test_canonical_json_is_one_text_for_one_value() -> None:
    assert canonical({"b": 1, "a": "ä"}) == canonical({"a": "ä", "b": 1}) == '{"a":"\\u00e4","b":1}'
    with pytest.raises(ValueError, match="Out of range"):
        canonical(float("nan"))
