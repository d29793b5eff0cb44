"""Compile, load and attach all programs of a node.

Each sample is a new Python process, since a process keeps what it has compiled. Its first node finds what an earlier
process has compiled (of the traced build at the latest what `make lab` has), every other node finds it in the process.
Only where nothing is kept yet, which is once for a machine and its kernel, bcc and clang work. The builds alternate.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict

from benchmarks.fresh import in_fresh_process
from benchmarks.report import Figure

ROUNDS = 7
IMPORT = """
import json, time
before = time.perf_counter()
import kmesh_lab
print(json.dumps({"import": time.perf_counter() - before}))
"""


def figures() -> list[Figure]:
    """First node, second node and close; without and with the decision trace."""
    imports = [in_fresh_process("-c", IMPORT)["import"] for _ in range(ROUNDS)]
    builds = {"untraced": defaultdict[str, list[float]](list), "traced": defaultdict[str, list[float]](list)}
    for _ in range(ROUNDS):
        for build, samples in builds.items():
            for cached in ("no", "yes"):  # the second finds what the first has kept
                for what, seconds in in_fresh_process("-m", "benchmarks.load", build, cached).items():
                    samples[f"{what}, cached: {cached}"].append(seconds)
    found = [Figure("import kmesh_lab", imports)]
    for build, samples in builds.items():
        found += [
            Figure(f"first node, {build}, nothing compiled yet", samples["first, cached: no"]),
            Figure(f"first node, {build}: compile or find, load, attach", samples["first, cached: yes"], at_most=0.35),
            Figure(f"second node, {build}: load, attach", samples["second, cached: yes"], at_most=0.25),
            Figure(f"first node made again, {build}", samples["again, cached: yes"], at_most=0.25),
        ]
    return found


def _measure(trace: bool, cached: bool) -> dict[str, float]:
    from kmesh_lab.datapath.datapath import Datapath
    from kmesh_lab.kernel import cache
    from kmesh_lab.kernel.cgroup import LabCgroup

    if not cached and cache.FOLDER:
        for file in cache.FOLDER.glob("*"):
            file.unlink()
    with LabCgroup.create() as lab:
        one, two = lab.child("n1"), lab.child("n2")
        times = [time.perf_counter()]
        first = Datapath(one, trace=trace)
        times.append(time.perf_counter())
        second = Datapath(two, trace=trace)
        times.append(time.perf_counter())
        first.close()
        before = time.perf_counter()
        again = Datapath(one, trace=trace)
        after = time.perf_counter()
        again.close()
        second.close()
    return {"first": times[1] - times[0], "second": times[2] - times[1], "again": after - before}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1] == "traced", sys.argv[2] == "yes")))
