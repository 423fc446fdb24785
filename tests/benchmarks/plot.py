"""Small multiples as one SVG: a panel a case, a line a sampler, the best ratio over trials."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence

Curves = Mapping[str, Mapping[str, Sequence[float]]]

#: Readable in light and dark, and for people who see fewer colours.
_COLOURS = {"shortlist": "#0072b2", "tpe": "#d55e00", "random": "#7f7f7f"}
_WIDE, _HIGH, _MARGIN, _COLUMNS = 300, 170, 44, 3
#: The axis is logarithmic from the best there is to this many times as long.
_WORST = 8.0


def draw(curves: Curves) -> str:
    """Draw them; what has nothing that fits yet, or is worse than the axis, runs along its top."""
    rows = -(-len(curves) // _COLUMNS)
    width = _COLUMNS * (_WIDE + _MARGIN) + _MARGIN
    height = rows * (_HIGH + 2 * _MARGIN) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="11" fill="#444">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, (name, by_sampler) in enumerate(curves.items()):
        left = _MARGIN + number % _COLUMNS * (_WIDE + _MARGIN)
        top = _MARGIN + number // _COLUMNS * (_HIGH + 2 * _MARGIN)
        parts += _panel(left, top, name, by_sampler)
    for number, (sampler, colour) in enumerate(_COLOURS.items()):
        x, y = _MARGIN + number * 90, height - 16
        parts.append(f'<path d="M{x} {y - 4}h20" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 26}" y="{y}">{sampler}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    left: int, top: int, name: str, by_sampler: Mapping[str, Sequence[float]]
) -> Iterator[str]:
    yield f'<text x="{left}" y="{top - 10}" font-weight="bold">{html.escape(name)}</text>'
    for mark in (1.0, 1.05, 1.5, 2.0, 4.0, 8.0):
        y = _height(mark, top)
        dash = ' stroke-dasharray="3 3"' if mark == 1.05 else ""
        yield f'<path d="M{left} {y:.1f}h{_WIDE}" stroke="#ddd"{dash}/>'
        if mark != 1.05:
            yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:g}×</text>'
    longest = max(map(len, by_sampler.values()))
    for trials in (1, 10, 20, 30, 40, 50, 60):
        if trials <= longest:
            x = _across(trials, longest, left)
            yield f'<text x="{x:.1f}" y="{top + _HIGH + 14}" text-anchor="middle">{trials}</text>'
    for sampler, ratios in by_sampler.items():
        points = " ".join(
            f"{_across(number, longest, left):.1f},{_height(ratio, top):.1f}"
            for number, ratio in enumerate(ratios, 1)
        )
        yield (
            f'<polyline points="{points}" fill="none" stroke-width="2" '
            f'stroke="{_COLOURS.get(sampler, "#000")}"/>'
        )


def _across(trials: int, longest: int, left: int) -> float:
    return left + _WIDE * (trials - 1) / max(1, longest - 1)


def _height(ratio: float, top: int) -> float:
    share = min(math.log(ratio) / math.log(_WORST), 1.0) if math.isfinite(ratio) else 1.0
    return top + _HIGH * (1 - share)
