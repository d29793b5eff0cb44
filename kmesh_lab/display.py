"""Text for people: one-line reprs, small tables, and the choices that an error message lists."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

__all__ = ["choices", "counted", "html_table", "one_line", "text_table"]

COLUMNS = 99


def one_line(text: str) -> str:
    """Return ``text`` as one printable line of at most 99 columns; what is cut off becomes ``…``."""
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= COLUMNS else text[: COLUMNS - 2] + "…" + text[-1]


def choices(names: Iterable[str]) -> str:
    """Join names for an error message: ``A``, ``A or B``, ``A, B or C``."""
    *rest, last = names
    return f"{', '.join(rest)} or {last}" if rest else last


def counted(number: int, one: str) -> str:
    """Return ``no pods``, ``1 pod``, ``2 pods``."""
    return f"{number or 'no'} {one}{'' if number == 1 else 's'}"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def html_table(title: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Return a small HTML table whose first column holds the row names; every string is escaped."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    lines = [f"<table><caption>{html.escape(title)}</caption>", f"<tr>{head}</tr>" if head else ""]
    for first, *others in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in others)
        lines.append(f"<tr><th>{html.escape(str(first))}</th>{cells}</tr>")
    return "".join(lines) + "</table>"
