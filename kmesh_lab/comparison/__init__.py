"""One request over several paths: counted, timed, and followed step by step.

run          compare(): paths that take turns in one run
paths        Path, Route, Lane: what a path is, and how it is laid in a lab of its own
load         the client and the server, in C (load.c)
counting     system calls, context switches, TCP connections and segments per request
timing       CPU time and waiting, in windows that take turns
memory       maps per node, sidecars per pod, and one more service
result       Comparison, Measured, Ratio: what came out
report       the same as tables and a picture
recorder     every event of a path, as the kernel reports it (bpf/watch/record.c)
recording    follow(): one request, step by step; Recording, Moment
stories      system calls and segments in words
timeline     recordings as a picture
"""

from kmesh_lab.comparison.paths import INVENTORY, PATHS, Path, Route
from kmesh_lab.comparison.recording import Moment, Recording, follow
from kmesh_lab.comparison.result import Comparison, Measured, Ratio
from kmesh_lab.comparison.run import compare

__all__ = [
    "INVENTORY",
    "PATHS",
    "Comparison",
    "Measured",
    "Moment",
    "Path",
    "Ratio",
    "Recording",
    "Route",
    "compare",
    "follow",
]
