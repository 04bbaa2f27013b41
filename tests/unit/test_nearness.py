"""The vectors of approved questions in memory: exact, kept apart by workspace, and followed when they change."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.loop.recall import Approved, Embedded, Near, Scope
from storage.nearness import Nearness

HERE = Scope("slack", "T1", "C1")


def pair(id: str, scope: Scope = HERE) -> Approved:  # noqa: A002 - the field's name
    return Approved(id, f"question {id}", f"answer {id}", scope, 1.0)


def unit(*numbers: float) -> list[float]:
    vector = np.array(numbers)
    return [float(number) for number in vector / np.linalg.norm(vector)]


def asked(*numbers: float, embedder: str = "m@1") -> Embedded:
    return Embedded((unit(*numbers),), embedder)


async def found(nearness: Nearness, question: Embedded, scope: Scope = HERE, most: int = 8) -> list[str]:
    return [near.pair.id for near in await nearness.nearest(scope, question, most)]


async def test_nearest_come_first_with_their_similarity() -> None:
    nearness = Nearness("m@1")
    nearness.put(pair("far"), unit(0, 1))
    nearness.put(pair("near"), unit(1, 0.1))
    nearness.put(pair("same"), unit(1, 0))

    nears = await nearness.nearest(HERE, asked(1, 0), 2)

    assert [near.pair.id for near in nears] == ["same", "near"]
    assert [near.similarity for near in nears] == pytest.approx([1.0, unit(1, 0.1)[0]])


async def test_other_workspaces_platforms_and_channels_are_not_searched() -> None:
    nearness = Nearness("m@1")
    scopes = {
        "own": HERE,
        "wide": Scope("slack", "T1"),
        "channel": Scope("slack", "T1", "C2"),
        "workspace": Scope("slack", "T2", "C1"),
        "platform": Scope("discord", "T1", "C1"),
    }
    for name, scope in scopes.items():
        nearness.put(pair(name, scope), unit(1, 0))

    assert await found(nearness, asked(1, 0)) == ["own", "wide"]
    assert await found(nearness, asked(1, 0), Scope("slack", "T1", "C9")) == ["wide"]
    assert await found(nearness, asked(1, 0), Scope("slack", "T9", "C1")) == []


async def test_what_is_far_elsewhere_does_not_crowd_out_what_is_here() -> None:
    nearness = Nearness("m@1")
    for number in range(50):
        nearness.put(pair(f"other{number}", Scope("slack", "T1", "C2")), unit(1, 0))
    nearness.put(pair("own"), unit(1, 1))

    assert await found(nearness, asked(1, 0), most=1) == ["own"]


async def test_vectors_of_another_embedder_are_not_compared() -> None:
    nearness = Nearness("m@1")
    nearness.put(pair("a"), unit(1, 0))

    assert await found(nearness, asked(1, 0, embedder="m@2")) == []


async def test_pair_that_is_put_again_takes_its_new_place() -> None:
    nearness = Nearness("m@1")
    nearness.put(pair("a"), unit(1, 0))
    nearness.put(pair("b"), unit(1, 0.2))
    nearness.put(pair("a", Scope("slack", "T2")), unit(1, 0))

    assert (len(nearness), await found(nearness, asked(1, 0))) == (2, ["b"])
    assert await found(nearness, asked(1, 0), Scope("slack", "T2", "C1")) == ["a"]


async def test_vector_of_another_width_is_refused_and_changes_nothing() -> None:
    nearness = Nearness("m@1")
    nearness.put(pair("a"), unit(1, 0))

    with pytest.raises(ValueError, match="1 numbers among vectors of 2"):
        nearness.put(pair("a"), [1.0])

    assert await found(nearness, asked(1, 0)) == ["a"]


async def test_nothing_is_found_where_nothing_is_wanted_or_held() -> None:
    nearness = Nearness("m@1")
    assert await found(nearness, asked(1, 0)) == []
    nearness.put(pair("a"), unit(1, 0))
    nearness.put(pair("b"), unit(1, 0))

    assert await found(nearness, asked(1, 0), most=0) == []
    nearness.drop("a")
    nearness.drop("a")
    nearness.drop("unknown")
    assert await found(nearness, asked(1, 0)) == ["b"]
    nearness.drop("b")
    assert await found(nearness, asked(1, 0)) == []


Change = tuple[str, int, str, list[float]]
changes = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "drop"]),
        st.integers(0, 90),
        st.sampled_from(["", "C1", "C2"]),
        st.lists(st.floats(-1, 1).map(lambda number: round(number, 2) + 0.001), min_size=3, max_size=3),
    ),
    max_size=200,
)


@settings(deadline=None)
@given(changes, st.integers(1, 5))
def test_whatever_changes_the_search_is_that_of_a_plain_loop(told: list[Change], most: int) -> None:
    nearness, held = Nearness("m@1"), dict[str, tuple[Approved, list[float]]]()
    for what, number, channel, numbers in told:
        name = f"p{number:02}"
        if what == "put":
            held[name] = pair(name, Scope("slack", "T1", channel)), unit(*numbers)
            nearness.put(*held[name])
        else:
            held.pop(name, None)
            nearness.drop(name)
    question = unit(1, 0.5, -0.25)

    nears = asyncio.run(nearness.nearest(HERE, Embedded((question,), "m@1"), most))

    plain = [
        Near(each, float(np.dot(np.array(vector, np.float32), np.array(question, np.float32))))
        for each, vector in held.values()
        if each.scope.channel in {"", "C1"}
    ]
    wanted = sorted((near.similarity for near in plain), reverse=True)[:most]
    assert [near.similarity for near in nears] == pytest.approx(wanted, abs=1e-6)
    assert {near.pair for near in nears} <= {near.pair for near in plain}
    assert len(nearness) == len(held)
