"""A big mesh to publish: services with workloads in several zones, as values of the public API."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from kmesh_lab import LoadBalancing, Locality, Service, Workload

__all__ = ["HERE", "cluster"]

HERE = "cn-west/z0/a"  # where the node is that gets all this

_ZONES = [Locality.parse(f"cn-west/z{number}/a") for number in range(4)]
_FIRST_VIP, _FIRST_POD = IPv4Address("10.96.0.1"), IPv4Address("10.100.0.1")


def cluster(services: int, endpoints: int) -> dict[Service, Sequence[Workload]]:
    """So many services with so many endpoints each; every workload has an address and belongs to one service."""
    nearest = LoadBalancing("FAILOVER", ["REGION", "ZONE"])
    wanted: dict[Service, Sequence[Workload]] = {}
    for number in range(services):
        service = Service(f"service-{number}.shop", _FIRST_VIP + number, {80: 8080}, nearest)
        wanted[service] = [_workload(number, endpoint, number * endpoints + endpoint) for endpoint in range(endpoints)]
    return wanted


def _workload(service: int, endpoint: int, number: int) -> Workload:
    name, node = f"pod-{service}-{endpoint}", f"node-{number % 50}"
    return Workload(name, _FIRST_POD + number, node, _ZONES[number % len(_ZONES)], "shop")
