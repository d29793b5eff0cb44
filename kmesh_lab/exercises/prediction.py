"""Comparing predictions with what the kernel did."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from kmesh_lab.exercises.verdict import Finding, Mistake

__all__ = ["NOBODY", "Case", "Number", "compare", "compare_numbers"]

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


def compare(
    cases: Collection[Case], answer: Mapping[str, Any], names: Collection[str], nobody: str = NOBODY
) -> list[Finding]:
    """Hold predictions (case name → name, names or "nobody") against what happened; ``names`` may be answered.

    ``nobody`` is the word for an empty set, "0" where the question is how many.
    """
    guesses = _guesses({case.name for case in cases}, answer)
    return [_finding(case, guesses.get(case.name), names, nobody) for case in cases]


@dataclass(frozen=True)
class Number:
    """A question of how many or how much; ``because`` explains the answer, ``traps`` certain wrong ones."""

    name: str
    number: int
    because: str
    traps: Mapping[int, str] = field(default_factory=dict)


def compare_numbers(cases: Collection[Number], answer: Mapping[str, Any]) -> list[Finding]:
    """Hold predictions (case name → number) against what happened; any number may be answered."""
    guesses = _guesses({case.name for case in cases}, answer)
    return [_number(case, guesses.get(case.name)) for case in cases]


def _number(case: Number, guess: Any) -> Finding:
    kernel = str(case.number)
    if guess is None:
        return Finding(case.name, "", kernel, "open")
    if type(guess) is not int:
        return Finding(case.name, repr(guess), kernel, "wrong", "expected a number")
    right = guess == case.number
    why = "" if right else case.traps.get(guess, case.because)
    return Finding(case.name, str(guess), kernel, "right" if right else "wrong", why)


def _guesses(names: Collection[str], answer: Mapping[str, Any]) -> Mapping[str, Any]:
    unknown = [str(key) for key in answer if key not in names]
    if unknown:
        raise Mistake(f"There is no case {', '.join(map(repr, unknown))}; keep the keys as they are in the cell.")
    return answer


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
