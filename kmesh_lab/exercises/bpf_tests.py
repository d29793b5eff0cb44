"""Exercises of notebook 08: tests of programs in the kernel, marked by programs with mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kmesh_lab.errors import LabError
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.verdict import Finding, Mistake
from kmesh_lab.testing import Grade, example, grade

__all__ = ["EXERCISES"]

# ---- 08.1

_KILLED, _SURVIVES = "killed", "survives"
_WHY = {
    "the port in the TLV is in host order": "The port is one of the two numbers that are compared.",
    "a TLV of length 8": "Whoever reads a TLV takes any length but 6 for IPv6, so the address comes out wrong.",
    "no end mark": "Address and port stand before the end mark, and nothing behind them is compared.",
    "the TLV has another type": "The type is the first byte, and the test compares address and port only.",
    "a TLV before every message": "The test sends one message. What happens to the second one it cannot see.",
    "no socket gets into km_socket": "Without a TLV the first bytes are HELLO, and no address can be read from that.",
}


def _examine_prediction(answer: Mapping[str, Any]) -> list[Finding]:
    if unknown := [str(key) for key in answer if key not in _WHY]:
        raise Mistake(f"There is no mutant {', '.join(map(repr, unknown))}; keep the keys as they are in the cell.")
    if all(answer.get(name) is None for name in _WHY):
        return [Finding(name, "", "", "open") for name in _WHY]
    happened = grade("tlv", [example.test_the_waypoint_learns_the_address], mutants=list(_WHY))
    return [_guess(name, answer.get(name), happened) for name in _WHY]


def _guess(name: str, guess: Any, happened: Grade) -> Finding:
    kernel = _KILLED if name in happened.killed else _SURVIVES
    if guess is None:
        return Finding(name, "", kernel, "open")
    if guess not in (_KILLED, _SURVIVES):
        return Finding(name, str(guess), kernel, "wrong", f"expected {_KILLED!r} or {_SURVIVES!r}")
    return (
        Finding(name, guess, kernel, "right") if guess == kernel else Finding(name, guess, kernel, "wrong", _WHY[name])
    )


# ---- 08.2, 08.3


def _graded(subject: str) -> Callable[[Any], list[Finding]]:
    """A check that grades tests of the subject."""

    def examine(answer: Any) -> list[Finding]:
        try:
            graded = grade(subject, answer)
        except LabError as error:
            if type(error) is not LabError:  # the machine's fault
                raise
            raise Mistake(f"{error}.") from None
        if not graded.tests:
            raise Mistake("There is no test yet, so all mutants survive: expected a list of functions.")
        return [*_on_the_real_programs(graded), *_mutants(graded)]

    return examine


def _on_the_real_programs(graded: Grade) -> list[Finding]:
    return [
        Finding(
            f"{test.test}, on the real programs",
            "passes",
            "passes" if test.outcome == "passed" else test.outcome,
            "right" if test.outcome == "passed" else "wrong",
            test.text,
        )
        for test in graded.tests
    ]


def _mutants(graded: Grade) -> list[Finding]:
    return [
        Finding(each.mutant.name, _KILLED, f"{_KILLED} by {each.killer}", "right")
        if each.killer
        else Finding(each.mutant.name, _KILLED, "survived", "wrong", each.mutant.effect)
        for each in sorted(graded.mutants, key=lambda each: bool(each.killer))
    ]


EXERCISES = (
    Exercise(
        "08.1",
        "predict",
        "The test `example.test_the_waypoint_learns_the_address` compares address and port, as Scapy reads them from "
        "what the waypoint received. Which of six mutants is `killed`, and which `survives`?",
        "You can tell what a test sees from what it only touches.",
        _examine_prediction,
        tried="with this test",
    ),
    Exercise(
        "08.2",
        "change",
        "This test of the TLV is good for little: change it, and add others, until no mutant survives. A test can ask "
        "for `shop`, `near`, `waypoint`, `inventory` (a service behind the waypoint), `direct` (one without) and `n1`. "
        "A pod sends back what is no HTTP, the first time with its name in front; `waypoint.captured()` has the first "
        "bytes.",
        "Your tests see the TLV byte by byte, once per connection, in both families, and only where it belongs.",
        _graded("tlv"),
        beside="wanted",
        tried="with your tests",
    ),
    Exercise(
        "08.3",
        "build",
        "Write tests of the choice of an endpoint that no mutant survives. `publish(policy, *endpoints)` publishes "
        "10.96.0.10 port 80 and returns the service; the shop and the endpoints `near` and `twin` are on `n1`, `far` "
        "is in another subzone, `remote` in another region.",
        "Your tests know the policies, the die, the ports, a row that is missing and both address families.",
        _graded("locality"),
        beside="wanted",
        tried="with your tests",
    ),
)
