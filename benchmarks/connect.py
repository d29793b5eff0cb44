"""What the connect hook costs: a miss and a hit, with few frontends and with 100,000, untraced.

A TCP connect to an address without a route runs the whole hook and ends right after it: no SYN, no handshake, no noise.
The same load runs outside the cgroup of the node: the difference is the hook. All cases take turns in random order.
A second pass lets the kernel measure the program itself (BPF_ENABLE_STATS), with a new socket for every connect, as in
real life, where the program must also make the socket's storage.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from benchmarks.cluster import HERE, cluster
from benchmarks.connect_worker import Worker, built
from benchmarks.report import Figure, paired
from kmesh_lab import Lab, Node, Pod
from kmesh_lab.kernel.libbpf import call

ROUNDS, TIMES = 101, 5_000
STATS_ROUNDS, STATS_TIMES = 11, 5_000
FEW, MANY = (2, 4), (5_000, 19)  # services, endpoints of each: 10 and 100,000 frontends
VIP, NOBODY = IPv4Address("10.96.0.1"), IPv4Address("10.95.0.1")
RUN_TIME = 0  # BPF_STATSRUN_TIME

Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Case:
    """Connects of ``worker`` to one of ``count`` addresses, and the descriptor of the program that sees them."""

    worker: Worker
    program: int
    first: IPv4Address
    count: int = 1
    how: str = "tcp"


def figures() -> list[Figure]:
    """The connect without the hook, what the hook adds, and how long the program runs."""
    with ExitStack() as stack:
        command = stack.enter_context(built())
        few_node, few_pod = stack.enter_context(_mesh(*FEW))
        many_node, many_pod = stack.enter_context(_mesh(*MANY))
        outside, few, many = (
            stack.enter_context(Worker(command, pod, hook=hook))
            for pod, hook in ((few_pod, False), (few_pod, True), (many_pod, True))
        )
        small, big = (node.datapath.programs["cgroup_connect4_prog"].fd for node in (few_node, many_node))
        hooked = {
            "miss, 10 frontends": Case(few, small, NOBODY),
            "miss, 100,000 frontends": Case(many, big, NOBODY),
            "hit, hot VIP, 10 frontends": Case(few, small, VIP),
            "hit, hot VIP, 100,000 frontends": Case(many, big, VIP),
        }
        scattered = {"hit, random VIP, 100,000 frontends": Case(many, big, VIP, MANY[0])}  # leaves cold caches behind
        udp = {"UDP passes after the enrolment check": Case(many, big, VIP, how="udp")}
        bare, bare_udp = Case(outside, -1, NOBODY), Case(outside, -1, VIP, how="udp")
        tcp, tcp_added = _added(bare, hooked)
        _, scattered_added = _added(bare, scattered)
        datagrams, udp_added = _added(bare_udp, udp)
        runs = _run_times(hooked | scattered)
    hot = "hit, hot VIP, {} frontends"
    return [
        Figure("connect(2), TCP, no route, no hook", tcp),
        *_compared("the hook adds: ", tcp_added | scattered_added, hot),
        Figure("connect(2), UDP, no route, no hook", datagrams),
        *(Figure(f"the hook adds: {name}", samples) for name, samples in udp_added.items()),
        *_compared("the program itself, new socket: ", runs, hot),
    ]


def _compared(prefix: str, samples: Samples, hot: str) -> list[Figure]:
    """One figure each, and the hot hit in a full map against the hot hit in an almost empty one."""
    small, big = hot.format("10"), hot.format("100,000")
    found = []
    for name, values in samples.items():
        ratios = paired(values, samples[small]) if name == big else ()
        limit = 1.2 if ratios else None
        found.append(Figure(prefix + name, values, ratios=ratios, ratio_of="10 frontends", ratio_at_most=limit))
    return found


@contextmanager
def _mesh(services: int, endpoints: int) -> Iterator[tuple[Node, Pod]]:
    """A node that knows so many services, and a pod on it that is enrolled."""
    with Lab(trace=False) as lab:
        node = lab.node("n1", locality=HERE)
        pod = lab.pod("client", node=node)
        lab.apply(cluster(services, endpoints))
        yield node, pod


def _added(bare: Case, cases: dict[str, Case]) -> tuple[list[float], Samples]:
    """Seconds per connect of ``bare``, and what each case adds in the same round; every round has another order."""
    samples: dict[Case, list[float]] = {case: [] for case in (bare, *cases.values())}
    order, shuffle = list(samples), random.Random(1).shuffle
    for _ in range(ROUNDS):
        shuffle(order)
        for case in order:
            samples[case].append(case.worker.connect(case.how, case.first, case.count, TIMES))
    without = samples[bare]
    added = {
        name: [one - other for one, other in zip(samples[case], without, strict=True)] for name, case in cases.items()
    }
    return without, added


def _run_times(cases: dict[str, Case]) -> Samples:
    """Seconds that the program runs for one connect of a new socket, as the kernel counts them."""
    samples: Samples = {name: [] for name in cases}
    counting = call("bpf_enable_stats", RUN_TIME)
    try:
        for _ in range(STATS_ROUNDS):
            for name, case in cases.items():
                time, runs = counted(case.program)
                case.worker.connect("new", case.first, case.count, STATS_TIMES)
                time_after, runs_after = counted(case.program)
                samples[name].append((time_after - time) / (runs_after - runs) * 1e-9)
    finally:
        os.close(counting)
    return samples


def counted(program: int) -> tuple[int, int]:
    """Nanoseconds and runs of a program."""
    info = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{program}").read_text().splitlines())
    return int(info["run_time_ns"]), int(info["run_cnt"])
