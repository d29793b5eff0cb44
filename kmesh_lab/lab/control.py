"""The control plane of a lab: the same services and pods on every node, all or nothing.

It plays istiod and the Kmesh daemons: what `Lab.apply` is told becomes a publication on each node and, for services
behind a waypoint, the waypoint's own table of endpoints.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.publisher import Applied, Publisher
from kmesh_lab.datapath.rows import Address
from kmesh_lab.errors import LabError, PodGone
from kmesh_lab.lab.node import Node
from kmesh_lab.lab.pod import Pod
from kmesh_lab.lab.waypoint import Waypoint
from kmesh_lab.mesh import IPAddress, Service, Workload

__all__ = ["ControlPlane", "Endpoint"]

Endpoint = Pod | Workload
Wanted = Iterable[tuple[Service, Sequence[Endpoint]]]


class ControlPlane:
    """Publishes to ``nodes``; ``pods`` are those that may be endpoints. Both are the lab's own dicts."""

    def __init__(self, nodes: Mapping[str, Node], pods: Mapping[str, Pod]) -> None:
        self._nodes, self._pods = nodes, pods

    def publications(self) -> list[Publication]:
        """Every service that is published; all nodes have the same."""
        first = next(iter(self._nodes.values()), None)
        return first.publisher.publications() if first else []

    def apply(self, wanted: Wanted, waypoint: Waypoint | None) -> None:
        """Publish services on every node."""
        if not self._nodes:
            raise LabError("this lab has no node, so no maps to publish to; make one first: lab.node('n1')")
        publications = self._publications(wanted, waypoint)
        try:
            # Proxies first: the first connection that the maps send there must not come before its endpoints.
            self.tell_proxies(publications)
            self._on_all_nodes(lambda publisher: publisher.apply(publications))
        except BaseException:
            self.tell_proxies()
            raise

    def delete(self, service: Service) -> None:
        """Withdraw a service; one that is not published is left alone, but proxies may have missed that it went."""
        self._check_own(service)
        self._on_all_nodes(lambda publisher: publisher.delete(service))
        self.tell_proxies()

    def add_node(self, node: Node) -> None:
        """Tell a new node what the others know."""
        for pod in self._pods.values():
            node.publisher.put_workload(pod.workload).commit()
        node.publisher.apply(self.publications()).commit()

    def add_pod(self, pod: Pod) -> None:
        """Make a pod known by its own address, and a waypoint as the service that it is, too."""
        self._on_all_nodes(lambda publisher: publisher.put_workload(pod.workload))
        if isinstance(pod, Waypoint):
            entrance = Publication(pod.service, (pod.workload,))
            try:
                self._on_all_nodes(lambda publisher: publisher.apply([entrance]))
            except BaseException:
                self._on_all_nodes(lambda publisher: publisher.remove_workload(pod.workload))
                raise

    def remove_pod(self, pod: Pod) -> None:
        """Take a pod out of its services, so that no new connection is sent to it, and then out of the maps.

        What fails or is interrupted can be done again.
        """
        without = [
            replace(each, endpoints=endpoints, waypoint=waypoint)
            for each in self.publications()
            for endpoints in [tuple(end for end in each.endpoints if end.uid != pod.workload.uid)]
            for waypoint in [None if isinstance(pod, Waypoint) and each.waypoint == pod.entrance else each.waypoint]
            if (endpoints, waypoint) != (each.endpoints, each.waypoint)
        ]
        self._on_all_nodes(lambda publisher: publisher.apply(without))
        if isinstance(pod, Waypoint):
            service = pod.service
            self._on_all_nodes(lambda publisher: publisher.delete(service))
        self._on_all_nodes(lambda publisher: publisher.remove_workload(pod.workload))
        pod.leave()

    def tell_proxies(self, coming: Sequence[Publication] = ()) -> None:
        """Give proxies the endpoints behind all services, as istiod gives them to Envoy; all at the same time.

        ``coming`` is what will be published next. Raises what the first of them raised, when all have answered.
        """
        proxies = [pod for pod in list(self._pods.values()) if pod.proxy or isinstance(pod, Waypoint)]
        if not proxies:
            return  # without looking at every service: a change costs the same however many there are
        publications = list({each.service.key: each for each in [*self.publications(), *coming]}.values())

        def tell(pod: Pod) -> None:
            with suppress(PodGone):  # it was killed: nobody to tell, and no reason that the change failed
                pod.learn(publications)

        with ThreadPoolExecutor(len(proxies)) as pool:
            deque(pool.map(tell, proxies), maxlen=0)

    def _publications(self, wanted: Wanted, waypoint: Waypoint | None) -> list[Publication]:
        """What is wanted, checked."""
        entrance = self._entrance(waypoint) if waypoint is not None else None
        pods = {pod.address: pod.workload for pod in self._pods.values()}
        publications: dict[str, Publication] = {}
        for service, endpoints in wanted:
            workloads = tuple(self._workloads(service, endpoints, pods))
            self._check_own(service)
            if service.key in publications:
                raise LabError(f"service {service.name!r} is there twice; say once what it shall be")
            if entrance and entrance[0].version != service.vips[0].version:
                families = f"has an IPv{service.vips[0].version} VIP, its waypoint {entrance[0]}"
                raise ValueError(f"service {service.name!r} {families}: give it a waypoint of its own family")
            publications[service.key] = Publication(service, workloads, entrance)
        return list(publications.values())

    def _entrance(self, waypoint: Waypoint) -> Address:
        if not isinstance(waypoint, Waypoint):
            raise ValueError(f"waypoint {waypoint!r}: expected what lab.waypoint() returned")
        if self._pods.get(waypoint.name) is not waypoint:
            raise LabError(f"waypoint {waypoint.name!r} is not a pod of this lab (any more)")
        if not waypoint.alive:
            raise PodGone(f"the process of waypoint {waypoint.name!r} has ended; delete it and make it again")
        return waypoint.entrance

    def _check_own(self, service: Service) -> None:
        """Refuse the services that waypoints are: they come and go with their pods."""
        for pod in self._pods.values():
            if isinstance(pod, Waypoint) and pod.service.key == service.key:
                raise LabError(
                    f"service {service.name!r} is that of waypoint {pod.name!r}; delete the waypoint instead"
                )

    def _workloads(
        self, service: Service, endpoints: Sequence[Endpoint], pods: Mapping[IPAddress, Workload]
    ) -> list[Workload]:
        if not isinstance(service, Service):
            raise ValueError(f"{service!r} is not a Service; write Service('name', vip=…, ports=…)")
        if isinstance(endpoints, str) or not isinstance(endpoints, Sequence):
            raise ValueError(f"endpoints {endpoints!r} of {service.name!r}: expected a list of pods or Workloads")
        version = service.vips[0].version
        addresses = {pod.uid: pod.address for pod in pods.values()}
        workloads: dict[str, Workload] = {}
        for endpoint in endpoints:
            if isinstance(endpoint, Pod) and self._pods.get(endpoint.name) is not endpoint:
                raise LabError(f"endpoint {endpoint.name!r} of {service.name!r} is not a pod of this lab (any more)")
            workload = endpoint.workload if isinstance(endpoint, Pod) else endpoint
            if not isinstance(workload, Workload):
                raise ValueError(f"endpoint {endpoint!r} of {service.name!r}: expected a pod or a Workload")
            if workload.address.version != version:
                raise ValueError(
                    f"endpoint {workload.name!r} has an IPv{workload.address.version} address, service "
                    f"{service.name!r} an IPv{version} VIP: make a second service, with a VIP of the endpoint's family"
                )
            uid = workload.uid
            if uid in addresses and addresses[uid] != workload.address:
                raise LabError(f"endpoint {workload.name!r} of {service.name!r} has the name of a pod; choose another")
            owner = pods.get(workload.address) if pods else None
            if owner and owner.uid != uid:
                raise LabError(
                    f"endpoint {workload.name!r} of {service.name!r}: {workload.address} is the address of "
                    f"pod {owner.name!r}; choose another"
                )
            if uid in workloads:
                raise LabError(f"endpoint {workload.name!r} of {service.name!r} is named twice; name it once")
            workloads[uid] = workload
        return list(workloads.values())

    def _on_all_nodes(self, change: Callable[[Publisher], Applied]) -> None:
        applied: list[Applied] = []
        try:
            for node in self._nodes.values():
                applied.append(change(node.publisher))
        except BaseException:
            for each in reversed(applied):
                each.undo()
            raise
        for each in applied:
            each.commit()
