"""Two lines over the number of services, as an SVG that follows the theme of the notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["draw_growth"]

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 200, 16, 36
_INK, _SOFT = "var(--jp-ui-font-color1, #1f2937)", "var(--jp-border-color1, #9ca3af)"
_ENVOY, _MAPS = "#d97706", "#3b82f6"  # also told apart by their marks, and named at their ends


def draw_growth(services: Sequence[int], maps: Sequence[float], envoys: Sequence[float]) -> str:
    """Draw bytes over services: one node's maps, and one Envoy."""
    most_services, most_bytes = max(services), max(*maps, *envoys)

    def place(count: float, size: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * count / most_services
        return across, _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * size / most_bytes

    parts = [_axes(most_services, most_bytes)]
    for name, sizes, colour, square in (("one Envoy", envoys, _ENVOY, False), ("maps of the node", maps, _MAPS, True)):
        points = [place(*point) for point in zip(services, sizes, strict=True)]
        line = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [_mark(x, y, colour, square=square) for x, y in points]
        parts.append(_text(points[-1][0] + 12, points[-1][1] + 4, f"{name}: {_mb(sizes[-1])}"))
    said = f"With {most_services:,} services one Envoy has {_mb(envoys[-1])}, the maps of the node {_mb(maps[-1])}."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(said)}" font-family="sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def _axes(most_services: int, most_bytes: float) -> str:
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    return (
        f'<path d="M{_LEFT} {_TOP}V{floor}H{right}" fill="none" stroke="{_SOFT}"/>'
        + _text(_LEFT - 8, _TOP + 8, _mb(most_bytes), "end")
        + _text(_LEFT - 8, floor + 4, "0", "end")
        + _text(_LEFT, floor + 20, "0", "middle")
        + _text(right, floor + 20, f"{most_services:,} services", "middle")
    )


def _mark(x: float, y: float, colour: str, *, square: bool) -> str:
    if square:
        return f'<rect x="{x - 4:.0f}" y="{y - 4:.0f}" width="8" height="8" fill="{colour}"/>'
    return f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{_INK}" text-anchor="{anchor}">{escape(text)}</text>'


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
