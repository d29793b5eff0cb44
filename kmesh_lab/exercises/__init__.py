"""Exercises that the kernel marks, and the instruments that lessons need.

km.exercise("03.1").check({"RANDOM, all four": ["p", "q"], …})

exercise      Exercise: a task and a check
verdict       Verdict: right or wrong, and why
prediction    guesses held against what happened
bench         the labs in which answers are tried
one_connect, four_maps, locality, waypoint_and_tlv, reports, sidecars, scale, bpf_tests
              the exercises of notebooks 01 to 08
readers       tries a learner's reader of TLVs on real connections
instruments   attempt(), connecting(), keep_asking(): a connect that may fail, many in the background, one that lasts
listener      Listener: a pod in the place of a waypoint, whose sockets the notebook reads itself
priorities    explain(): why an endpoint has its priority
footprint     footprint(), grow(), entries(): what maps and Envoys take and know; growth_chart draws it
"""

from kmesh_lab.display import choices
from kmesh_lab.errors import LabError
from kmesh_lab.exercises import (
    bpf_tests,
    four_maps,
    locality,
    one_connect,
    reports,
    scale,
    sidecars,
    waypoint_and_tlv,
)
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.footprint import entries, footprint, grow
from kmesh_lab.exercises.instruments import Attempt, attempt, connecting, keep_asking
from kmesh_lab.exercises.listener import Listener
from kmesh_lab.exercises.priorities import Priorities, explain
from kmesh_lab.exercises.verdict import Verdict

__all__ = [
    "Attempt",
    "Exercise",
    "Listener",
    "Priorities",
    "Verdict",
    "attempt",
    "connecting",
    "entries",
    "exercise",
    "exercises",
    "explain",
    "footprint",
    "grow",
    "keep_asking",
]

_PARTS = (one_connect, four_maps, locality, waypoint_and_tlv, reports, sidecars, scale, bpf_tests)
_ALL: dict[str, Exercise] = {each.id: each for part in _PARTS for each in part.EXERCISES}


def exercise(number: str) -> Exercise:
    """The exercise with this number, for example "03.1": the first one of notebook 03.

    >>> exercise("03.1").check(answer)
    """
    if number not in _ALL:
        raise LabError(f"no exercise {number!r}; there is {choices(_ALL)}")
    return _ALL[number]


def exercises() -> list[Exercise]:
    """All exercises, in the order of the notebooks."""
    return list(_ALL.values())
