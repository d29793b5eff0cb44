"""A lab from nothing: two nodes, four pods, one service, ready to connect; and its end.

Each sample is a new Python process that makes two labs: only the first has to compile the programs.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict

from benchmarks.fresh import in_fresh_process
from benchmarks.report import Figure

ROUNDS = 5


def figures() -> list[Figure]:
    """Making the first and the second lab of a process, and closing both."""
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for what, seconds in in_fresh_process("-m", "benchmarks.lab").items():
            samples[what].append(seconds)
    return [
        Figure("first lab of a process: 2 nodes, 4 pods, 1 service, ready", samples["first"], at_most=1.5),
        Figure("second lab of a process, the same", samples["second"], at_most=1.5),
        Figure("its first connect(), decision included", samples["connect"]),
        Figure("close()", samples["close"] + samples["close again"], at_most=0.5),
    ]


def _measure() -> dict[str, float]:
    import kmesh_lab as km

    found: dict[str, float] = {}
    inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080}, km.LoadBalancing("FAILOVER", ["REGION", "ZONE"]))
    for made, closed in (("first", "close"), ("second", "close again")):
        start = time.perf_counter()
        lab = km.Lab()
        nodes = [lab.node(f"n{number}", locality=f"cn-west/xian/{number}") for number in (1, 2)]
        shop = lab.pod("shop", node=nodes[0])
        lab.pod("cart", node=nodes[1])
        endpoints = [lab.pod(f"inventory-{node.name}", node=node, listen=8080) for node in nodes]
        lab.apply(inventory, endpoints=endpoints)
        ready = time.perf_counter()
        connection = shop.connect(inventory, 80)
        _ = connection.decision
        connected = time.perf_counter()
        connection.close()
        before = time.perf_counter()
        lab.close()
        found |= {made: ready - start, "connect": connected - ready, closed: time.perf_counter() - before}
    return found


if __name__ == "__main__":
    print(json.dumps(_measure()))
