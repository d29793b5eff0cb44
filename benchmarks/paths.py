"""What a path costs, as `km.compare` sees it: kernel, waypoint and sidecars against direct, in two quick runs.

Ratios are those of both runs, round by round; counts are compared between the runs. A third pass lets the kernel time
each program of the kernel path (BPF_ENABLE_STATS).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import kmesh_lab as km
from benchmarks.connect import RUN_TIME, counted
from benchmarks.report import Figure
from kmesh_lab.comparison import PATHS as KNOWN
from kmesh_lab.comparison import Comparison
from kmesh_lab.comparison.load import How
from kmesh_lab.comparison.paths import open_lane
from kmesh_lab.comparison.result import WORDS
from kmesh_lab.comparison.timing import HOWS
from kmesh_lab.kernel.libbpf import call

PATHS = ["direct", "kernel", "envoy waypoint", "sidecars tcp", "sidecars http"]
_CONNECTIONS = 2000
_AT_MOST: dict[tuple[str, str, How], float] = {
    ("kernel", "cpu", "keep"): 1.05,
    ("kernel", "cpu", "new"): 1.10,
    ("kernel", "p50", "keep"): 1.05,
}
_AT_LEAST: dict[tuple[str, str, How], float] = {("sidecars http", "cpu", "keep"): 3.5}


def figures() -> list[Figure]:
    """CPU time and waiting per request, how far counts repeat, and how long a quick comparison takes."""
    runs = [km.compare(PATHS, seed=seed) for seed in (1, 2)]
    for run in runs:
        if run.failed:
            raise RuntimeError(f"a path could not run: {run.failed}")
    took = Figure("km.compare(), quick, five paths", [run.seconds for run in runs], at_most=30)
    return [*_times(runs), *_programs(), *_counts(runs), took]


def _times(runs: list[Comparison]) -> Iterator[Figure]:
    for path in PATHS:
        for how in HOWS:
            for figure, name in (("cpu", "CPU time"), ("p50", "first byte, p50")):
                windows = [window for run in runs for window in run[path].times.windows[how].values()]
                samples = [(window.whole if figure == "cpu" else window.p50) / 1e9 for window in windows]
                pairs = [
                    pair for run in runs for pair in run[path].ratio("cpu" if figure == "cpu" else "p50", how).pairs
                ]
                key = path, figure, how
                yield Figure(
                    f"{path}, {WORDS[how]}: {name}",
                    samples,
                    ratios=() if path == "direct" else pairs,
                    ratio_of="direct",
                    ratio_at_most=_AT_MOST.get(key),
                    ratio_at_least=_AT_LEAST.get(key),
                )


def _counts(runs: list[Comparison]) -> Iterator[Figure]:
    """Counts per request, and the largest relative difference of one between the runs."""
    apart = []
    for path in PATHS:
        for how in HOWS:
            both = [run[path] for run in runs]
            for counts in ([each.syscalls(how) for each in both], [each.segments(how) for each in both]):
                apart.append(abs(counts[1] - counts[0]) / counts[0])
            yield Figure(f"{path}, {WORDS[how]}: system calls", [each.syscalls(how) for each in both], "")
    yield Figure("counts of system calls and segments, two runs apart by", [100 * max(apart)], "%", at_most=5)


def _programs() -> Iterator[Figure]:
    """The time of each program for one new connection, on both nodes together."""
    with open_lane(KNOWN["kernel"]) as lane:
        programs = [(name, each.fd) for node in lane.nodes for name, each in node.datapath.programs.items()]
        counting = call("bpf_enable_stats", RUN_TIME)
        try:
            before = [counted(fd)[0] for _, fd in programs]
            lane.client.run("new", *lane.route.target, count=_CONNECTIONS - 1)  # and one that a run does not count
            spent: dict[str, float] = {}
            for (name, fd), earlier in zip(programs, before, strict=True):
                spent[name] = spent.get(name, 0.0) + (counted(fd)[0] - earlier) / _CONNECTIONS * 1e-9
        finally:
            os.close(counting)
    yield Figure("kernel, with a new connection: all programs", [sum(spent.values())])
    for name, time in spent.items():
        if time > 0:
            yield Figure(f"… of which {name}", [time])
