"""`parley` for a fake Slack without rate limits: its turns are asked for as ever, and always given.

    python -m bench.lifted worker

Discord needs nothing of the kind, for there the pace follows from what the platform says in its headers.
"""

from __future__ import annotations

from typing import cast

from bots.slack.pace import TIERS, Tier
from parley.cli import main

_NO_LIMIT = 10**9


def lift() -> None:
    """Slack takes as many calls of each method as anybody makes."""
    tiers = cast("dict[str, Tier]", TIERS)
    for method, tier in list(tiers.items()):
        tiers[method] = Tier(_NO_LIMIT, _NO_LIMIT // 2, per_channel=tier.per_channel)


if __name__ == "__main__":
    lift()
    main()
