"""Publish a mesh of Kmesh's own limits to a node: 5,000 services, 100,000 endpoints, 310,000 rows of maps.

Several ways in the same round, each to a node with empty maps: one `lab.apply` of everything; one `lab.apply` per
service, which writes row by row, because few rows make no batch; and only the writing, of rows that are ready, through
the typed views (``node.maps.service[key] = row``), with one `Map.update` per row and with one `Map.update_many` per
map. In the first round one service then changes, again and again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.cluster import HERE, cluster
from benchmarks.report import Figure, paired
from kmesh_lab import Lab, Node, Service, Workload
from kmesh_lab.datapath.plan import ORDER
from kmesh_lab.datapath.rows import unpack_ip
from kmesh_lab.datapath.views import MapView
from kmesh_lab.kernel.maps import Row

ROUNDS, CHANGES = 3, 41
SERVICES, ENDPOINTS = 5_000, 20
SOME, SOME_ROUNDS = 1_000, 2  # services; in every round
_TURN = 5_000  # rows

Samples = defaultdict[str, list[float]]
Wanted = dict[Service, Sequence[Workload]]


def figures() -> list[Figure]:
    """Publishing everything, against other ways; changing one service; memory."""
    wanted = cluster(SERVICES, ENDPOINTS)
    samples: Samples = defaultdict(list)
    rows: dict[str, list[Row]] = {}
    for number in range(ROUNDS):
        with _node() as (lab, node):
            samples["empty"].append(node.datapath.memory())
            with _timed(samples["publish"]):
                lab.apply(wanted)
            samples["full"].append(node.datapath.memory())
            rows = {name: node.datapath.maps[name].rows() for name in ORDER}
            if number == 0:
                _change_one(lab, node, wanted, samples)
        _write(rows, samples)
        for _ in range(SOME_ROUNDS):
            _publish_some(dict(list(wanted.items())[:SOME]), samples)
    written = f"{sum(map(len, rows.values())):,} rows"
    return [
        Figure(
            f"publish {SERVICES:,} services, {SERVICES * ENDPOINTS:,} endpoints: one lab.apply({{…}})",
            samples["publish"],
            at_most=2.5,
        ),
        Figure(
            f"{SOME:,} of these services, each by a lab.apply: row by row",
            samples["service by service"],
            ratios=paired(samples["service by service"], samples["some"]),
            ratio_of="one lab.apply({…})",
        ),
        Figure(f"only writing the {written}: batches", samples["batch"]),
        Figure(
            "only writing: one Map.update per row",
            samples["single"],
            ratios=paired(samples["single"], samples["batch"]),
            ratio_of="batches",
            ratio_at_least=3,
        ),
        Figure(
            "only writing: node.maps.x[key] = row for every row",
            samples["views"],
            ratios=paired(samples["views"], samples["batch"]),
            ratio_of="batches",
            ratio_at_least=3,
        ),
        Figure("change one service of 5,000: lab.apply() returns", samples["change"], at_most=0.005),
        Figure("… and what it replaced is deleted, a grace period later", samples["settled"]),
        Figure("memory of all maps of a node, empty", samples["empty"][:1], "B"),
        Figure(f"memory of all maps of a node, {written}", samples["full"][:1], "B"),
    ]


def _change_one(lab: Lab, node: Node, wanted: Wanted, samples: Samples) -> None:
    """One endpoint leaves, and comes back; every change begins with the maps at rest."""
    service, endpoints = list(wanted.items())[SERVICES // 2]
    for number in range(CHANGES):
        before = time.perf_counter()
        lab.apply(service, endpoints[: ENDPOINTS - 1 + number % 2])
        samples["change"].append(time.perf_counter() - before)
        node.publisher.settle()
        samples["settled"].append(time.perf_counter() - before)


def _publish_some(wanted: Wanted, samples: Samples) -> None:
    """The same services at once and one after the other."""
    with _node() as (lab, _), _timed(samples["some"]):
        lab.apply(wanted)
    with _node() as (lab, _), _timed(samples["service by service"]):
        for service, endpoints in wanted.items():
            lab.apply(service, endpoints)


def _write(rows: dict[str, list[Row]], samples: Samples) -> None:
    """Fill three nodes, each in its way, taking turns every few thousand rows."""
    spent = {"batch": 0.0, "single": 0.0, "views": 0.0}
    with _node() as (_, many), _node() as (_, one), _node() as (_, typed):
        unpack = typed.datapath.rows
        ways: dict[str, tuple[MapView[Any, Any], Callable[[bytes], Any], Callable[[bytes], Any]]] = {
            "km_backend": (typed.maps.backend, unpack.unpack_id, unpack.unpack_backend),
            "km_endpoint": (typed.maps.endpoint, unpack.unpack_endpoint_key, unpack.unpack_id),
            "km_service": (typed.maps.service, unpack.unpack_id, unpack.unpack_service),
            "km_frontend": (typed.maps.frontend, unpack_ip, unpack.unpack_id),
        }
        for name in ORDER:
            target, single = many.datapath.maps[name], one.datapath.maps[name]
            view, unpack_key, unpack_value = ways[name]
            for start in range(0, len(rows[name]), _TURN):
                part = rows[name][start : start + _TURN]
                ready = [(unpack_key(key), unpack_value(value)) for key, value in part]
                times = [time.perf_counter()]
                target.update_many(part)
                times.append(time.perf_counter())
                for key, value in part:
                    single.update(key, value)
                times.append(time.perf_counter())
                for typed_key, row in ready:
                    view[typed_key] = row
                times.append(time.perf_counter())
                for way, before, after in zip(spent, times, times[1:], strict=False):
                    spent[way] += after - before
    for way, seconds in spent.items():
        samples[way].append(seconds)


@contextmanager
def _node() -> Iterator[tuple[Lab, Node]]:
    """A lab with one node, whose maps are empty."""
    with Lab(trace=False) as lab:
        yield lab, lab.node("n1", locality=HERE)


@contextmanager
def _timed(samples: list[float]) -> Iterator[None]:
    before = time.perf_counter()
    yield
    samples.append(time.perf_counter() - before)
