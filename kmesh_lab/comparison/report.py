"""A comparison as tables and as one picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from html import escape

from kmesh_lab.comparison.load import How
from kmesh_lab.comparison.result import WORDS, Comparison, Measured
from kmesh_lab.comparison.timing import HOWS, SOFTIRQ_THREAD
from kmesh_lab.display import counted

__all__ = ["html", "picture"]

_BAR, _WIDTH, _STEP, _HEAD = 22, 760, 34, 58
_LETTER = 8  # px that one of a bold name takes, at most
_INK, _SOFT, _LINE = "#1f2937", "#4b5563", "#9ca3af"
_FILL = {
    "client": "#bfdbfe",
    "server": "#1d4ed8",
    "proxy": "#fbbf24",
    "kernel thread": "#ffffff",
}  # light, dark, and hatched: not by colour alone
_CELL = 'style="text-align:right"'
_TEXT = 'style="text-align:left;white-space:nowrap"'
_WRAP = 'style="text-align:left;white-space:normal"'


def html(comparison: Comparison) -> str:
    """The picture, what was counted, what was timed, memory, what each path does, and how it was measured."""
    parts = [
        _verdict(comparison),
        picture(comparison),
        _counted(comparison),
        _timed(comparison),
        _memory(comparison),
        _does(comparison),
        _notes(comparison),
        _threads(comparison),
    ]
    return "".join(parts)


def _verdict(comparison: Comparison) -> str:
    _, *others = comparison.values()
    lines = "".join(f"<li><b>{escape(each.name)}</b>: {escape(each.verdict)}.</li>" for each in others)
    return f"<p>Compared with direct:</p><ul>{lines or '<li>nothing</li>'}</ul>"


# ---- the tables


def _counted(comparison: Comparison) -> str:
    if comparison.not_counted:
        return f"<p>Nothing was counted: {escape(comparison.not_counted)}</p>"
    what = ("system calls", "context switches", "TCP connections", "TCP segments")
    rows = [
        [each.name, *(value for how in HOWS for value in _count_cells(each, how)), _passed(each)]
        for each in comparison.values()
        if each.counts
    ]
    groups = [("", 1), *((WORDS[how], len(what)) for how in HOWS), ("", 1)]
    return _table("Counted, per request", ["path", *what, *what, "forwarded by"], rows, groups)


def _count_cells(each: Measured, how: How) -> Iterator[str]:
    yield f"{each.syscalls(how):.1f}"
    yield f"{each.switches(how):.1f}"
    yield f"{each.connections(how):.2f}"
    yield f"{each.segments(how):.1f}"


def _passed(each: Measured) -> str:
    return ", ".join(f"{name} {each.passed('new')[name]:.1f}" for name in each.passed("new")) or "nobody"


def _timed(comparison: Comparison) -> str:
    keep = ["CPU time", "÷ direct", "first byte, p50", "÷ direct"]
    new = ["CPU time", "÷ direct", "connect, p50", "connect → first byte, p50", "÷ direct"]
    rows = []
    for number, each in enumerate(comparison.values()):
        ratios = {(figure, how): str(ratio) if number else "1" for figure, how, ratio in each.ratios()}
        kept = [_us(each.cpu("keep")), ratios["cpu", "keep"], _us(each.p50("keep")), ratios["p50", "keep"]]
        made = [_us(each.cpu("new")), ratios["cpu", "new"], _us(each.connect()), _us(each.p50("new"))]
        rows.append([each.name, *kept, *made, ratios["p50", "new"]])
    groups = [("", 1), (WORDS["keep"], len(keep)), (WORDS["new"], len(new))]
    return _table("Timed, per request: medians, and ratios [least – most]", ["path", *keep, *new], rows, groups)


def _memory(comparison: Comparison) -> str:
    where = ["maps of a node", "sidecar of a pod", "waypoint"]
    rows = []
    for each in comparison.values():
        memory = each.memory
        if memory:
            sizes = (memory.node, memory.pod, memory.waypoint)
            grown = (memory.service_node, memory.service_pod, memory.service_waypoint)
            rows.append([each.name, *map(_bytes, sizes), *map(_bytes, grown)])
    groups = [("", 1), ("with one service", len(where)), ("each further service adds", len(where))]
    return _table("Memory that is shared with nobody", ["path", *where, *where], rows, groups)


def _does(comparison: Comparison) -> str:
    header = ["path", "way", "layer 4", "layer 7", "encryption"]
    rows = [
        [each.name, each.path.way, each.path.layer4, each.path.layer7, each.path.encryption]
        for each in comparison.values()
    ]
    return _table("What each path does and does not do", header, rows, cell=_WRAP)


def _notes(comparison: Comparison) -> str:
    notes = [
        f"{comparison.noise}. All of a path runs on one CPU; a window is dropped when others had more than 12 % of it.",
        *dict.fromkeys(each.path.remark for each in comparison.values() if each.path.remark),
        "keep: one connection for all requests; new: a connection for each. CPU time is that of every thread on the "
        f"path, softirqs included{_softirqs(comparison)}.",
        "A difference is shown when every round says so and the median is more than 5 % away from direct; with fewer "
        "than six rounds, each of them is.",
    ]
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def _softirqs(comparison: Comparison) -> str:
    counts = next(iter(comparison.values())).counts.get("keep")
    if not counts:
        return ""
    return f" (direct, keep: {counts.softirqs:.1f} softirqs of {counts.softirq_ns / 1000:.1f} µs a request)"


def _threads(comparison: Comparison) -> str:
    rows = []
    for each in comparison.values():
        found: dict[tuple[str, str], dict[How, list[float]]] = {}
        for how in HOWS:
            for window in each.times.windows[how].values():
                for who, time in window.threads.items():
                    found.setdefault(who, {how: [] for how in HOWS})[how].append(time)
        for (process, thread), times in found.items():
            values = [_us(statistics.median(times[how]) / 1000) if times[how] else "–" for how in HOWS]
            rows.append([each.name, process, thread, *values])
    header = ["path", "process", "thread", *(WORDS[how] for how in HOWS)]
    table = _table("CPU time per request", header, rows)
    return f"<details><summary>CPU time by thread ({counted(len(rows), 'line')})</summary>{table}</details>"


def _table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    groups: Sequence[tuple[str, int]] = (),
    cell: str = _CELL,
) -> str:
    above = "".join(f'<th colspan="{span}" style="text-align:center">{escape(name)}</th>' for name, span in groups)
    head = "".join(f"<th {cell if number else _TEXT}>{escape(name)}</th>" for number, name in enumerate(header))
    body = "".join(
        f"<tr><th {_TEXT}>{escape(first)}</th>{''.join(f'<td {cell}>{escape(text)}</td>' for text in others)}</tr>"
        for first, *others in rows
    )
    return (
        f'<table><caption style="text-align:left">{escape(caption)}</caption>'
        f"<thead>{f'<tr>{above}</tr>' if above else ''}<tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _us(value: float) -> str:
    return f"{value:.1f}\xa0µs" if value < 100 else f"{value:.0f}\xa0µs"


def _bytes(value: float) -> str:
    if value < 1:
        return "0"
    if value < 1000:
        return f"{value:.0f} B"
    return f"{value / 1000:.1f} kB" if value < 1e6 else f"{value / 1e6:.1f} MB"


# ---- the picture


def picture(comparison: Comparison) -> str:
    """Where the CPU time of a request goes, as an SVG: one bar for each path, kept connection and new ones."""
    height = _HEAD + 2 * (26 + len(comparison) * _STEP)
    sentence = f"CPU time per request. {comparison.verdict}."
    left = min(24 + _LETTER * max(len(name) for name in comparison), _WIDTH // 2)
    timed = [each.cpu(how) for each in comparison.values() for how in HOWS if each.times.windows[how]]
    scale = (_WIDTH - left - 190) / max(timed, default=1.0)  # one for both groups, so that their bars compare
    parts = [
        _text(12, 24, "Where the CPU time of one request goes", 'font-weight="bold" font-size="14"'),
        *_legend(),
    ]
    top = _HEAD
    for how in HOWS:
        parts += _bars(comparison, how, top, left, scale)
        top += 26 + len(comparison) * _STEP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(sentence)}" font-family="sans-serif" font-size="12">'
        '<defs><pattern id="kl-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="6" height="6" fill="{_FILL["proxy"]}"/><path d="M0 0V6" stroke="#92400e" stroke-width="2"/>'
        f'</pattern></defs><rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _legend() -> Iterator[str]:
    for x, name, fill in (
        (12, "client", _FILL["client"]),
        (92, "proxies", "url(#kl-hatch)"),
        (178, "server", _FILL["server"]),
        (254, "kernel thread for softirqs", _FILL["kernel thread"]),
    ):
        yield f'<rect x="{x}" y="34" width="16" height="12" fill="{fill}" stroke="{_LINE}"/>'
        yield _text(x + 22, 44, name)


def _bars(comparison: Comparison, how: How, top: float, left: int, scale: float) -> Iterator[str]:
    yield _text(12, top + 14, WORDS[how], f'font-style="italic" fill="{_SOFT}"')
    for number, each in enumerate(comparison.values()):
        y = top + 26 + number * _STEP
        yield _text(12, y + 15, each.name, 'font-weight="bold"')
        if not each.times.windows[how]:
            yield _text(left, y + 15, "too noisy")
            continue
        x = float(left)
        for kind, value in _shares(each, how):
            fill = "url(#kl-hatch)" if kind == "proxy" else _FILL[kind]
            width = value * scale
            if width < 0.5:
                continue
            yield (
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{fill}" stroke="{_LINE}">'
                f"<title>{escape(each.name)}, {kind}: {_us(value)}</title></rect>"
            )
            x += width
        ratio = each.ratio("cpu", how)
        factor = f"  {ratio.median:.2f} × direct" if number and ratio.pairs else ""
        yield _text(x + 8, y + 15, f"{_us(each.cpu(how))}{factor}")


def _shares(each: Measured, how: How) -> Iterator[tuple[str, float]]:
    parts = {name: each.cpu_of(how, name) for name in each.processes(how)}
    proxies = sum(value for name, value in parts.items() if name not in ("client", "server", SOFTIRQ_THREAD))
    yield "client", parts["client"]
    yield "proxy", proxies
    yield "server", parts["server"]
    yield "kernel thread", parts.get(SOFTIRQ_THREAD, 0.0)


def _text(x: float, y: float, text: str, style: str = "") -> str:
    ink = "" if "fill=" in style else f' fill="{_INK}"'
    return f'<text x="{x:.0f}" y="{y:.0f}"{ink} {style}>{escape(text)}</text>'
