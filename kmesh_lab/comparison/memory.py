"""What a path costs in memory: maps for each node, a sidecar for each pod, and what one more service adds to either."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from kmesh_lab.comparison.load import SERVER_PORT
from kmesh_lab.comparison.paths import Lane
from kmesh_lab.mesh import Service, Workload
from kmesh_lab.traffic.envoy import memory_of

__all__ = ["Memory", "weigh"]

_SERVICES = 100  # that are added to see what one of them needs
_FIRST_VIP, _FIRST_POD = IPv4Address("10.97.0.1"), IPv4Address("10.100.0.1")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: all maps of a ``node``, as the kernel accounts them, and what a sidecar (``pod``) or a waypoint alone has.

    ``service_node``, ``service_pod`` and ``service_waypoint`` are what one more service adds to each.
    """

    node: float = 0
    pod: float = 0
    waypoint: float = 0
    service_node: float = 0
    service_pod: float = 0
    service_waypoint: float = 0


def weigh(lane: Lane) -> Memory:
    """The memory of a path with its one service, and what 100 more, of one endpoint each, add."""
    before = _weights(lane)
    lane.lab.apply(dict(_service(lane, number) for number in range(_SERVICES)))
    after = _weights(lane)
    more = {name: max(0.0, after[name] - before[name]) / _SERVICES for name in before}
    return Memory(**before, **{f"service_{name}": value for name, value in more.items()})


def _service(lane: Lane, number: int) -> tuple[Service, list[Workload]]:
    """A service with one endpoint, which nobody plays: Kmesh has room for ten services in front of one pod."""
    node = lane.route.server.node
    endpoint = Workload(f"pod-{number}", _FIRST_POD + number, node.name, node.place.locality)
    return Service(f"service-{number}.shop", _FIRST_VIP + number, {80: SERVER_PORT}), [endpoint]


def _weights(lane: Lane) -> dict[str, float]:
    nodes = lane.nodes if lane.route.programs else []
    for node in nodes:
        node.publisher.settle()
    return {
        "node": _mean([node.datapath.memory() for node in nodes]),
        "pod": _mean([memory_of(pid).private for pid in lane.route.sidecars.values()]),
        "waypoint": _mean([memory_of(pid).private for pid in lane.route.waypoints.values()]),
    }


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0
