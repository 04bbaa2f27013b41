"""Rendezvous hashing with bounded load: few conversations move, none is turned away, none crowds a host."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.client.rendezvous import choose, load_bound, ranked

SESSIONS = st.text(max_size=30)
NAMES = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6, unique=True)
LOADS = st.dictionaries(st.text(min_size=1, max_size=20), st.integers(0, 50), min_size=1, max_size=6)


@given(SESSIONS, NAMES)
def test_order_is_the_same_in_every_process(session: str, names: list[str]) -> None:
    shuffled = names[::-1]

    assert ranked(session, names) == ranked(session, shuffled)
    assert sorted(ranked(session, names)) == sorted(names)


@given(SESSIONS, NAMES)
def test_who_goes_takes_nothing_but_its_own_along(session: str, names: list[str]) -> None:
    order = ranked(session, names)

    for gone in names:
        left = [name for name in names if name != gone]
        assert ranked(session, left) == [name for name in order if name != gone]


@given(SESSIONS, NAMES, st.text(min_size=1, max_size=20))
def test_who_comes_takes_over_only_what_it_wins(session: str, names: list[str], new: str) -> None:
    before, after = ranked(session, names)[0], ranked(session, [*names, new] if new not in names else names)[0]

    assert after in {before, new}


def test_conversations_are_shared_out_evenly() -> None:
    hosts = [f"http://10.0.0.{number}:8010" for number in range(1, 4)]

    shares = Counter(ranked(f"slack:T1:C{number}:17000{number}.1", hosts)[0] for number in range(3000))

    # Standard deviation of a third of 3000: 26.
    assert all(abs(share - 1000) < 130 for share in shares.values())


@given(SESSIONS, LOADS)
def test_nobody_is_turned_away_without_a_cap(session: str, loads: dict[str, int]) -> None:
    assert choose(session, loads) in loads


@given(SESSIONS, LOADS, st.integers(0, 200))
def test_chosen_host_stays_within_the_bound(session: str, loads: dict[str, int], most: int) -> None:
    chosen = choose(session, loads, most)

    mean = (sum(loads.values()) + 1) / len(loads)
    assert chosen is None or loads[chosen] + 1 <= max(math.ceil(1.25 * mean), math.ceil(mean) + 1)


@pytest.mark.parametrize(("underway", "bound"), [(0, 1), (1, 2), (3, 2), (4, 3), (12, 5), (30, 13), (300, 125)])
def test_bound_is_a_quarter_over_the_mean_and_at_least_one(underway: int, bound: int) -> None:
    assert load_bound(underway, 3) == bound


@given(SESSIONS, LOADS, st.integers(1, 20))
def test_cap_is_kept_and_turns_away_only_when_all_are_at_it(session: str, loads: dict[str, int], most: int) -> None:
    chosen = choose(session, loads, most)

    if chosen is None:
        assert min(loads.values()) >= most
    else:
        assert loads[chosen] < most


@given(SESSIONS, LOADS)
def test_first_choice_is_left_only_when_it_has_more_than_its_share(session: str, loads: dict[str, int]) -> None:
    first = ranked(session, list(loads))[0]

    if choose(session, loads) != first:
        assert loads[first] >= load_bound(sum(loads.values()) + 1, len(loads))


@given(st.lists(SESSIONS, min_size=1, max_size=200), st.integers(1, 5))
def test_load_stays_bounded_however_the_conversations_come(sessions: list[str], hosts: int) -> None:
    loads = {f"h{number}": 0 for number in range(hosts)}

    for session in sessions:
        chosen = choose(session, loads)
        assert chosen is not None
        loads[chosen] += 1

    assert max(loads.values()) <= load_bound(len(sessions), hosts)


def test_idle_hosts_keep_every_conversation_at_its_first_choice() -> None:
    hosts = ["a", "b", "c"]

    moved = [s for s in map(str, range(300)) if choose(s, dict.fromkeys(hosts, 0)) != ranked(s, hosts)[0]]

    assert moved == []


def test_no_host_is_no_choice() -> None:
    assert choose("s", {}) is None
