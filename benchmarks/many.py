"""A class on one machine: ten labs at the same time, each of two nodes and four pods; memory of one of them.

Each lab has a process of its own, as each notebook has. The memory of processes is proportional (PSS): a page that
several of them share counts once, divided among them. Memory of the kernel for sockets and namespaces is not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.report import Figure

LABS = 10


def figures() -> list[Figure]:
    """Until all are ready, and what one of them takes."""
    start = time.perf_counter()
    with ExitStack() as stack:
        owners = [stack.enter_context(_owner()) for _ in range(LABS)]
        labs = [_said(owner) for owner in owners]
        ready = time.perf_counter() - start
        memory: defaultdict[str, list[float]] = defaultdict(list)
        for owner, lab in zip(owners, labs, strict=True):
            memory["pods"].append(sum(map(_pss, lab["pods"])) / len(lab["pods"]))
            memory["maps"].append(lab["maps"])
            memory["processes"].append(sum(map(_pss, [owner.pid, *_descendants(owner.pid)])))
            memory["all"].append(memory["processes"][-1] + lab["maps"])
        for owner in owners:
            owner.communicate("\n")
    return [
        Figure(f"{LABS} labs started at once: all are ready", [ready]),
        Figure(f"memory of one of {LABS} labs: 2 nodes, 4 pods", memory["all"], "B"),
        Figure("… of which all maps of its nodes", memory["maps"], "B"),
        Figure("… of which one pod", memory["pods"], "B"),
    ]


def _owner() -> subprocess.Popen[str]:
    top, pipe = Path(__file__).resolve().parents[1], subprocess.PIPE
    return subprocess.Popen([sys.executable, "-m", "benchmarks.many"], cwd=top, stdin=pipe, stdout=pipe, text=True)


def _said(owner: subprocess.Popen[str]) -> dict[str, Any]:
    assert owner.stdout is not None
    said: dict[str, Any] = json.loads(owner.stdout.readline())
    return said


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _descendants(pid: int) -> list[int]:
    children = [
        int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
    ]
    return children + [each for child in children for each in _descendants(child)]


def _make_lab() -> None:
    import kmesh_lab as km

    with km.Lab() as lab:
        nodes = [lab.node(f"n{number}", locality=f"cn-west/xian/{number}") for number in (1, 2)]
        shop, cart = lab.pod("shop", nodes[0]), lab.pod("cart", nodes[1])
        endpoints = [lab.pod(f"inventory-{node.name}", node, listen=8080) for node in nodes]
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(inventory, endpoints=endpoints)
        assert sum(shop.connect_many(inventory, 80, count=20).values()) == 20
        maps = sum(node.datapath.memory() for node in nodes)
        print(json.dumps({"pods": [pod.pid for pod in (shop, cart, *endpoints)], "maps": maps}), flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    _make_lab()
