"""Every rule of the coach, on C that this kernel really rejects and, with the fix, really accepts."""

from __future__ import annotations

import re

import pytest

from kmesh_lab.coach import coach
from kmesh_lab.coach.rules import COMPILER_RULES, RULES

from .conftest import REJECTIONS, cell

pytestmark = pytest.mark.root

NAMES = [rule.name for rule in (*RULES, *COMPILER_RULES)]


def test_there_are_many_rules_and_each_has_its_c_and_its_words(verdicts: dict[str, str]) -> None:
    assert len(NAMES) == len(set(NAMES)) >= 20
    assert sorted(NAMES) == sorted(path.stem for path in REJECTIONS.glob("*.c")) == sorted(verdicts)


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_refuses_it_and_the_coach_says_the_line_the_meaning_and_the_fix(
    name: str, verdicts: dict[str, str]
) -> None:
    text = cell(name)
    marked = [number for number, line in enumerate(text.splitlines(), 1) if "/* HERE */" in line]

    verdict = coach(text)

    assert not verdict
    assert verdict.rule == name
    assert verdict.advice is not None
    assert [verdict.advice.line] == (marked or [0])
    assert _words(str(verdict)) == verdicts[name]
    assert verdict.advice.reason in verdict.log


@pytest.mark.parametrize("name", NAMES)
def test_the_fix_that_the_coach_advises_is_accepted_by_the_kernel(name: str) -> None:
    verdict = coach(cell(name), defines={"FIXED": 1})

    assert verdict, str(verdict)
    assert verdict.outcome == "accepted"


def _words(said: str) -> str:
    """Without the verifier's own words, which differ between kernels, and lines of our headers, which move."""
    said = re.sub(r"  The verifier says:\n.*\n", "", said).replace(" /* HERE */", "")
    return re.sub(r"line \d+ of (\w+\.h)", r"line … of \1", said)


if __name__ == "__main__":  # python -m tests.coach.test_rules > tests/coach/rejections/verdicts.txt, after reading it
    print("\n\n".join(f"== {name}\n{_words(str(coach(cell(name))))}" for name in sorted(NAMES)))
