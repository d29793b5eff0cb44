"""What a request costs in time: CPU time of everybody on the path, and how long the client waits.

All processes of a path share one CPU and ask and answer in turn, so somebody of them can always run: what is missing in
the CPU time of a window was spent by somebody else, or by nobody. A window in which that was too much is dropped.
"""

from __future__ import annotations

import gzip
import platform
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from kmesh_lab.comparison.load import How, path_cpu
from kmesh_lab.comparison.paths import Lane
from kmesh_lab.errors import LabError

__all__ = ["HOWS", "SOFTIRQ_THREAD", "Pace", "Times", "Window", "softirqs_are_unpaid", "take_turns"]

HOWS: tuple[How, How] = ("keep", "new")

_FOREIGN = 0.12  # share of a window that others may have, at most
SOFTIRQ_THREAD = "ksoftirqd"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to measure: ``rounds`` in which every path has its turn, windows of ``milliseconds``.

    A window with too much noise is measured again, at most ``again`` times.
    """

    rounds: int
    milliseconds: int
    again: int


@dataclass(frozen=True, slots=True)
class Window:
    """One clean window of one path; times in ns, CPU time per request, by process and by (process, thread).

    ``p50`` is the median time from the start of connect(2) to the first byte, for a kept connection from that of
    send(2); ``connect`` is the median of connect(2) alone. ``foreign`` is the share of the window in which nobody of
    the path ran.
    """

    requests: int
    cpu: Mapping[str, float]
    threads: Mapping[tuple[str, str], float]
    p50: int
    connect: int
    foreign: float

    @property
    def whole(self) -> float:
        """CPU time per request of all processes of the path, softirqs included."""
        return sum(self.cpu.values())


@dataclass
class Times:
    """The windows of one path: by how it asks, and by round. ``dropped`` counts those that were too noisy."""

    windows: dict[How, dict[int, Window]] = field(default_factory=lambda: {how: {} for how in HOWS})
    dropped: Counter[How] = field(default_factory=Counter)


def take_turns(
    lanes: Mapping[str, Lane],
    pace: Pace,
    chance: random.Random,
    failed: dict[str, str],
    unpaid: Mapping[tuple[str, How], float],
) -> dict[str, Times]:
    """Measure all paths, in each round in another order, so that what is compared is seconds apart.

    A path that breaks off is noted in ``failed``, with the reason, and has no turn any more. ``unpaid`` is the time of
    softirqs in ns per request that this kernel charges to no process; empty where it does.
    """
    times = {name: Times() for name in lanes}
    for number in range(pace.rounds):
        turns = [(name, how) for name in lanes for how in HOWS]
        chance.shuffle(turns)
        for name, how in turns:
            if name in failed:
                continue
            try:
                window = _clean_window(lanes[name], how, pace, times[name], unpaid.get((name, how), 0.0))
            except (LabError, OSError) as error:
                failed[name] = str(error)
                continue
            if window is not None:
                times[name].windows[how][number] = window
    return times


def _clean_window(lane: Lane, how: How, pace: Pace, times: Times, unpaid: float) -> Window | None:
    for _ in range(1 + pace.again):
        window = _window(lane, how, pace.milliseconds, unpaid)
        if window.foreign <= _FOREIGN:
            return window
        times.dropped[how] += 1
    return None


def _window(lane: Lane, how: How, milliseconds: int, unpaid: float) -> Window:
    others = {name: pid for name, pid in lane.processes.items() if name != "client"}
    before = dict(_cpu_times(others))
    run = lane.client.run(how, *lane.route.target, milliseconds=milliseconds)
    after = dict(_cpu_times(others))
    if run.wrong:
        raise LabError(f"path {lane.path.name!r}: {run.wrong} of {run.requests} answers were wrong")
    # The client reads its own clock at both edges of the window, so its preparations are left out.
    spent = {("client", "client"): run.cpu}
    if unpaid:
        spent[SOFTIRQ_THREAD, "softirqs, counted apart"] = round(unpaid * run.requests)
    for (name, thread, comm), time in after.items():
        key = name, comm
        spent[key] = spent.get(key, 0) + time - before.get((name, thread, comm), 0)
    threads = {key: time / run.requests for key, time in spent.items() if time}
    cpu: dict[str, float] = dict.fromkeys(lane.processes, 0.0)
    for (name, _), time_each in threads.items():
        cpu[name] = cpu.get(name, 0.0) + time_each
    foreign = max(0.0, 1 - sum(spent.values()) / run.wall)
    return Window(run.requests, cpu, threads, run.first_byte, run.connect, foreign)


def _cpu_times(processes: Mapping[str, int]) -> Iterator[tuple[tuple[str, str, str], int]]:
    """(process, thread, its name) → ns on a CPU; one thread of the kernel handles the softirqs that pile up."""
    for name, pid in processes.items():
        yield from _of_threads(name, list(Path(f"/proc/{pid}/task").iterdir()))
    yield from _of_threads(SOFTIRQ_THREAD, _softirq_threads(path_cpu()))


def _of_threads(name: str, threads: Sequence[Path]) -> Iterator[tuple[tuple[str, str, str], int]]:
    for thread in threads:
        try:
            comm, time = (thread / "comm").read_text().strip(), (thread / "schedstat").read_text().split()[0]
        except OSError:  # it has ended
            continue
        yield (name, thread.name, comm), int(time)


@cache
def softirqs_are_unpaid() -> bool:
    """True where the kernel takes the time of softirqs from the process that they interrupt (IRQ_TIME_ACCOUNTING).

    Only its configuration says so. Where that cannot be read, it is taken to be as most kernels are.
    """
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")):
        try:
            with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
                return "CONFIG_IRQ_TIME_ACCOUNTING=y\n" in lines
        except OSError:
            continue
    return False


@cache
def _softirq_threads(cpu: int) -> tuple[Path, ...]:
    """The thread that handles softirqs on a CPU; none where a container does not show it."""
    wanted = f"{SOFTIRQ_THREAD}/{cpu}"
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "comm").read_text().strip() == wanted:
                return (process,)
        except OSError:
            continue
    return ()
