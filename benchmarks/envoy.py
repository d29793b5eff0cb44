"""Sidecars: from `lab.pod` to an Envoy that serves, and from `lab.apply` to an Envoy that knows.

Both are what a learner waits for in a cell. The second is taken with one service and among a thousand.
"""

from __future__ import annotations

import time

import kmesh_lab as km
from benchmarks.report import Figure
from kmesh_lab.exercises.footprint import grow

ROUNDS = 15


def figures() -> list[Figure]:
    """Time until a sidecar is ready, and until a changed endpoint is in force."""
    with km.Lab() as lab:
        node = lab.node("n1", locality="cn-west/xian/a")
        near, far = (lab.pod(f"inventory-{letter}", node, listen=8080) for letter in "ab")
        inventory = km.Service("inventory.shop", "10.96.0.10", {80: 8080})
        lab.apply(inventory, [near])
        ready = [_ready(lab, node, f"shop-{number}") for number in range(ROUNDS)]
        shop = lab.pod("shop", node, sidecar=True)
        few = _changes(lab, shop, inventory, [near, far])
        grow(lab, [1000])
        many = _changes(lab, shop, inventory, [near, far])
    return [
        Figure("lab.pod(..., sidecar=True): Envoy ready, traffic redirected", ready, at_most=1.0),
        Figure("lab.apply() of another endpoint: in force in a running Envoy", few, at_most=1.0),
        Figure("the same, with 1,000 services", many, at_most=1.0),
    ]


def _ready(lab: km.Lab, node: km.Node, name: str) -> float:
    """One Envoy at a time: the others are gone."""
    start = time.perf_counter()
    pod = lab.pod(name, node, sidecar=True)
    taken = time.perf_counter() - start
    lab.delete(pod)
    return taken


def _changes(lab: km.Lab, shop: km.Pod, service: km.Service, pods: list[km.Pod]) -> list[float]:
    """Each sample ends with an answer of the endpoint that is new."""
    found = []
    for number in range(ROUNDS):
        pod = pods[number % 2]
        start = time.perf_counter()
        lab.apply(service, [pod])
        answer = shop.connect(service).get("/stock/42")
        found.append(time.perf_counter() - start)
        assert answer.startswith(pod.name), answer
    return found
