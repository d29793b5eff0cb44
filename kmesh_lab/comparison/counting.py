"""What a request costs in things that can be counted: they are the same on a busy machine and on an idle one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from kmesh_lab.comparison.load import How, path_cpu, system_calls
from kmesh_lab.comparison.paths import Lane
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.program import BPF_DIR, Link, Module
from kmesh_lab.lab import Pod

__all__ = ["Counter", "Counts", "gate_switches", "tcp_counters"]

_FIRST = 50  # requests that are not counted: every worker of a proxy opens the connections that it keeps
_SETTLE = 0.01  # seconds for the last FIN of a run


@dataclass(frozen=True, slots=True)
class Counts:
    """Per request, each a float; by name of the process where the processes differ.

    ``connections`` are TCP connections opened anywhere on the path, ``segments`` TCP segments sent by anybody on it,
    in the kernel's own counting (``Tcp: ActiveOpens OutSegs`` of /proc/net/snmp). ``softirqs`` were handled on the CPU
    of the path, and took ``softirq_ns``. ``passed`` is what the proxies themselves say to have forwarded.
    """

    requests: int
    syscalls: Mapping[str, float]
    switches: Mapping[str, float]
    connections: float
    segments: float
    softirqs: float
    softirq_ns: float
    passed: Mapping[str, float]


_Readings = dict[tuple[str, str], int]  # what, whose


class Counter:
    """The counting programs, attached until `close`; all system calls of the machine are a little slower meanwhile.

    Raises `kmesh_lab.errors.KernelNotSupported` where raw tracepoints cannot be attached to.
    """

    def __init__(self) -> None:
        self._module = Module(BPF_DIR / "watch" / "count.c", gate_switches())
        self._links: list[Link] = []
        try:
            for name in self._module.sections:
                self._links.append(self._module.load(name).attach_to_tracepoint())
        except BaseException:
            self.close()
            raise

    def count(self, lane: Lane, how: How, requests: int) -> Counts:
        """What each of so many requests comes to.

        One run asks ``requests`` times and another one twice as often. What the programs count lies between the marks
        of a run; the client's pause before the second mark is its own system call and is taken off. What namespaces and
        proxies count themselves is the difference of both runs, because the beginning and the end of a run is in both.
        """
        self._watch(lane.processes)
        lane.client.run("new", *lane.route.target, count=_FIRST)
        once, twice = self._total(lane, how, requests), self._total(lane, how, 2 * requests)
        each = {key: (twice[key] - once[key]) / requests for key in once}
        for what in ("syscalls", "switches", "softirqs"):
            for key in (key for key in once if key[0] == what):
                pauses = 2 if key[1] == "client" else 0
                each[key] = (once[key] + twice[key] - pauses) / (3 * requests)

        def by_name(what: str) -> dict[str, float]:
            return {name: value for (kind, name), value in each.items() if kind == what}

        return Counts(
            requests=requests,
            syscalls=by_name("syscalls"),
            switches=by_name("switches"),
            connections=each["tcp", "ActiveOpens"],
            segments=each["tcp", "OutSegs"],
            softirqs=each["softirqs", "count"],
            softirq_ns=each["softirqs", "ns"],
            passed=by_name("passed"),
        )

    def _watch(self, processes: Mapping[str, int]) -> None:
        """Give every process a row; that of the client, which may open the gate, is row 0."""
        watched, (key, value) = self._module.maps["kl_watched"], self._module.layouts["kl_watched"]
        watched.delete_many(list(watched.keys()))
        for row, pid in enumerate(processes.values()):
            watched.update(key.struct.pack(pid), value.struct.pack(row))

    def _total(self, lane: Lane, how: How, requests: int) -> _Readings:
        """What one run adds to every counter."""
        before = self._read(lane)
        run = lane.client.run(how, *lane.route.target, count=requests, pause=2)
        time.sleep(_SETTLE)
        if run.wrong:
            raise LabError(f"path {lane.path.name!r}: {run.wrong} of {requests} answers were wrong")
        return {key: value - before[key] for key, value in self._read(lane).items()}

    def _read(self, lane: Lane) -> _Readings:
        readings: _Readings = {}
        for row, name in enumerate(lane.processes):
            fields = self._row("kl_counts", row)
            readings["syscalls", name], readings["switches", name] = fields["syscalls"], fields["switches"]
        softirqs = self._row("kl_softirqs", 0)
        readings["softirqs", "count"], readings["softirqs", "ns"] = softirqs["count"], softirqs["ns"]
        tcp = [tcp_counters(pod) for pod in lane.pods]
        for name in ("ActiveOpens", "OutSegs"):
            readings["tcp", name] = sum(each[name] for each in tcp)
        return readings | {("passed", name): count for name, count in lane.route.passed().items()}

    def _row(self, name: str, row: int) -> dict[str, int]:
        key, value = self._module.layouts[name]
        return value.unpack(self._module.maps[name].lookup(key.struct.pack(row)) or bytes(value.size))

    def close(self) -> None:
        """Detach."""
        for link in self._links:
            link.close()
        self._module.close()


def gate_switches() -> dict[str, int]:
    """The ``-D`` switches of bpf/watch/gate.h: the mark, the clock, the CPU of the path, our PID namespace.

    In a container the kernel's own numbers of processes are not those that we know them by.
    """
    namespace = os.stat("/proc/self/ns/pid")
    numbers = {name: number for number, name in system_calls().items()}
    return {
        "KL_MARK": numbers["getppid"],
        "KL_CLOCK_GETTIME": numbers["clock_gettime"],
        "KL_GETTIMEOFDAY": numbers["gettimeofday"],
        "KL_CPU": path_cpu(),
        "KL_PIDNS_DEV": os.major(namespace.st_dev) << 20 | os.minor(namespace.st_dev),  # as the kernel has it inside
        "KL_PIDNS_INO": namespace.st_ino,
    }


def tcp_counters(pod: Pod) -> dict[str, int]:
    """The kernel's TCP counters of a pod's network namespace: ``Tcp`` of /proc/net/snmp."""
    with open(f"/proc/{pod.pid}/net/snmp") as lines:
        names, values = (line.split()[1:] for line in lines if line.startswith("Tcp:"))
    return dict(zip(names, map(int, values), strict=True))
