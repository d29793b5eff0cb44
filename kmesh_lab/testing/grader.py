"""Tests, graded: they run on the real programs, and on programs with a mistake, which they should notice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kmesh_lab.display import choices
from kmesh_lab.errors import LabError
from kmesh_lab.testing.grade import Grade, Survival, TestResult
from kmesh_lab.testing.mutants import SUBJECTS, Mutant, image
from kmesh_lab.testing.runner import Job, Ran, run_jobs
from kmesh_lab.testing.stage import Test, check_test

__all__ = ["grade"]

_REAL = "the real programs"
_AT_ONCE = (os.cpu_count() or 1) + 1  # they mostly wait for pods to start


def grade(subject: str, tests: Iterable[Test], mutants: Sequence[str] | None = None) -> Grade:
    """Run tests of a subject, "tlv" or "locality", on the real programs and on each mutant.

    A test is a function whose parameters name what it needs: ``lab``, ``n1``, ``shop``, ``near`` and, for "tlv",
    ``waypoint``, ``inventory`` (behind the waypoint) and ``direct``; for "locality" ``twin``, ``far``, ``remote``, the
    nodes, and ``publish(policy, *endpoints)``, which returns the service. ``mutants`` are the names of those to try,
    all by default. A test that fails on the real programs, or not every time, kills no mutant. Raises `LabError` for
    what is no test of the subject.

    >>> grade("tlv", [test_the_tlv_has_16_bytes])
    <Grade tlv: 9 of 12 mutants killed by 1 test>
    """
    if subject not in SUBJECTS:
        raise LabError(f"no subject {subject!r}: there is {choices(SUBJECTS)}")
    named = _named(subject, tests)
    tried = _chosen(subject, mutants)
    if not named:
        return Grade(subject, (), tuple(Survival(mutant) for mutant in tried))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the compiler is a process of its own
        images = list(pool.map(image, [None, *tried]))
    ((_, first),) = run_jobs([Job(_REAL, images[0], subject, named)], 1)
    good = [(name, test) for (name, test), ran in zip(named, first, strict=True) if ran.outcome == "passed"]
    if not good or any(ran.outcome in ("hung", "died") for ran in first):
        return Grade(subject, tuple(_result(ran) for ran in first), tuple(Survival(mutant) for mutant in tried))
    jobs = [Job(_REAL, images[0], subject, good)]
    jobs += [
        Job(each.name, built, subject, good, fail_fast=True) for each, built in zip(tried, images[1:], strict=True)
    ]
    outcomes = {job.name: ran for job, ran in run_jobs(jobs, _AT_ONCE)}
    again = {ran.test: ran for ran in outcomes[_REAL] if ran.outcome != "passed"}
    results = tuple(_result(ran, again.get(ran.test)) for ran in first)
    sound = {result.test for result in results if result.outcome == "passed"}
    return Grade(subject, results, tuple(_survival(mutant, outcomes[mutant.name], sound) for mutant in tried))


def _named(subject: str, tests: Any) -> list[tuple[str, Test]]:
    """The tests with their names, each name once."""
    if callable(tests):
        tests = [tests]
    if isinstance(tests, (str, bytes)) or not isinstance(tests, Iterable):
        raise LabError(f"{tests!r} are no tests: expected a list of functions")
    tests = list(tests)
    for test in tests:
        check_test(subject, test)
    names = [str(getattr(test, "__name__", f"test {number}")) for number, test in enumerate(tests, 1)]
    twice = [name for name, count in Counter(names).items() if count > 1 and name != "<lambda>"]
    if twice:
        raise LabError(f"two tests are called {twice[0]}; give each a name that says what it claims")
    return [
        (f"{name} {number}" if names.count(name) > 1 else name, test)
        for number, (name, test) in enumerate(zip(names, tests, strict=True), 1)
    ]


def _chosen(subject: str, names: Sequence[str] | None) -> Sequence[Mutant]:
    known = {mutant.name: mutant for mutant in SUBJECTS[subject]}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise LabError(f"no mutant {unknown[0]!r} of {subject}: there is {choices(map(repr, known))}")
    return list(known.values()) if names is None else [known[name] for name in names]


def _result(first: Ran, again: Ran | None = None) -> TestResult:
    if again is not None and first.outcome == "passed":
        return TestResult(first.test, "unstable", f"passed once, and then: {again.text}")
    return TestResult(first.test, first.outcome, first.text)


def _survival(mutant: Mutant, ran: Sequence[Ran], sound: set[str]) -> Survival:
    killers = [each for each in ran if each.outcome not in ("passed", "not run") and each.test in sound]
    return Survival(mutant, killers[0].test, killers[0].text) if killers else Survival(mutant)
