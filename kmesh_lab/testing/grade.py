"""What tests are worth: which mistakes they noticed, and which ones got away."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kmesh_lab.display import counted, one_line
from kmesh_lab.testing.mutants import Mutant

__all__ = ["Grade", "Survival", "TestResult"]

_SAYS = {
    "passed": "passes",
    "failed": "fails, so it says nothing about a mutant",
    "hung": "did not end",
    "died": "ended its process",
    "unstable": "does not always pass, so it says nothing about a mutant",
    "not run": "was not run",
}
_LEFT = 'style="text-align:left;vertical-align:top"'


@dataclass(frozen=True)
class TestResult:
    """How a test fared on the real programs, twice; only one that passed both times can kill a mutant."""

    __test__ = False  # pytest collects what is called Test…

    test: str
    outcome: Literal["passed", "failed", "hung", "died", "unstable", "not run"]
    text: str = ""

    def row(self) -> tuple[str, str, str]:
        """Mark, name, and what it does on the real programs."""
        text = f": {self.text}" if self.text else ""
        return ("✓" if self.outcome == "passed" else "✗", self.test, f"{_SAYS[self.outcome]}{text}")


@dataclass(frozen=True)
class Survival:
    """A mutant, and the first test that noticed it; ``killer`` is "" when none did."""

    mutant: Mutant
    killer: str = ""
    how: str = ""

    def row(self) -> tuple[str, str, str]:
        """Mark, name, and what killed it or what it does unnoticed."""
        if self.killer:
            return "✓", self.mutant.name, f"killed by {self.killer}"
        return "✗", self.mutant.name, f"survived. {self.mutant.effect}"


@dataclass(frozen=True, repr=False)
class Grade:
    """The mutation score of tests; true when every test passes on the real programs and every mutant is killed."""

    subject: str
    tests: Sequence[TestResult]
    mutants: Sequence[Survival]

    @property
    def killed(self) -> list[str]:
        """The names of the mutants that a test noticed."""
        return [each.mutant.name for each in self.mutants if each.killer]

    @property
    def survived(self) -> list[str]:
        """The names of those that no test noticed."""
        return [each.mutant.name for each in self.mutants if not each.killer]

    @property
    def score(self) -> float:
        """Killed mutants / mutants."""
        return len(self.killed) / len(self.mutants) if self.mutants else 0.0

    def __bool__(self) -> bool:
        return not self.survived and bool(self.tests) and all(each.outcome == "passed" for each in self.tests)

    @property
    def headline(self) -> str:
        """``tlv: 9 of 12 mutants killed by 1 test``"""
        tests = counted(len(self.tests), "test")
        return f"{self.subject}: {len(self.killed)} of {counted(len(self.mutants), 'mutant')} killed by {tests}"

    def rows(self) -> list[tuple[str, str, str]]:
        """The tests, then the mutants: survivors first, because they are what is left to do."""
        mutants = sorted(self.mutants, key=lambda each: bool(each.killer))
        return [*(each.row() for each in self.tests), *(each.row() for each in mutants)]

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  {mark} {name}: {says}" for mark, name, says in self.rows())])

    def __repr__(self) -> str:
        return one_line(f"<Grade {self.headline}>")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        edge = "#15803d" if self else "#b91c1c"
        parts = [f"<b>{html.escape(self.headline)}</b>"]
        rows = self.rows()
        parts.append(_table("on the real programs", rows[: len(self.tests)]))
        parts.append(_table("with a mistake planted", rows[len(self.tests) :]))
        return f'<div style="border-left:4px solid {edge};padding:2px 12px">{"".join(parts)}</div>'


def _table(title: str, rows: Sequence[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    head = f"<tr><th></th><th {_LEFT}>{title}</th><th></th></tr>"
    body = "".join("<tr>" + "".join(f"<td {_LEFT}>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
