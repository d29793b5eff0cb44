"""Recordings as timelines, one above the other on the same scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmesh_lab.comparison.recording import Moment, Recording

__all__ = ["draw", "summary"]

_LEFT, _WIDTH, _ROW, _HEAD, _GAP = 150, 960, 24, 40, 14
_INK, _SOFT, _LINE = "#1f2937", "#4b5563", "#d1d5db"
_OWN, _KERNEL, _PROGRAM, _RULE = "#fbbf24", "#1d4ed8", "#15803d", "#b91c1c"
_WIRE = "wire"


def draw(recordings: Sequence[Recording]) -> str:
    """An SVG. A row for each process shows when it had the CPU and whether in its own code or in the kernel.

    The last row of a lane has what the kernel did: segments that left (▲) and arrived (▼), steps of our programs (◆),
    rules of netfilter (■).
    """
    scale = (_WIDTH - _LEFT - 20) / max(each.duration for each in recordings)
    height = sum(_HEAD + (len(each.actors) + 1) * _ROW + _GAP for each in recordings) + 48
    parts: list[str] = []
    top = 34.0
    for recording in recordings:
        parts += _lane(recording, top, scale)
        top += _HEAD + (len(recording.actors) + 1) * _ROW + _GAP
    words = " ".join(f"{each.path.name}: {summary(each)}." for each in recordings)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(words)}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(_legend())}{"".join(parts)}</svg>'
    )


def summary(recording: Recording) -> str:
    """What it came to, in a line."""
    passed = ", ".join(f"{name} forwarded {count}" for name, count in recording.passed.items())
    return (
        f"{recording.count('call')} system calls, {recording.count('switch')} context switches, "
        f"{recording.count('send')} segments, {recording.duration:.0f} µs{f'; {passed}' if passed else ''}"
    )


def _legend() -> Iterator[str]:
    x = 12.0
    for shape, words in (
        (f'<rect x="{{x}}" y="10" width="22" height="8" fill="{_OWN}"/>', "on the CPU, its own code"),
        (f'<rect x="{{x}}" y="7" width="22" height="14" fill="{_KERNEL}"/>', "on the CPU, in a system call"),
        (_sign("▲▼", _KERNEL), "segment leaves, arrives"),
        (_sign("◆", _PROGRAM), "step of a program"),
        (_sign("■", _RULE), "address exchanged"),
    ):
        yield shape.format(x=x)
        yield _text(x + 28, 18, words, f'fill="{_SOFT}" font-size="11"')
        x += 44 + 6.1 * len(words)


def _sign(sign: str, colour: str) -> str:
    return f'<text x="{{x}}" y="18" fill="{colour}" font-size="11">{sign}</text>'


def _lane(recording: Recording, top: float, scale: float) -> Iterator[str]:
    yield _text(12, top + 18, recording.path.name, 'font-weight="bold" font-size="14"')
    yield _text(_LEFT, top + 18, summary(recording), f'fill="{_SOFT}"')
    rows = {actor: top + _HEAD - 8 + number * _ROW for number, actor in enumerate((*recording.actors, _WIRE))}
    for actor, y in rows.items():
        yield _text(12, y + 15, actor)
        yield f'<path d="M{_LEFT} {y + 11:.1f}H{_WIDTH - 20}" stroke="{_LINE}"/>'
    for stretch in recording.stretches:
        if stretch.actor:
            yield _bar(rows[stretch.actor] + 4, stretch.start, stretch.end, scale)
    for moment in recording.moments:
        if moment.kind == "call":
            for stretch in recording.stretches:
                start, end = max(moment.start, stretch.start), min(moment.end, stretch.end)
                if stretch.actor == moment.actor and end > start:
                    yield _bar(rows[moment.actor] + 4, start, end, scale, moment)
        elif moment.kind != "switch":
            yield _mark(moment, rows[_WIRE], scale)


def _bar(y: float, start: float, end: float, scale: float, moment: Moment | None = None) -> str:
    """Low and light for a process's own code, high and dark for a system call."""
    x, width = _LEFT + start * scale, max(0.6, (end - start) * scale)
    if moment is None:
        return f'<rect x="{x:.1f}" y="{y + 3:.1f}" width="{width:.1f}" height="8" fill="{_OWN}"/>'
    title = f"<title>{escape(_words(moment))}</title>"
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="14" fill="{_KERNEL}">{title}</rect>'


def _mark(moment: Moment, y: float, scale: float) -> str:
    x = _LEFT + moment.start * scale
    sign, colour, drop = {
        "send": ("▲", _KERNEL, 9),
        "receive": ("▼", _KERNEL, 20),
        "decision": ("◆", _PROGRAM, 14),
    }.get(moment.kind, ("■", _RULE, 14))
    return (
        f'<text x="{x:.1f}" y="{y + drop:.1f}" fill="{colour}" font-size="9" text-anchor="middle">{sign}'
        f"<title>{escape(_words(moment))}</title></text>"
    )


def _words(moment: Moment) -> str:
    return f"{moment.start:.1f} µs, {moment.actor}, {moment.label}: {moment.story}"


def _text(x: float, y: float, text: str, style: str = "") -> str:
    ink = "" if "fill=" in style else f' fill="{_INK}"'
    return f'<text x="{x:.0f}" y="{y:.0f}"{ink} {style}>{escape(text)}</text>'
