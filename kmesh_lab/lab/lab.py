"""The lab: nodes, pods and services, from their making to their end.

Over 300 lines because it is one public class, most of it docstrings: each method hands over to the module that does it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kmesh_lab.datapath.events import Events
from kmesh_lab.datapath.rows import Address
from kmesh_lab.display import counted, html_table
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.program import BPF_DIR, Image
from kmesh_lab.lab.addresses import check_choice, check_flag, check_port, next_node
from kmesh_lab.lab.connection import Connection
from kmesh_lab.lab.control import ControlPlane, Endpoint
from kmesh_lab.lab.gateway import Gateway, check_gateway
from kmesh_lab.lab.ground import Ground, Holder, c_file
from kmesh_lab.lab.interrupts import uninterrupted
from kmesh_lab.lab.names import called_by, check_new, find, find_address, find_node, new_workload
from kmesh_lab.lab.node import Node
from kmesh_lab.lab.observation import Observatory, Receipt
from kmesh_lab.lab.picture import Picture, Way, draw
from kmesh_lab.lab.pod import Pod
from kmesh_lab.lab.sidecar import Sidecar, check_sidecar
from kmesh_lab.lab.waypoint import EnvoyWaypoint, Waypoint, entrance_of
from kmesh_lab.mesh import DEFAULT_CLUSTER, IPAddress, Locality, Place, Service
from kmesh_lab.traffic.envoy_config import Mode
from kmesh_lab.traffic.pod_process import Script

if TYPE_CHECKING:
    from kmesh_lab.traffic.certificates import Authority

__all__ = ["Lab"]


class Lab:
    """Nodes with real programs, pods with real sockets, on this machine and gone with this process.

    Addresses are part of the plan: pod *j* of node *i* is ``10.244.i.j`` (or ``fd00:10:244:i::j``), waypoints take
    VIPs from ``10.96.255.1`` on, services say theirs. ``trace=False`` loads the programs without the decision trace;
    ``source`` is another C file than ``bpf/kmesh.c``, a folder with one, or what one was compiled to. ``waypoints`` are
    "kmesh", which read Kmesh's TLV, or "envoy": stock Envoys, to which the programs send a PROXY header instead.

    Raises `NotPrivileged`, `CgroupUnavailable` and `KernelNotSupported` of `kmesh_lab.errors`, and when the first
    node is made its `CompileError` or `VerifierError`.
    """

    def __init__(self, *, trace: bool = True, source: Path | str | Image = BPF_DIR, waypoints: str = "kmesh") -> None:
        check_choice("waypoints", waypoints, ("kmesh", "envoy"))
        self._trace, self._source = trace, source if isinstance(source, Image) else c_file(source)
        self._waypoints = EnvoyWaypoint if waypoints == "envoy" else Waypoint
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, Pod] = {}
        self._control = ControlPlane(self.nodes, self.pods)
        held = weakref.ref(self)
        self.observatory = Observatory(lambda: lab.nodes if (lab := held()) else {})
        self._lock = threading.RLock()
        with uninterrupted():
            self._ground = Ground()
            self._finalizer = weakref.finalize(self, self._ground.close)  # runs at close(), when collected, at the end

    # ---- making things

    def node(
        self, name: str, locality: str | Locality | None = None, *, cluster: str = DEFAULT_CLUSTER, network: str = ""
    ) -> Node:
        """A node at ``locality`` ("region/zone/subzone"), with programs and maps of its own."""
        with self._changing():
            check_new("node", name, self.nodes, self.pods)
            if locality is not None and not isinstance(locality, Locality):
                locality = Locality.parse(locality)
            place = Place(locality or Locality(), name, cluster, network)
            number = next_node(name, [node.number for node in self.nodes.values()])
            known = place if locality else None
            proxy_v2 = self._waypoints is EnvoyWaypoint
            with self._ground.datapath(name, known, self._source, trace=self._trace, proxy_v2=proxy_v2) as datapath:
                node = Node(self, name, number, place, datapath)
                self._control.add_node(node)
            self.nodes[name] = node
            return node

    def pod(
        self,
        name: str,
        node: Node | str,
        listen: int | None = None,
        *,
        family: int = 4,
        enrolled: bool | None = None,
        namespace: str = "default",
        sidecar: bool | Mode = False,
        mtls: bool = False,
        calls: Service | None = None,
    ) -> Pod:
        """A pod on a node; with ``listen`` it serves on that port (TCP and UDP), asking a service if it ``calls`` one.

        ``family`` 6 gives it an IPv6 address instead of an IPv4 one. With a ``sidecar`` all its TCP goes through an
        Envoy of its own, which takes it for HTTP ("http", or True) or for bytes ("tcp"); with ``mtls`` it demands and
        presents certificates. A pod without sidecar is in Kmesh's mesh, unless ``enrolled`` says otherwise.
        """
        with self._changing():
            if listen is not None:
                check_port(listen)
            if enrolled is not None:
                check_flag(f"enrolled of pod {name!r}", enrolled)
            mode = check_sidecar(name, sidecar, mtls, listen)
            where = find_node(node, self.nodes)
            workload = new_workload("pod", name, where, self.pods, self._control.publications(), family, namespace)
            upstream = called_by(name, calls, listen, family)
            with self._ground.process(workload, "proxy" if mode else "agent") as process:
                pod = Pod(self, where, workload, process, listen)
                for protocol in ("tcp", "udp") if listen else ():
                    process.request("listen", port=listen, protocol=protocol, calls=upstream)
                if mode:
                    pod.proxy = sidecar_ = Sidecar(pod, mode, mtls=mtls)
                    sidecar_.start(self._control.publications())
                self._join(pod, not mode if enrolled is None else enrolled)
            return pod

    def waypoint(self, name: str, node: Node | str, *, family: int = 4, namespace: str = "default") -> Waypoint:
        """A waypoint for services of one IP family: a pod, and the service that `apply` sends their clients to.

        Its name must contain "waypoint", by which Kmesh knows one.
        """
        with self._changing():
            service = entrance_of(name, family, namespace, self.services)
            where = find_node(node, self.nodes)
            workload = new_workload("waypoint", name, where, self.pods, self._control.publications(), family, namespace)
            script: Script = "waypoint" if self._waypoints is Waypoint else "proxy"
            with self._ground.process(workload, script) as process:
                pod = self._waypoints(self, where, workload, process, service)
                self._join(pod, enrolled=False)
            return pod

    def gateway(
        self,
        name: str,
        node: Node | str,
        routes: Service | Mapping[str, Service],
        listen: int = 8080,
        *,
        family: int = 4,
        namespace: str = "default",
        mtls: bool = False,
    ) -> Gateway:
        """An Envoy at the edge of the mesh: it takes HTTP for a service, or by path: ``{"/stock": inventory}``.

        The longest path that fits decides; a service that is not published yet is found as soon as it is.
        """
        with self._changing():
            wanted = check_gateway(name, routes, listen, family)
            where = find_node(node, self.nodes)
            workload = new_workload("gateway", name, where, self.pods, self._control.publications(), family, namespace)
            with self._ground.process(workload, "proxy") as process:
                known = self._control.publications()
                pod = Gateway(self, where, workload, process, listen, wanted, known, mtls=mtls)
                self._join(pod, enrolled=False)
            return pod

    # ---- the control plane

    def apply(
        self,
        service: Service | Mapping[Service, Sequence[Endpoint]],
        endpoints: Sequence[Endpoint] = (),
        *,
        waypoint: Waypoint | None = None,
    ) -> None:
        """Publish a service on every node, or many at once: ``lab.apply({web: [a, b], db: [c]})``.

        Declarative and hot: what is there becomes what is said, no program is reloaded, no connection waits. Applying
        the same again changes nothing. Endpoints are pods, or workloads without one (which nobody can reach).
        Raises ``ValueError`` and `LabError` on what cannot be meant and `kmesh_lab.errors.MapFull` when a map has no
        room; then every map is as before.
        """
        if isinstance(service, Mapping) and endpoints:
            raise ValueError("endpoints are given twice: with many services, lab.apply({web: [a, b], db: [c]})")
        wanted = list(service.items()) if isinstance(service, Mapping) else [(service, endpoints)]
        with self._changing():
            self._control.apply(wanted, waypoint)

    def delete(self, thing: Service | Pod | str) -> None:
        """Take a service or a pod away; one that is gone already is left alone, but a name must be known.

        A pod leaves its services first, and a waypoint those in front of which it stands: no connect meets a gap.
        What fails or is interrupted can be done again; a pod is gone as soon as it is out of the maps.
        """
        with self._changing():
            found = self.named(thing) if isinstance(thing, str) else thing
            if isinstance(found, Service):
                self._control.delete(found)
            elif isinstance(found, Pod):
                if self.pods.get(found.name) is found:
                    self._control.remove_pod(found)
                    try:  # no way back from here; proxies hear of it before the process ends
                        del self.pods[found.name], found.node.pods[found.name]
                        self._control.tell_proxies()
                    finally:
                        self._ground.remove_process(found.workload)
            else:
                raise LabError(f"{thing!r} is neither a service nor a pod of this lab")

    @cached_property
    def authority(self) -> Authority:
        """Signs the certificates of this lab's pods."""
        from kmesh_lab.traffic.certificates import Authority  # here: most labs need none, and it takes 50 ms

        return Authority()

    @property
    def services(self) -> dict[str, Service]:
        """The published services by name."""
        return {each.service.name: each.service for each in self._control.publications()}

    # ---- looking

    def events(self) -> AbstractContextManager[Events]:
        """``with lab.events() as events: …`` collects what the programs report to km_tcp_probe meanwhile."""
        self.require_open()
        return self.observatory.observe(Events(self.name_at))

    def picture(self, connection: Connection | Sequence[Way] = ()) -> Picture:
        """Nodes, pods and services as a drawing, and the way that one connection took, or many."""
        with self._opened():
            ways = [Way.of(connection)] if isinstance(connection, Connection) else connection
            if not isinstance(ways, Sequence) or not all(isinstance(way, Way) for way in ways):
                raise ValueError(f"picture of {connection!r}: expected a connection, or a list of ways")
            return draw(list(self.nodes.values()), self._control.publications(), ways)

    def named(self, name: str) -> Service | Pod | IPAddress:
        """The pod, else the service with this name, else the address that the text is; LabError for anything else."""
        return find(name, self.pods, self.services)

    def pod_at(self, address: Address) -> Pod | None:
        """The pod that has this address, if any; an IPv4-mapped address counts as IPv4."""
        return find_address(address, self.pods)

    def name_at(self, address: Address) -> str:
        """The name of the pod that has this address, "" if none has."""
        return pod.name if (pod := self.pod_at(address)) else ""

    # ---- the end

    def close(self) -> Receipt:
        """Remove everything; a second time, do nothing. Returns what was removed and what, if anything, is left."""
        with self._lock, uninterrupted():
            nodes, pods, services = list(self.nodes.values()), list(self.pods.values()), len(self.services)
            programs = sum(len(node.datapath.programs) for node in nodes)
            pids = [pid for pod in pods for pid in (pod.pid, pod.proxy and pod.proxy.pid) if pid]
            for node in nodes:
                node.pods.clear()
            self.nodes.clear()
            self.pods.clear()
            self._finalizer()
            return Receipt.after(len(nodes), len(pods), pids, services, programs, self._ground.cgroup)

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return not self._finalizer.alive

    def require_open(self) -> None:
        """Raise `LabError` after `close`."""
        if self.closed:
            raise LabError("this lab is closed; make another one with Lab()")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<Lab, closed>"
        parts = ((self.nodes, "node"), (self.pods, "pod"), (self.services, "service"))
        return f"<Lab: {', '.join(counted(len(things), one) for things, one in parts)}>"

    def _repr_html_(self) -> str:
        rows = [(name, str(node.place.locality), ", ".join(node.pods)) for name, node in self.nodes.items()]
        return html_table(repr(self)[1:-1], rows, header=("node", "locality", "pods"))

    # ---- inside

    def remember(self, holder: Holder, pod: Pod) -> None:
        """Close a socket of a pod with it and with the lab: an open one keeps its network namespace."""
        self._ground.keep(holder, pod.workload)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        with self._lock:
            self.require_open()
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._opened(), uninterrupted():
            yield

    def _join(self, pod: Pod, enrolled: bool) -> None:
        """Publish a pod that is ready."""
        self._control.add_pod(pod)
        try:
            if enrolled:
                pod.enroll()
        except BaseException:
            self._control.remove_pod(pod)
            raise
        self.pods[pod.name] = pod.node.pods[pod.name] = pod
