"""Which host a conversation belongs to: rendezvous hashing with bounded load. Pure, and the same in every process.

Each host draws a weight for each conversation, and the highest wins. When a host goes, only its own conversations move,
each to its second choice; when it comes back, they return to what its prefix cache still holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b

LOAD_FACTOR = 1.25


def ranked(session: str, names: Sequence[str]) -> list[str]:
    """`names` in the order in which `session` prefers them."""
    return sorted(names, key=lambda name: (_weight(session, name), name), reverse=True)


def load_bound(underway: int, hosts: int, factor: float = LOAD_FACTOR) -> int:
    """Answers that one of `hosts` may have when `underway` are shared out: `factor` of the mean, or 1 over it."""
    mean = underway / hosts
    return max(math.ceil(factor * mean), math.ceil(mean) + 1)


def choose(session: str, loads: Mapping[str, int], most: int = 0, factor: float = LOAD_FACTOR) -> str | None:
    """The host for one more answer of `session`: its first choice of those in `loads` that are within the bound.

    `loads` are the answers under way at each host that is well. With `most`, no host takes more than that; None when
    all have as many.
    """
    if not loads:
        return None
    bound = load_bound(sum(loads.values()) + 1, len(loads), factor)
    if most:
        bound = min(bound, most)
    return next((name for name in ranked(session, list(loads)) if loads[name] < bound), None)


def _weight(session: str, name: str) -> bytes:
    return blake2b(session.encode(), key=blake2b(name.encode(), digest_size=32).digest(), digest_size=8).digest()
