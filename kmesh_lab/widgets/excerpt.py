"""The C around the line that reported a step, cut from the text that was compiled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmesh_lab.datapath.decision import Location
from kmesh_lab.kernel.program import BPF_DIR

__all__ = ["Lines", "compiled", "excerpt"]

_SHOWN, _ABOVE = 15, 10  # lines, and how many of them stand above the marked one
_LINE_MARK = re.compile(r'^#line (\d+) "(.*)"$')

Lines = Mapping[int, str]
"""Lines by their number, from 1."""


def compiled(text: str) -> dict[str, Lines]:
    """File → lines, from the text that was compiled: the files in bpf/ may have been edited since."""
    files: dict[str, dict[int, str]] = {}
    lines, number = files.setdefault("", {}), 1
    for line in text.splitlines():
        if mark := _LINE_MARK.match(line):
            lines, number = files.setdefault(mark[2], {}), int(mark[1])
            continue
        lines[number] = line
        number += 1
    return dict(files)


def excerpt(location: Location | None, files: Mapping[str, Lines]) -> dict[str, Any] | None:
    """At most 15 lines of the function around the one that reported; None where there is no such line."""
    if location is None:
        return None
    lines = next((lines for name, lines in files.items() if Path(name).match(location.file)), None)
    if lines is None:
        path = BPF_DIR / location.file
        lines = dict(enumerate(path.read_text().splitlines(), 1)) if path.is_file() else {}
    if "trace_" not in lines.get(location.line, ""):
        return None
    first, last = _function(lines, location.line)
    first = max(first, min(location.line - _ABOVE, last - _SHOWN + 1))
    return {
        "file": f"bpf/{location.file}",
        "function": location.function,
        "first": first,
        "line": location.line,
        "lines": [lines.get(number, "") for number in range(first, min(last, first + _SHOWN - 1) + 1)],
    }


def _function(lines: Lines, line: int) -> tuple[int, int]:
    """The first and the last line of the function that a line is in."""
    first = last = line
    while first > 1 and not lines.get(first, "").startswith("{"):
        first -= 1
    while lines.get(first - 1, "").strip() and not lines[first - 1].startswith(("}", " */", "/*", "//", "#")):
        first -= 1
    while last < max(lines) and not lines.get(last, "").startswith("}"):
        last += 1
    return first, last
