"""A gateway: the Envoy at the edge, to which those come who are not in the mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import html_table, one_line
from kmesh_lab.lab.addresses import check_port
from kmesh_lab.lab.pod import Pod
from kmesh_lab.lab.sidecar import Proxy, view_of
from kmesh_lab.mesh import Service, Workload
from kmesh_lab.traffic.envoy_config import ADMIN_PORT, Config, gateway
from kmesh_lab.traffic.pod_process import PodProcess

if TYPE_CHECKING:
    from kmesh_lab.lab.lab import Lab
    from kmesh_lab.lab.node import Node

__all__ = ["Gateway", "check_gateway"]


class Gateway(Pod):
    """A pod that takes HTTP for services by the path; `kmesh_lab.Lab.gateway` makes one.

    It chooses an endpoint itself, as Istio's ingress gateway does, so it is not enrolled: its requests go to the
    endpoint's sidecar if that has one, and else to the endpoint. ``proxy`` is its Envoy.
    """

    def __init__(
        self,
        lab: Lab,
        node: Node,
        workload: Workload,
        process: PodProcess,
        listen: int,
        routes: Mapping[str, Service],
        publications: Sequence[Publication],
        *,
        mtls: bool,
    ) -> None:
        super().__init__(lab, node, workload, process, listen)
        self.routes = dict(routes)
        self._port, self._mtls = listen, mtls
        self.proxy = Proxy(self, mtls=mtls)
        self.proxy.envoy.start(self._config(publications))

    @property
    def alive(self) -> bool:
        """False when the pod's process or its Envoy has ended."""
        return super().alive and self.proxy is not None and self.proxy.alive

    def learn(self, publications: Sequence[Publication]) -> None:
        """Take over the endpoints of the services that it has routes to."""
        if self.proxy:
            self.proxy.envoy.configure(self._config(publications))

    def _config(self, publications: Sequence[Publication]) -> Config:
        keys = {service.key for service in self.routes.values()}
        routed = [each for each in publications if each.service.key in keys]
        return gateway(view_of(self, routed, self._mtls), self._port, self.routes)

    def __repr__(self) -> str:
        routes = ", ".join(f"{prefix} → {service.name}" for prefix, service in self.routes.items())
        return one_line(f"<Gateway {self.name} {address_text((self.address, self._port))}, {routes}>")

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [
            ("address", address_text((self.address, self._port))),
            ("node", self.node.name),
            *((f"path {prefix}", service) for prefix, service in self.routes.items()),
            ("process", "running" if self.alive else "ended"),
        ]
        return html_table(f"Gateway {self.name}", rows)


def check_gateway(name: str, routes: Service | Mapping[str, Service], listen: int, family: int) -> dict[str, Service]:
    """Return the routes by path prefix; ``ValueError`` on what cannot be meant."""
    if check_port(listen) == ADMIN_PORT:
        raise ValueError(f"gateway {name!r} cannot listen on port {listen}: it is the admin port of its Envoy")
    wanted = {"/": routes} if isinstance(routes, Service) else routes
    if not isinstance(wanted, Mapping) or not wanted:
        raise ValueError(f"routes {routes!r} of gateway {name!r}: expected a service, or {{'/stock': service}}")
    for prefix, service in wanted.items():
        if not isinstance(prefix, str) or not prefix.startswith("/"):
            raise ValueError(f"route {prefix!r} of gateway {name!r}: expected the start of a path, as '/stock'")
        if not isinstance(service, Service):
            raise ValueError(f"route {prefix!r} of gateway {name!r} leads to {service!r}: expected a Service")
        if service.vips[0].version != family:
            raise ValueError(
                f"gateway {name!r} has an IPv{family} address, service {service.name!r} an "
                f"IPv{service.vips[0].version} VIP: a gateway serves one family"
            )
    return dict(wanted)
