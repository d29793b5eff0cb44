"""The lab on which the claims are proven: the shop of all notebooks, with a gateway, a phone and a waypoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kmesh_lab.comparison import Comparison, compare
from kmesh_lab.errors import LabError
from kmesh_lab.lab import Lab, Pod
from kmesh_lab.lab.connection import Connection
from kmesh_lab.lab.gateway import Gateway
from kmesh_lab.lab.sidecar import Sidecar
from kmesh_lab.mesh import LoadBalancing, Service

if TYPE_CHECKING:
    from kmesh_lab.interview.claim import Proof

__all__ = ["SCOPES", "SidecarLane", "Stage"]

SCOPES = ["REGION", "ZONE", "SUBZONE"]


@dataclass(frozen=True)
class SidecarLane:
    """The same two applications with an Envoy each: ``client`` asks ``service``, which is ``server``."""

    client: Pod
    server: Pod
    service: Service

    @property
    def envoys(self) -> tuple[Sidecar, Sidecar]:
        """The Envoy of the client and that of the server."""
        found = self.client.sidecar, self.server.sidecar
        if found[0] is None or found[1] is None:
            raise LabError("a pod of the sidecar lane has lost its Envoy")
        return found[0], found[1]


class Stage:
    """Two nodes; on n1 the shop, inventory-a and a waypoint; on n2 inventory-b and a phone, which is not enrolled.

    What starts an Envoy, or takes long, is made when a proof asks for it the first time. ``lab`` is an open lab without
    nodes; whoever made it closes it. ``proofs`` are those that ran here.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.proofs: dict[str, Proof] = {}
        self.n1 = lab.node("n1", locality="cn-west/xian/a")
        self.n2 = lab.node("n2", locality="cn-west/xian/b")
        self.shop = lab.pod("shop", node=self.n1)
        self.near = lab.pod("inventory-a", node=self.n1, listen=8080)
        self.far = lab.pod("inventory-b", node=self.n2, listen=8080)
        self.phone = lab.pod("phone", node=self.n2, enrolled=False)
        self.waypoint = lab.waypoint("waypoint", node=self.n1)
        self.inventory = self.service("FAILOVER")
        self.reset()

    def service(self, policy: str, ports: dict[int, int] | None = None) -> Service:
        """inventory.shop with a policy."""
        return Service("inventory.shop", "10.96.0.10", ports or {80: 8080}, LoadBalancing(policy, SCOPES))

    def reset(self) -> None:
        """What every proof starts from: inventory by FAILOVER, both pods, no waypoint, no other service."""
        kept = ("inventory.shop", "orders.shop", self.waypoint.service.name)
        for name in [name for name in self.lab.services if name not in kept]:
            self.lab.delete(name)
        self.lab.apply(self.inventory, endpoints=[self.near, self.far])
        for pod in (self.shop, self.near, self.far):
            if not pod.enrolled or pod.address not in pod.node.maps.manage:
                pod.enroll()

    @cached_property
    def gateway(self) -> Gateway:
        """An ingress gateway in front of inventory: an Envoy, not enrolled, as Kmesh leaves gateways alone."""
        return self.lab.gateway("gateway", self.n1, self.inventory, listen=80)

    def read_by_gateway(self) -> int:
        """How many requests the gateway's Envoy has read so far."""
        if self.gateway.proxy is None:
            raise LabError("the gateway has lost its Envoy")
        return self.gateway.proxy.counters.inbound_requests

    @cached_property
    def comparison(self) -> Comparison:
        """A request by Kmesh and through sidecars that read HTTP, both beside a direct one, measured here and now."""
        return compare(["kernel", "sidecars http"])

    @cached_property
    def sidecars(self) -> SidecarLane:
        """The sidecar lane; two Envoys start when it is asked for the first time."""
        client = self.lab.pod("shop-sidecar", node=self.n1, sidecar=True)
        server = self.lab.pod("orders", node=self.n2, listen=8080, sidecar=True)
        service = Service("orders.shop", "10.96.0.20", {80: 8080}, LoadBalancing("FAILOVER", SCOPES))
        self.lab.apply(service, endpoints=[server])
        return SidecarLane(client, server, service)

    def behind_waypoint(self) -> None:
        """Put the waypoint in front of inventory."""
        self.lab.apply(self.inventory, endpoints=[self.near, self.far], waypoint=self.waypoint)

    def served(self, connection: Connection, path: str = "/stock/42") -> str:
        """Who answers on a connection."""
        return connection.get(path).partition(":")[0]

    def open(self, pod: Pod | None = None) -> Connection:
        """A connection of the shop to inventory."""
        return (pod or self.shop).connect(self.inventory, 80)
