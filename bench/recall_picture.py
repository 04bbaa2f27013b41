"""Curves over a threshold as one SVG, written by hand: panels side by side, each with its lines and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _PANEL = 960, 380, 430
_TOP, _BOTTOM, _LEFT = 66, 270, 46
_INK, _GRID, _MARK = "#222222", "#d5d9de", "#7a828a"
_STYLES = (("#2563a8", ""), ("#b3541e", "7 4"), ("#3a7d44", "2 3"))  # told apart without colour, too


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares, 0 to 1, over the thresholds of its panel."""

    name: str
    shares: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """Some curves over the same thresholds, and the one that was chosen."""

    title: str
    steps: Sequence[float]
    chosen: float
    curves: Sequence[Curve]


def picture_of(panels: Sequence[Panel]) -> str:
    """The panels as one picture."""
    shapes = [shape for place, panel in enumerate(panels) for shape in _panel(panel, 20 + place * (_PANEL + 40))]
    titles = "; ".join(panel.title for panel in panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="{_INK}" role="img">\n'
        f"<title>{escape(titles)}</title>\n"
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _panel(panel: Panel, left: float) -> list[str]:
    shapes = [_text(left, 30, panel.title, 'font-size="15" font-weight="600"')]
    for quarter in range(5):
        y = _y(quarter / 4)
        shapes += [_line([(left + _LEFT, y), (left + _PANEL, y)], _GRID)]
        shapes += [_text(left + _LEFT - 6, y + 4, f"{quarter * 25} %", 'text-anchor="end"')]
    for step in panel.steps[::2]:
        shapes.append(_text(_x(panel, left, step), _BOTTOM + 18, f"{step:.2f}", 'text-anchor="middle"'))
    chosen = _x(panel, left, panel.chosen)
    shapes += [_line([(chosen, _TOP - 8), (chosen, _BOTTOM)], _MARK)]
    shapes += [_text(chosen, _TOP - 12, f"chosen: {panel.chosen:.2f}", 'text-anchor="middle"')]
    for place, (curve, (colour, dashes)) in enumerate(zip(panel.curves, _STYLES, strict=False)):
        points = [(_x(panel, left, step), _y(share)) for step, share in zip(panel.steps, curve.shares, strict=True)]
        y = _BOTTOM + 44 + 20 * place
        shapes += [_line(points, colour, 2.5, dashes), _line([(left + _LEFT, y), (left + 86, y)], colour, 2.5, dashes)]
        shapes += [_text(left + 94, y + 4, curve.name)]
    return shapes


def _x(panel: Panel, left: float, step: float) -> float:
    first, last = panel.steps[0], panel.steps[-1]
    return left + _LEFT + 10 + (_PANEL - _LEFT - 20) * (step - first) / (last - first)


def _y(share: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * share


def _text(x: float, y: float, words: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(words)}</text>'


def _line(points: Sequence[tuple[float, float]], colour: str, width: float = 1.0, dashes: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>'
