"""What a mesh takes of memory, and where it keeps what it knows: the maps of each node, and every Envoy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kmesh_lab.display import counted, html_table, one_line, text_table
from kmesh_lab.exercises.growth_chart import draw_growth
from kmesh_lab.lab import Lab
from kmesh_lab.mesh import Service, Workload
from kmesh_lab.traffic.envoy import Memory

__all__ = ["Footprint", "Growth", "Projection", "entries", "footprint", "grow", "many"]

_PER_WORKLOAD = 10  # services that one workload can be behind: Kmesh's km_backend has no more slots
_MAPS = ("frontend", "service", "endpoint", "backend")
_HEADER = ("services", "maps of one node", "one Envoy, its own memory", "")


@dataclass(frozen=True)
class Footprint:
    """Bytes of memory at one moment: ``maps`` by node, ``envoys`` by pod, and how many ``services`` there were.

    What the processes of the control plane take (this notebook; istiod, or the Kmesh daemon) is in neither.
    """

    services: int
    maps: dict[str, int]
    envoys: dict[str, Memory]

    @property
    def in_maps(self) -> int:
        """The maps of all nodes together."""
        return sum(self.maps.values())

    @property
    def in_envoys(self) -> int:
        """All Envoys together, without what they share."""
        return sum(memory.private for memory in self.envoys.values())

    def __repr__(self) -> str:
        parts = (counted(self.services, "service"), counted(len(self.maps), "node"), counted(len(self.envoys), "Envoy"))
        return one_line(f"<Footprint of {', '.join(parts)}: maps {_mb(self.in_maps)}, Envoys {_mb(self.in_envoys)}>")

    def _repr_html_(self) -> str:
        rows = [(f"maps of {node}", _mb(size), "", "") for node, size in self.maps.items()]
        rows += [
            (f"Envoy of {pod}", _mb(each.private), _mb(each.pss), _mb(each.rss)) for pod, each in self.envoys.items()
        ]
        header = ("", "its own (private)", "with its part of what is shared (PSS)", "with all that is shared (RSS)")
        return html_table(repr(self)[1:-1], rows, header=header)


class Projection(NamedTuple):
    """Bytes that a node would take: the maps, and the Envoys of all its pods."""

    maps: float
    envoys: float

    def __repr__(self) -> str:
        return f"<Projection: maps {_mb(self.maps)}, Envoys {_mb(self.envoys)}>"


class Growth:
    """Footprints of one lab with more and more services; `grow` makes one."""

    def __init__(self, footprints: Sequence[Footprint]) -> None:
        self.footprints = tuple(footprints)

    @property
    def map_bytes_per_service(self) -> float:
        """How much the maps of one node grew for each service."""
        return self._slope(_per_node)

    @property
    def envoy_bytes_per_service(self) -> float:
        """How much one Envoy grew for each service."""
        return self._slope(_per_envoy)

    def project(self, pods: int, services: int) -> Projection:
        """Go on along the same lines, for a node with so many pods."""
        last = self.footprints[-1]
        more = services - last.services
        maps = _per_node(last) + more * self.map_bytes_per_service
        return Projection(maps, pods * (_per_envoy(last) + more * self.envoy_bytes_per_service))

    def rows(self) -> list[tuple[str, str, str, str]]:
        """One row of text for each footprint, the last cell as a bar."""
        most = max(map(_per_envoy, self.footprints))
        return [
            (f"{each.services:,}", _mb(_per_node(each)), _mb(_per_envoy(each)), _bar(_per_envoy(each) / most))
            for each in self.footprints
        ]

    def __repr__(self) -> str:
        per = f"{self.map_bytes_per_service:,.0f} bytes in the maps, {self.envoy_bytes_per_service:,.0f} in each Envoy"
        return one_line(f"<Growth {self.footprints[0].services} → {self.footprints[-1].services}: {per} per service>")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("\n".join([repr(self), text_table([_HEADER, *self.rows()])]))

    def _repr_html_(self) -> str:
        sizes = [[size(each) for each in self.footprints] for size in (_per_node, _per_envoy)]
        rows = [row[:-1] for row in self.rows()]  # the chart stands for the bars
        chart = draw_growth([each.services for each in self.footprints], *sizes)
        return chart + html_table(repr(self)[1:-1], rows, header=_HEADER[:-1])

    def _slope(self, size: Callable[[Footprint], float]) -> float:
        first, last = self.footprints[0], self.footprints[-1]
        return (size(last) - size(first)) / max(1, last.services - first.services)


def footprint(lab: Lab) -> Footprint:
    """Look at a lab now."""
    for node in lab.nodes.values():
        node.publisher.settle()  # what was replaced is gone
    envoys = {name: pod.proxy.memory for name, pod in lab.pods.items() if pod.proxy and pod.proxy.alive}
    return Footprint(len(lab.services), {name: node.datapath.memory() for name, node in lab.nodes.items()}, envoys)


def entries(lab: Lab) -> dict[str, int]:
    """How many rows the maps of each node have, and how many endpoints each Envoy knows, as it says itself."""
    found = {
        f"km_{name} of {node.name}": len(getattr(node.maps, name)) for node in lab.nodes.values() for name in _MAPS
    }
    proxies = ((name, pod.proxy) for name, pod in lab.pods.items() if pod.proxy and pod.proxy.alive)
    return found | {f"Envoy of {name}": len(proxy.endpoints()) for name, proxy in proxies}


def many(count: int, start: int = 0) -> dict[Service, list[Workload]]:
    """So many services for `Lab.apply`, each with one endpoint that nobody plays; no two have the same address."""
    found = {}
    for number in range(start, start + count):
        host = number // _PER_WORKLOAD
        workload = Workload(f"endpoint-{host}", f"10.245.{host // 250}.{host % 250 + 1}", "elsewhere", "cn-west/xian/z")
        service = Service(f"service-{number}.many", f"10.97.{number // 250}.{number % 250 + 1}", {80: 8080})
        found[service] = [workload]
    return found


def grow(lab: Lab, counts: Sequence[int]) -> Growth:
    """Publish more services until there are so many, for each of the counts, and look at the lab each time."""
    footprints = []
    for count in counts:
        known = len(lab.services)
        if count > known:
            lab.apply(many(count - known, start=known))
        footprints.append(footprint(lab))
    return Growth(footprints)


def _per_node(each: Footprint) -> float:
    return each.in_maps / max(1, len(each.maps))


def _per_envoy(each: Footprint) -> float:
    return each.in_envoys / max(1, len(each.envoys))


def _mb(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


def _bar(share: float) -> str:
    return "█" * max(1, round(30 * share))
