"""Comparing predictions with what the kernel did."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from kmesh_lab.exercises.verdict import Finding, Mistake

__all__ = ["NOBODY", "Case", "compare"]

NOBODY = "nobody"


@dataclass(frozen=True)
class Case:
    """A question with the answer of the kernel: the names that were reached, none for nobody.

    ``because`` explains it; ``traps`` have a better explanation for a certain wrong answer.
    """

    name: str
    reached: frozenset[str]
    because: str
    traps: Mapping[frozenset[str], str] = field(default_factory=dict)


def compare(cases: Collection[Case], answer: Any, names: Collection[str], nobody: str = NOBODY) -> list[Finding]:
    """Hold predictions (case name → name, names or "nobody") against what happened; ``names`` may be answered.

    ``nobody`` is the word for an empty set, "0" where the question is how many.
    """
    if not isinstance(answer, Mapping):
        raise Mistake(f"The answer is {answer!r}: expected a dict with a guess for each case.")
    unknown = [str(key) for key in answer if key not in {case.name for case in cases}]
    if unknown:
        raise Mistake(f"There is no case {', '.join(map(repr, unknown))}; keep the keys as they are in the cell.")
    return [_finding(case, answer.get(case.name), names, nobody) for case in cases]


def _finding(case: Case, guess: Any, names: Collection[str], nobody: str) -> Finding:
    kernel = _text(case.reached, nobody)
    if guess is None:
        return Finding(case.name, "", kernel, "open")
    guessed = _names(guess) - {nobody}
    strange = guessed - set(names)
    said = _text(guessed, nobody)
    if strange:
        allowed = ", ".join([*sorted(names), nobody])
        return Finding(case.name, said, kernel, "wrong", f"expected names among {allowed}")
    if guessed == case.reached:
        return Finding(case.name, said, kernel, "right")
    return Finding(case.name, said, kernel, "wrong", case.traps.get(guessed, case.because))


def _names(guess: Any) -> frozenset[str]:
    """One name, several, or nobody; a pod counts as its name."""
    several = guess if isinstance(guess, (set, frozenset, list, tuple)) else [guess]
    return frozenset(str(getattr(each, "name", each)).strip() for each in several)


def _text(names: Collection[str], nobody: str) -> str:
    return ", ".join(sorted(names)) or nobody
