"""What a user of the mesh writes down: services, the workloads behind them, and how to choose among those.

These are values: they know neither maps nor the kernel. ``datapath`` turns them into rows of the km_* maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from kmesh_lab.display import choices, html_table, one_line
from kmesh_lab.mesh._checks import (
    MAX_PORTS,
    IPAddress,
    check_destination,
    check_ports,
    check_service_name,
    check_vips,
    is_uid_part,
)
from kmesh_lab.mesh.locality import DEFAULT_CLUSTER, Locality, Place, ProtoEnum, Scope

__all__ = [
    "MAX_PORTS",
    "WAYPOINT_PORT",
    "WAYPOINT_TARGET_PORT",
    "IPAddress",
    "LoadBalancing",
    "Policy",
    "Service",
    "Workload",
    "stored_ports",
]

WAYPOINT_PORT = 15008
"""The port of a waypoint service: what istiod sends as hbone_mtls_port and Kmesh stores as waypoint_port."""

WAYPOINT_TARGET_PORT = 15019
"""The port on which a waypoint's pod accepts Kmesh's TLV (KmeshWaypointPort in workload_processor.go)."""


class Policy(ProtoEnum):
    """How a service chooses among its endpoints.

    The numbers are those of km_service.lb_policy (bpf/kmesh/workload/include/workload_common.h).
    """

    RANDOM = 0
    STRICT = 1
    FAILOVER = 2


# What istiod makes of a traffic distribution: pilot/pkg/serviceregistry/kube/controller/ambient/services.go.
_TRAFFIC_DISTRIBUTIONS = {
    "PreferClose": ("NETWORK", "REGION", "ZONE", "SUBZONE"),
    "PreferSameZone": ("NETWORK", "REGION", "ZONE"),
    "PreferSameNode": ("NETWORK", "REGION", "ZONE", "SUBZONE", "NODE"),
}


@dataclass(frozen=True, slots=True, init=False, repr=False)
class LoadBalancing:
    """A policy, and the scopes that decide how near an endpoint is, the most important first.

    RANDOM chooses among all endpoints and leaves the routing preference unused. STRICT uses only endpoints that match
    every scope. FAILOVER uses the nearest priority that has any (bpf/kmesh/workload/include/service.h). With an empty
    preference every priority is 0. ``ValueError`` on an unknown policy or scope, and on a scope named twice.

    >>> LoadBalancing("FAILOVER", routing_preference=["REGION", "ZONE"])
    LoadBalancing('FAILOVER', ['REGION', 'ZONE'])
    """

    policy: Policy
    routing_preference: tuple[Scope, ...]

    def __init__(self, policy: Policy | str = "RANDOM", routing_preference: Sequence[Scope | str] = ()) -> None:
        # A set is no Sequence, and rightly so: the order decides.
        if isinstance(routing_preference, str) or not isinstance(routing_preference, Sequence):
            raise ValueError(f"routing_preference {routing_preference!r} is not a list of scopes such as ['REGION']")
        scopes = tuple(Scope.of(scope) for scope in routing_preference)
        for position, scope in enumerate(scopes):
            if scope in scopes[:position]:
                raise ValueError(f"scope {scope.name} is in the routing preference twice: name each scope once")
        object.__setattr__(self, "policy", Policy.of(policy))
        object.__setattr__(self, "routing_preference", scopes)

    @classmethod
    def from_traffic_distribution(cls, value: str) -> Self:
        """Return what istiod sends for ``spec.trafficDistribution`` (or its annotation) of a Kubernetes Service.

        PreferClose is as in older istiods; newer ones treat it as PreferSameZone, without SUBZONE
        (istio/istio, pilot/pkg/serviceregistry/kube/controller/ambient/services.go). ``ValueError`` on other values.
        """
        scopes = _TRAFFIC_DISTRIBUTIONS.get(value)
        if scopes is None:
            raise ValueError(f"unknown traffic distribution {value!r}: expected {choices(_TRAFFIC_DISTRIBUTIONS)}")
        return cls(Policy.FAILOVER, scopes)

    @classmethod
    def internal_traffic_policy_local(cls) -> Self:
        """Return what istiod sends for ``internalTrafficPolicy: Local``: STRICT by NODE (same file).

        Kubernetes promises to drop the connection when the node has no endpoint. Kmesh leaves its destination as it
        was, so something else may still answer it.
        """
        return cls(Policy.STRICT, (Scope.NODE,))

    def __str__(self) -> str:
        if self.policy is Policy.RANDOM or not self.routing_preference:
            return self.policy.name
        return f"{self.policy.name} by {', '.join(scope.name for scope in self.routing_preference)}"

    def __repr__(self) -> str:
        scopes = [scope.name for scope in self.routing_preference]
        return f"LoadBalancing({self.policy.name!r}{f', {scopes}' if scopes else ''})"

    def _repr_html_(self) -> str:
        scopes = ", ".join(scope.name for scope in self.routing_preference)
        return html_table("LoadBalancing", [("policy", self.policy.name), ("routing_preference", scopes)])


_DEFAULT_LOAD_BALANCING = LoadBalancing()


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Service:
    """A name with addresses, ports and a way to choose among the workloads behind it.

    ``name`` is ``service`` or ``service.namespace``; it is kept in the long form, and ``namespace`` is "default"
    unless given. ``vip`` is one address or several of one family. ``ports`` maps service ports to target ports
    (1 to 65535, host order, at most ten); a list means that both are the same. Two services are equal when all of this
    is; the hash is that of `key` alone. ``ValueError`` on whatever Kmesh would store wrongly or drop.

    >>> Service("inventory.shop", vip="10.96.0.10", ports={80: 8080}).key
    'shop/inventory.shop.svc.cluster.local'
    """

    name: str
    vips: tuple[IPAddress, ...]
    ports: Mapping[int, int]
    load_balancing: LoadBalancing

    def __init__(
        self,
        name: str,
        vip: IPAddress | str | Sequence[IPAddress | str],
        ports: Mapping[int, int] | Sequence[int],
        load_balancing: LoadBalancing = _DEFAULT_LOAD_BALANCING,
        namespace: str | None = None,
    ) -> None:
        full_name = check_service_name(name, namespace)
        if not isinstance(load_balancing, LoadBalancing):
            raise ValueError(
                f"service {full_name!r}: load_balancing {load_balancing!r} is not a LoadBalancing: "
                "write LoadBalancing('FAILOVER', ['REGION', 'ZONE'])"
            )
        object.__setattr__(self, "name", full_name)
        object.__setattr__(self, "vips", check_vips(full_name, vip))
        object.__setattr__(self, "ports", check_ports(full_name, ports))
        object.__setattr__(self, "load_balancing", load_balancing)

    @property
    def namespace(self) -> str:
        """The namespace, for example ``shop``."""
        return self.name.partition(".")[2]

    @property
    def hostname(self) -> str:
        """The DNS name, for example ``inventory.shop.svc.cluster.local``."""
        return f"{self.name}.svc.cluster.local"

    @property
    def key(self) -> str:
        """The string whose hash is the service's id: ``namespace/hostname``.

        It is the ResourceName of Kmesh's api/v2/workloadapi/workload_helper.go.
        """
        return f"{self.namespace}/{self.hostname}"

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy cannot be pickled or deep-copied; its dict can.
        return Service, (self.name, self.vips, dict(self.ports), self.load_balancing)

    def __repr__(self) -> str:
        return one_line(f"<Service {self.name} {self._addresses()} {self._port_pairs()} {self.load_balancing}>")

    def _repr_html_(self) -> str:
        rows = [
            ("hostname", self.hostname),
            ("vip", self._addresses()),
            ("ports", self._port_pairs()),
            ("load balancing", self.load_balancing),
        ]
        return html_table(f"Service {self.name}", rows)

    def _addresses(self) -> str:
        return ", ".join(map(str, self.vips))

    def _port_pairs(self) -> str:
        return ", ".join(f"{port}→{target}" for port, target in self.ports.items())


def stored_ports(service: Service) -> Mapping[int, int]:
    """Return the ports as Kmesh stores them: as written, unless the service's key contains "waypoint".

    Then every target port is `WAYPOINT_TARGET_PORT`, because that is how Kmesh tells a waypoint: by its name. A
    namespace called ``waypoints`` is enough (updateServiceMap in pkg/controller/workload/workload_processor.go).
    """
    if "waypoint" not in service.key:
        return service.ports
    return MappingProxyType(dict.fromkeys(service.ports, WAYPOINT_TARGET_PORT))


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Workload:
    """One instance behind services: a pod with an address and a place.

    Two workloads are equal when all fields are; the hash is that of `uid` alone. ``ValueError`` on an address that no
    connection can have as its destination, and on a ``/`` in a part of the uid.

    >>> Workload("inventory-a", "10.244.1.2", node="n1", locality="cn-west/xian/a", namespace="shop").uid
    'Kubernetes//Pod/shop/inventory-a'
    """

    name: str
    address: IPAddress
    node: str
    locality: Locality
    namespace: str
    cluster: str
    network: str
    healthy: bool

    def __init__(
        self,
        name: str,
        address: IPAddress | str,
        node: str,
        locality: Locality | str,
        namespace: str = "default",
        cluster: str = DEFAULT_CLUSTER,
        network: str = "",
        healthy: bool = True,
    ) -> None:
        if not all(map(is_uid_part, (name, namespace, cluster))):
            raise ValueError(
                f"workload {name!r} in namespace {namespace!r} of cluster {cluster!r}: "
                "each must have at least one character and no '/', which separates the parts of its uid"
            )
        if not isinstance(node, str) or not isinstance(network, str) or not isinstance(healthy, bool):
            raise ValueError(
                f"workload {name!r}: node {node!r}, network {network!r}, healthy {healthy!r}: "
                "expected two texts, and True or False"
            )
        put = object.__setattr__
        put(self, "name", name)
        put(self, "address", check_destination("workload", name, address))
        put(self, "node", node)
        put(self, "locality", locality if isinstance(locality, Locality) else Locality.parse(locality))
        put(self, "namespace", namespace)
        put(self, "cluster", cluster)
        put(self, "network", network)
        put(self, "healthy", healthy)

    @property
    def uid(self) -> str:
        """The string whose hash is the backend's uid: ``cluster//Pod/namespace/name``, as istiod makes it for pods."""
        return f"{self.cluster}//Pod/{self.namespace}/{self.name}"

    @property
    def place(self) -> Place:
        """What a scope can compare: locality, node, cluster and network."""
        return Place(self.locality, self.node, self.cluster, self.network)

    def __hash__(self) -> int:
        return hash(self.uid)

    def __repr__(self) -> str:
        where = str(self.locality) or "no locality"
        health = "" if self.healthy else ", unhealthy"
        return one_line(f"<Workload {self.name}.{self.namespace} {self.address} {where} on {self.node}{health}>")

    def _repr_html_(self) -> str:
        rows = [("uid", self.uid), ("address", self.address), ("healthy", self.healthy)]
        rows += [(scope.name.lower(), self.place.value_of(scope)) for scope in Scope]
        return html_table(f"Workload {self.name}", rows)
