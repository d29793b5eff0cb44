"""What a check says: right or wrong, and why, with what happened beside what was expected."""

from __future__ import annotations

import html
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kmesh_lab.display import one_line

__all__ = ["Finding", "Mistake", "Outcome", "Verdict", "told"]

Outcome = Literal["right", "wrong", "open"]

_MARK = {"right": "✓", "wrong": "✗", "open": "…"}
_EDGE = {"right": "#15803d", "wrong": "#b91c1c", "open": "#9ca3af"}
_PACKAGE = str(Path(__file__).parents[1])
_CELL = 'style="text-align:left;vertical-align:top;white-space:nowrap"'
_LAST = 'style="text-align:left;vertical-align:top;white-space:normal"'


class Mistake(Exception):
    """Raised by a check to end with a verdict of wrong; the text names the mistake."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One case that a check tried: the ``answer``, and what ``happened``.

    ``why`` names the mistake, and is empty when there is none.
    """

    case: str
    answer: str
    happened: str
    outcome: Outcome
    why: str = ""

    def line(self, beside: str, tried: str) -> str:
        """The finding as a line of text; what happened stays hidden until there is an answer."""
        if self.outcome == "open":
            return f"{_MARK[self.outcome]} {self.case}"
        why = f" – {self.why}" if self.why else ""
        return f"{_MARK[self.outcome]} {self.case}: {beside} {self.answer}, {tried} {self.happened}{why}"

    def row(self) -> tuple[str, ...]:
        """The same as cells of a table."""
        return (_MARK[self.outcome], self.case, self.answer, "" if self.outcome == "open" else self.happened, self.why)


@dataclass(frozen=True, repr=False)
class Verdict:
    """The answer to an answer: true when it was right.

    ``exercise`` and ``kind`` say of what, ``why`` is the reason in a sentence, ``findings`` are the cases tried;
    ``tried`` and ``beside`` are those of the exercise.
    """

    exercise: str
    kind: str
    outcome: Outcome
    why: str
    findings: tuple[Finding, ...] = ()
    beside: str = "you say"
    tried: str = "the kernel"

    def __bool__(self) -> bool:
        return self.outcome == "right"

    @property
    def headline(self) -> str:
        """``03.1 predict: wrong.``"""
        says = {"right": "right", "wrong": "wrong", "open": "not answered yet"}
        return f"{_MARK[self.outcome]} {self.exercise} {self.kind}: {says[self.outcome]}."

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.headline} {self.why}",
                *(f"  {finding.line(self.beside, self.tried)}" for finding in self.findings),
            ]
        )

    def __repr__(self) -> str:
        return one_line(f"<Verdict {self.headline} {self.why}>")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        words = f"<b>{html.escape(self.headline)}</b> {html.escape(self.why)}"
        return f'<div style="border-left:4px solid {_EDGE[self.outcome]};padding:2px 12px">{words}{self._table()}</div>'

    def _table(self) -> str:
        if not self.findings:
            return ""
        shown = [("", "case", self.beside, self.tried, "why"), *(finding.row() for finding in self.findings)]
        if not any(row[-1] for row in shown[1:]):
            shown = [row[:-1] for row in shown]
        head, *rows = shown
        body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
        return f"<table><thead><tr>{_cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def _cells(tag: str, row: Sequence[str]) -> str:
    styles = [*[_CELL] * (len(row) - 1), _LAST]
    return "".join(f"<{tag} {style}>{html.escape(text)}</{tag}>" for text, style in zip(row, styles, strict=True))


def told(error: BaseException) -> str:
    """``ZeroDivisionError: division by zero (in walk, line 3)``: the place is the last one in the learner's code."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith((_PACKAGE, "<frozen"))]
    place = f" (in {theirs[-1].name}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {error}{place}"
