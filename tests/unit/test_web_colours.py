"""The page's colours against WCAG 2.2 AA: 4.5 to 1 for text, 3 to 1 for the edges of what can be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSS = (Path(__file__).parents[2] / "bots" / "web" / "static" / "page.css").read_text("utf-8")
TEXTS = [
    ("text", "ground"),
    ("text", "raised"),
    ("text", "bubble"),
    ("soft", "ground"),
    ("soft", "raised"),
    ("soft", "bubble"),
    ("accent", "ground"),
    ("accent", "raised"),
    ("accent", "bubble"),
    ("grave", "raised"),
    ("grave", "bubble"),
    ("on-accent", "accent"),
]
EDGES = [("field-edge", "ground"), ("field-edge", "raised"), ("accent", "ground"), ("grave", "ground")]


def _schemes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return {
        name: dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", text))
        for name, text in [("light", light), ("dark", dark)]
    }


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str) -> None:
    colours = _schemes()[scheme]

    too_faint = {pair for pair in TEXTS if _contrast(colours[pair[0]], colours[pair[1]]) < 4.5}

    assert too_faint == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_edges_can_be_seen(scheme: str) -> None:
    colours = _schemes()[scheme]

    too_faint = {pair for pair in EDGES if _contrast(colours[pair[0]], colours[pair[1]]) < 3.0}

    assert too_faint == set()
