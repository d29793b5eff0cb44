"""What a verdict shows, and how exercises are found."""

from __future__ import annotations

import re

import pytest

from kmesh_lab.errors import LabError
from kmesh_lab.exercises import exercise, exercises
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.prediction import Case, compare
from kmesh_lab.exercises.verdict import Finding, Mistake


def verdict_of(*findings: Finding):
    return Exercise("09.1", "predict", "Guess.", "You can guess.", lambda answer: list(findings)).check({})


def test_a_verdict_is_true_when_everything_is_right() -> None:
    verdict = verdict_of(Finding("one", "a", "a", "right"), Finding("two", "b", "b", "right"))

    assert verdict
    assert repr(verdict) == "<Verdict ✓ 09.1 predict: right. You can guess.>"


def test_a_verdict_is_false_and_says_why_when_something_is_wrong() -> None:
    verdict = verdict_of(Finding("one", "a", "a", "right"), Finding("two", "b", "c", "wrong", "c is nearer."))

    assert not verdict
    assert str(verdict).splitlines() == [
        "✗ 09.1 predict: wrong. 1 of 2 cases; the last column says why.",
        "  ✓ one: you say a, the kernel a",
        "  ✗ two: you say b, the kernel c – c is nearer.",
    ]


def test_a_verdict_on_tests_does_not_speak_of_the_kernel() -> None:
    survived = [Finding("no end mark", "killed", "survived", "wrong", "The end mark is missing.")]
    verdict = Exercise("09.1", "build", "T.", "P.", lambda answer: survived, "wanted", "with your tests").check([])

    assert str(verdict).splitlines()[1:] == [
        "  ✗ no end mark: wanted killed, with your tests survived – The end mark is missing."
    ]


def test_what_the_kernel_did_stays_hidden_until_there_is_an_answer() -> None:
    verdict = verdict_of(Finding("one", "", "inventory-a", "open"))

    assert verdict.outcome == "open"
    assert "inventory-a" not in str(verdict)
    assert "inventory-a" not in verdict._repr_html_()


def test_an_answer_is_shown_as_text_and_never_as_html() -> None:
    bomb = "<img src=x onerror=alert(1)>"

    verdict = verdict_of(Finding(bomb, bomb, bomb, "wrong", bomb))

    assert "<img" not in verdict._repr_html_()
    assert verdict._repr_html_().count("&lt;img") == 4


def test_a_check_that_cannot_go_on_is_a_wrong_answer() -> None:
    def examine(answer: object) -> list[Finding]:
        raise Mistake(f"The answer is {answer!r}.")

    verdict = Exercise("09.1", "change", "Guess.", "You can guess.", examine).check(7)

    assert str(verdict) == "✗ 09.1 change: wrong. The answer is 7."


def test_guesses_may_be_one_name_several_or_nobody() -> None:
    cases = [Case(name, frozenset(reached), "") for name, reached in (("one", "a"), ("two", "ab"), ("none", ""))]

    findings = compare(cases, {"one": "a", "two": ["b", "a"], "none": "nobody"}, "ab")

    assert [finding.outcome for finding in findings] == ["right", "right", "right"]


def test_a_guess_that_cannot_be_is_told_what_can() -> None:
    (finding,) = compare([Case("one", frozenset("a"), "")], {"one": "z"}, "ab")

    assert (finding.outcome, finding.why) == ("wrong", "expected names among a, b, nobody")


def test_a_case_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="There is no case 'two'"):
        compare([Case("one", frozenset("a"), "")], {"two": "a"}, "ab")


def test_an_exercise_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(LabError, match=re.escape("no exercise '99.1'; there is 01.1, 01.2, 01.3, 02.1,")):
        exercise("99.1")


def test_an_exercise_shows_its_task() -> None:
    for each in exercises():
        assert repr(each).startswith(f"<Exercise {each.id} {each.kind}: ")
        assert f"<b>{each.id} {each.kind}.</b>" in each._repr_html_()
