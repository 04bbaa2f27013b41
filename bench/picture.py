"""The picture: added time, throughput and flatness in one SVG, written by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from bench.figures import Figures, Load
from bench.load import CONVERSATIONS
from bench.stored import IN_ONE, OVER_ALL

_WIDTH, _HEIGHT = 960, 400
_TOP, _BOTTOM = 70, 330
_OURS, _FLOOR, _LIGHT, _INK, _LINE = "#2563a8", "#9aa3ad", "#8db8e3", "#222222", "#d5d9de"
_SIDES = ("parley", "floor")


@dataclass(slots=True)
class _Sheet:
    """Collects shapes."""

    shapes: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, words: str, *, size: int = 12, anchor: str = "start", bold: bool = False
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        self.shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.shapes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.0) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        self.shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')

    def svg(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" font-family="system-ui, sans-serif" fill="{_INK}">\n'
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>\n' + "\n".join(self.shapes) + "\n</svg>\n"
        )


def picture_of(figures: Figures) -> str:
    """The whole picture as SVG."""
    sheet = _Sheet()
    sheet.text(20, 24, "What the way of a message costs, beside the smallest bot that streams", size=15, bold=True)
    _draw_latency(sheet, figures, 20)
    _draw_load(sheet, figures, 340)
    _draw_stored(sheet, figures, 680)
    about = ", ".join(f"{name} {value}" for name, value in figures.about.items())
    sheet.text(20, _HEIGHT - 10, about, size=10)
    return sheet.svg()


def _draw_latency(sheet: _Sheet, figures: Figures, left: float) -> None:
    sheet.text(left, 50, "Added time, ms (p50)", bold=True)
    most = max(row.to_host_p50 + row.to_eyes_p50 for row in figures.latencies)
    scale = (_BOTTOM - _TOP - 20) / most
    for place, row in enumerate(figures.latencies):
        x = left + 10 + place * 62 + (place // 2) * 20
        to_host, to_eyes = row.to_host_p50 * scale, row.to_eyes_p50 * scale
        sheet.box(x, _BOTTOM - to_host, 46, to_host, _OURS if row.side == _SIDES[0] else _FLOOR)
        sheet.box(x, _BOTTOM - to_host - to_eyes, 46, to_eyes, _LIGHT if row.side == _SIDES[0] else _LINE)
        sheet.text(x + 23, _BOTTOM - to_host - to_eyes - 5, f"{row.added_p50:.1f}", anchor="middle", size=11)
        sheet.text(x + 23, _BOTTOM + 15, row.side, anchor="middle", size=11)
        sheet.text(x + 23, _BOTTOM + 29, row.platform, anchor="middle", size=10)
    sheet.line([(left, _BOTTOM), (left + 290, _BOTTOM)], _INK)
    sheet.text(left, _BOTTOM + 46, "dark: to the model host; light: first token to first visible text", size=10)


def _draw_load(sheet: _Sheet, figures: Figures, left: float) -> None:
    sheet.text(left, 50, "Messages/s of one process on one core", bold=True)
    most = max(_shown(row) for row in figures.loads)
    scale = (_BOTTOM - _TOP - 20) / most
    x = left + 6.0
    for platform in dict.fromkeys(row.platform for row in figures.loads):
        for conversations in CONVERSATIONS:
            for side, colour in zip(_SIDES, (_OURS, _FLOOR), strict=True):
                rate = _shown(figures.load(platform, side, conversations))
                sheet.box(x, _BOTTOM - rate * scale, 20, rate * scale, colour)
                sheet.text(x + 10, _BOTTOM - rate * scale - 4, f"{rate:.0f}", anchor="middle", size=9)
                x += 21
            sheet.text(x - 21, _BOTTOM + 15, f"{conversations:,}", anchor="middle", size=10)
            x += 7
        sheet.text(x - 80, _BOTTOM + 29, platform, anchor="middle", size=10)
        x += 6
    sheet.line([(left, _BOTTOM), (left + 310, _BOTTOM)], _INK)
    sheet.text(left, _BOTTOM + 46, "blue: parley, grey: floor; below: conversations", size=10)


def _shown(row: Load) -> float:
    return row.rate if row.conversations == 1 else min(row.rate, row.core_rate)


def _draw_stored(sheet: _Sheet, figures: Figures, left: float) -> None:
    sheet.text(left, 50, "Mailbox, ms a message, by stored turns", bold=True)
    most = max(row.message_ms for row in figures.stored) * 1.15
    decades = math.log10(max(row.turns for row in figures.stored)) - 1
    for mark in range(5):
        value = most * mark / 4
        y = _BOTTOM - (_BOTTOM - _TOP) * mark / 4
        sheet.line([(left + 26, y), (left + 260, y)], _LINE)
        sheet.text(left + 22, y + 4, f"{value:.1f}", anchor="end", size=10)
    for series, colour in ((OVER_ALL, _OURS), (IN_ONE, _FLOOR)):
        points = [
            (
                left + 40 + 205 * (math.log10(row.turns) - 1) / max(1.0, decades),
                _BOTTOM - (_BOTTOM - _TOP) * row.message_ms / most,
            )
            for row in figures.stored
            if row.series == series
        ]
        sheet.line(points, colour, 2.0)
        for x, y in points:
            sheet.dot(x, y, colour)
    for row in figures.stored:
        if row.series == OVER_ALL:
            x = left + 40 + 205 * (math.log10(row.turns) - 1) / max(1.0, decades)
            sheet.text(x, _BOTTOM + 15, f"{row.turns:,}", anchor="middle", size=10)
    sheet.text(left, _BOTTOM + 46, f"blue: {OVER_ALL}; grey: {IN_ONE}", size=10)
