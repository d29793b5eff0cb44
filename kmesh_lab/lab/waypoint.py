"""A waypoint: the proxy that a service's connections are sent to, when it needs more than choosing an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scapy.packet import Packet

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.display import html_table, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.lab.addresses import check_choice, check_label, waypoint_vip
from kmesh_lab.lab.pod import Pod
from kmesh_lab.lab.sidecar import Proxy, view_of
from kmesh_lab.mesh import WAYPOINT_PORT, WAYPOINT_TARGET_PORT, Service, Workload, stored_ports
from kmesh_lab.traffic.envoy_config import Config, waypoint
from kmesh_lab.traffic.pod_process import PodProcess
from kmesh_lab.traffic.tlv import read

if TYPE_CHECKING:
    from kmesh_lab.lab.lab import Lab
    from kmesh_lab.lab.node import Node

__all__ = ["EnvoyWaypoint", "Waypoint", "entrance_of"]


class Waypoint(Pod):
    """A pod that reads the TLV and forwards to an endpoint of the original service; `kmesh_lab.Lab.waypoint` makes one.

    It is a service too: the programs send a connection to its VIP, port 15008, and resolve that to this pod, port
    15019, by starting again. Like Istio's waypoints it is not enrolled itself, so what it forwards is left alone.
    """

    def __init__(self, lab: Lab, node: Node, workload: Workload, process: PodProcess, service: Service) -> None:
        super().__init__(lab, node, workload, process, WAYPOINT_TARGET_PORT)
        self.service = service
        self._served: set[str] = set()  # keys of services, also of those that do not use it any more

    @property
    def entrance(self) -> Address:
        """The address that km_service holds for a service with this waypoint."""
        return self.service.vips[0], WAYPOINT_PORT

    def learn(self, publications: Sequence[Publication]) -> None:
        """Take over the endpoints of the services in front of which this waypoint stands.

        Or stood: a connection that was made a moment before must still find its way.
        """
        self._served |= {each.service.key for each in publications if each.waypoint == self.entrance}
        self._take_over([each for each in publications if each.service.key in self._served])

    def _take_over(self, publications: Sequence[Publication]) -> None:
        table = [
            (str(vip), port, [(str(end.address), target) for end in each.endpoints if end.healthy])
            for each in publications
            for vip in each.service.vips
            for port, target in stored_ports(each.service).items()
        ]
        self.process.request("services", table=table)

    def captured(self, connection: int = -1) -> Packet:
        """The first bytes of a connection, as the waypoint read them: a Scapy packet ``KmeshTLV / KmeshTLVEnd / Raw``.

        ``connection`` counts those that came, the last by default. What is still on its way is waited for, at most
        1 s. A TLV with a mistake in it is a packet too. Raises `LabError` when none has come, and for a connection
        that ended, or was closed, before address and port were there.
        """
        if isinstance(connection, bool) or not isinstance(connection, int):
            raise ValueError(f"connection {connection!r}: expected its number, or -1 for the last")
        captures = self._ask("captured", count=max(self.heard, 1), timeout=1.0)["connections"]
        try:
            seen = captures[connection]
        except IndexError:
            raise LabError(
                f"waypoint {self.name!r} has read {len(captures)} connections; send something through it first"
            ) from None
        received = bytes.fromhex(seen["received"])
        packet = read(received)
        if packet is None:
            raise LabError(
                f"waypoint {self.name!r} read no TLV: {seen['problem']}; what came: {received.hex(' ') or 'none'}; "
                "send something through it from a pod in the mesh"
            )
        return packet

    def __repr__(self) -> str:
        entrance = address_text(self.entrance)
        return one_line(f"<Waypoint {self.name} {entrance} → {self.address} on {self.node.name}>")

    def _repr_html_(self) -> str:
        rows = [
            ("entrance", address_text(self.entrance)),
            ("address", address_text((self.address, WAYPOINT_TARGET_PORT))),
            ("node", self.node.name),
            ("process", "running" if self.alive else "ended"),
        ]
        return html_table(f"Waypoint {self.name}", rows)


class EnvoyWaypoint(Waypoint):
    """The same, played by a stock Envoy, which takes what comes for HTTP; a lab has either kind.

    It reads no TLV but a PROXY header, so the programs of such a lab push that one (bpf/include/proxy_v2.h). Among the
    endpoints of a service it chooses as its policy says, from the place of its own node.
    """

    def __init__(self, lab: Lab, node: Node, workload: Workload, process: PodProcess, service: Service) -> None:
        super().__init__(lab, node, workload, process, service)
        self.proxy = Proxy(self)
        self.proxy.envoy.start(self._config([]))

    @property
    def alive(self) -> bool:
        """False when the pod's process or its Envoy has ended."""
        return super().alive and self.proxy is not None and self.proxy.alive

    def captured(self, connection: int = -1) -> Packet:
        """Envoy keeps no copy of what it read: `LabError`."""
        raise LabError(
            f"waypoint {self.name!r} is an Envoy, which keeps no copy of what it read; .proxy.counters says how much "
            "came, and a waypoint of a Lab(waypoints='kmesh') keeps the bytes"
        )

    def _take_over(self, publications: Sequence[Publication]) -> None:
        if self.proxy:
            self.proxy.envoy.configure(self._config(publications))

    def _config(self, publications: Sequence[Publication]) -> Config:
        return waypoint(view_of(self, publications, False), WAYPOINT_TARGET_PORT)


def entrance_of(name: str, family: int, namespace: str, services: Mapping[str, Service]) -> Service:
    """The service that a new waypoint is; ``ValueError`` and `LabError` if it cannot have this name."""
    if "waypoint" not in str(name):
        raise ValueError(f"waypoint name {name!r} must contain 'waypoint': Kmesh tells a waypoint by its name")
    check_label("waypoint name", name)
    check_label("namespace", namespace)
    check_choice(f"family of waypoint {name!r}", family, (4, 6))
    vip = waypoint_vip(family, {vip for service in services.values() for vip in service.vips})
    service = Service(name, vip, {WAYPOINT_PORT: WAYPOINT_TARGET_PORT}, namespace=namespace)
    if service.name in services:
        raise LabError(f"service {service.name!r} already exists; delete it first or choose another name")
    return service
