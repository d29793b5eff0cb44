"""The same request over several paths, side by side in one run."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from kmesh_lab.comparison.counting import Counter, Counts
from kmesh_lab.comparison.load import How, reserved_cpu
from kmesh_lab.comparison.memory import Memory, weigh
from kmesh_lab.comparison.paths import PATHS, Lane, Path, open_lane, path_named
from kmesh_lab.comparison.result import Comparison, Measured
from kmesh_lab.comparison.timing import HOWS, Pace, softirqs_are_unpaid, take_turns
from kmesh_lab.errors import KernelNotSupported, LabError

__all__ = ["compare"]

_BASE = "direct"
_QUICK, _THOROUGH = Pace(rounds=7, milliseconds=120, again=2), Pace(rounds=21, milliseconds=300, again=4)
_REQUESTS: dict[How, int] = {"keep": 500, "new": 200}  # that are counted, of which 3 times as many are made


def compare(paths: Sequence[str | Path] | None = None, *, quick: bool = True, seed: int | None = None) -> Comparison:
    """Ask "is item 42 in stock?" over several paths that take turns, and say what each costs.

    ``paths`` are names of `kmesh_lab.comparison.PATHS`, or paths of your own; all that there are unless given. Direct
    is always the first, because ratios are to it; named twice, it is held against itself. A path that cannot run here
    is said, and the others run. ``quick=False`` takes some minutes and narrows the spread. ``seed`` fixes the order of
    the turns.

    Counting and timing are separate passes, because counting slows down what it counts; the programs are those without
    the decision trace. Raises `LabError` when not even direct can run.
    """
    started = time.monotonic()
    wanted = _wanted(paths)
    pace = _QUICK if quick else _THOROUGH
    with reserved_cpu(), ExitStack() as stack:
        lanes: dict[str, Lane] = {}
        failed: dict[str, str] = {}
        for name, path in wanted.items():
            try:
                lanes[name] = stack.enter_context(open_lane(path))
            except (LabError, OSError) as error:
                if name == _BASE:
                    raise
                failed[name] = str(error)
        counts, not_counted = _counts(lanes, failed)
        unpaid = {(name, how): each.softirq_ns for name, found in counts.items() for how, each in found.items()}
        chance = random.Random(seed)
        times = take_turns(lanes, pace, chance, failed, unpaid if softirqs_are_unpaid() else {})
        memory = _memory(lanes, failed)
    if _BASE in failed:
        raise LabError(f"path {_BASE!r} broke off, and there is nothing to compare with: {failed[_BASE]}")
    measured = {
        name: Measured(name, lane.path, counts.get(name, {}), times[name], memory.get(name), times[_BASE])
        for name, lane in lanes.items()
        if name not in failed
    }
    seconds = time.monotonic() - started
    return Comparison(measured, failed, not_counted, pace.rounds, pace.milliseconds, seconds)


def _wanted(paths: Sequence[str | Path] | None) -> dict[str, Path]:
    """Name → path, direct first; a path that is named again gets a number."""
    if isinstance(paths, str):
        raise ValueError(f"paths {paths!r}: expected a list, for example ['direct', {paths!r}]")
    given = [each if isinstance(each, Path) else path_named(each) for each in (PATHS if paths is None else paths)]
    base = PATHS[_BASE]
    rest = list(given)
    if base in rest:
        rest.remove(base)
    return _numbered([base, *rest])


def _numbered(paths: Iterable[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in paths:
        name, number = path.name, 1
        while name in named:
            number += 1
            name = f"{path.name} ({number})"
        named[name] = path
    return named


def _counts(lanes: dict[str, Lane], failed: dict[str, str]) -> tuple[dict[str, dict[How, Counts]], str]:
    """What a request comes to on each path; a kernel that does not let us count leaves the times."""
    counts: dict[str, dict[How, Counts]] = {}
    try:
        counter = Counter()
    except KernelNotSupported as error:
        return counts, str(error)
    try:
        for name, lane in lanes.items():
            try:
                if name not in failed:
                    counts[name] = {how: counter.count(lane, how, _REQUESTS[how]) for how in HOWS}
            except (LabError, OSError) as error:
                failed[name] = str(error)
    finally:
        counter.close()
    return counts, ""


def _memory(lanes: dict[str, Lane], failed: dict[str, str]) -> dict[str, Memory]:
    memory = {}
    for name, lane in lanes.items():
        try:
            if name not in failed:
                memory[name] = weigh(lane)
        except (LabError, OSError) as error:
            failed[name] = str(error)
    return memory
