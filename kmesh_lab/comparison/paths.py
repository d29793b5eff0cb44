"""The paths that a request can take from the shop to the inventory: one entry for each in `PATHS`.

A path says in words what it is and does, and lays itself in a lab of its own: pods, services, proxies. What it returns,
a `Route`, is all that counting, timing and recording need to know, so a further path is one more function here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from kmesh_lab.comparison.load import SERVER_PORT, Client, Server, keep_on_path
from kmesh_lab.datapath.rows import Address
from kmesh_lab.display import choices
from kmesh_lab.errors import LabError
from kmesh_lab.lab import Lab, Node, Pod, Waypoint
from kmesh_lab.lab.sidecar import Sidecar
from kmesh_lab.mesh import Service

__all__ = ["INVENTORY", "PATHS", "Lane", "Path", "Route", "open_lane", "path_named"]

_NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Route:
    """A path laid in a lab: who asks whom, and who is on the way.

    ``target`` is what the client asks for, ``programs`` whether client and server are where the nodes' programs see
    them. ``sidecars`` and ``waypoints`` are the processes of proxies, by name: those that every pod has one of, and
    those that many pods share. ``passed`` asks the proxies how many requests each has forwarded, or connections where
    it does not know requests.
    """

    client: Pod
    server: Pod
    target: Address
    programs: bool
    sidecars: Mapping[str, int] = field(default_factory=dict)
    waypoints: Mapping[str, int] = field(default_factory=dict)
    pods: Sequence[Pod] = ()
    passed: Callable[[], Mapping[str, int]] = lambda: _NOTHING

    @property
    def proxies(self) -> dict[str, int]:
        """All proxies on the way: name → process."""
        return {**self.sidecars, **self.waypoints}


@dataclass(frozen=True)
class Path:
    """A path: its name, the way in a line, what it does at layer 4, at layer 7 and against listeners on the wire.

    ``remark`` is what a reader of its figures must know, ``waypoints`` the kind that its lab has.
    """

    name: str
    way: str
    layer4: str
    layer7: str
    encryption: str
    lay: Callable[[Lab], Route]
    remark: str = ""
    waypoints: str = "kmesh"

    def __repr__(self) -> str:
        return f"<Path {self.name}: {self.way}>"


@dataclass(frozen=True)
class Lane:
    """A path with its client and server at work."""

    path: Path
    lab: Lab
    route: Route
    client: Client
    server: Server

    @property
    def processes(self) -> dict[str, int]:
        """Everybody on the way: name → process; the client is first."""
        return {"client": self.client.pid, **self.route.proxies, "server": self.server.pid}

    @property
    def pods(self) -> tuple[Pod, ...]:
        """The network namespaces on the way, each once."""
        return (self.route.client, *self.route.pods, self.route.server)

    @property
    def nodes(self) -> list[Node]:
        """The nodes."""
        return list(self.lab.nodes.values())


@contextmanager
def open_lane(path: Path, *, trace: bool = False) -> Iterator[Lane]:
    """Lay a path in a lab of its own; afterwards nothing is left of it."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(trace=trace, waypoints=path.waypoints))
        route = path.lay(lab)
        server = stack.enter_context(Server(route.server, programs=route.programs))
        client = stack.enter_context(Client(route.client, programs=route.programs))
        for pid in route.proxies.values():
            keep_on_path(pid)
        yield Lane(path, lab, route, client, server)


def path_named(name: str) -> Path:
    """The path of that name; ``ValueError`` lists those that there are."""
    if name not in PATHS:
        raise ValueError(f"unknown path {name!r}: expected {choices(PATHS)}")
    return PATHS[name]


# ---- how each is laid

_BARE = "Envoy as it comes, without Istio's filters, statistics and access log: the least that a sidecar costs."
INVENTORY = Service("inventory.shop", "10.96.0.10", {80: SERVER_PORT})


def _nodes(lab: Lab) -> tuple[Node, Node]:
    return lab.node("n1", "cn-west/xian/a"), lab.node("n2", "cn-west/xian/b")


def _direct(lab: Lab) -> Route:
    n1, n2 = _nodes(lab)
    shop, inventory = lab.pod("shop", n1, enrolled=False), lab.pod("inventory", n2, enrolled=False)
    return Route(shop, inventory, (inventory.address, SERVER_PORT), programs=False)


def _kernel(lab: Lab) -> Route:
    n1, n2 = _nodes(lab)
    shop, inventory = lab.pod("shop", n1), lab.pod("inventory", n2)
    lab.apply(INVENTORY, endpoints=[inventory])
    return Route(shop, inventory, (INVENTORY.vips[0], 80), programs=True)


def _waypoint(lab: Lab) -> Route:
    n1, n2 = _nodes(lab)
    shop, inventory, waypoint = lab.pod("shop", n1), lab.pod("inventory", n2), lab.waypoint("waypoint", n2)
    lab.apply(INVENTORY, endpoints=[inventory], waypoint=waypoint)
    return Route(
        shop,
        inventory,
        (INVENTORY.vips[0], 80),
        programs=True,
        waypoints={"waypoint": waypoint.pid},
        pods=(waypoint,),
        passed=lambda: {"waypoint": _forwarded(waypoint)},
    )


def _sidecars(mode: Literal["http", "tcp"], *, mtls: bool = False) -> Callable[[Lab], Route]:
    def lay(lab: Lab) -> Route:
        n1, n2 = _nodes(lab)
        shop = lab.pod("shop", n1, sidecar=mode, mtls=mtls)
        inventory = lab.pod("inventory", n2, sidecar=mode, mtls=mtls)
        lab.apply(INVENTORY, endpoints=[inventory])
        sidecars = {f"Envoy of {pod.name}": pod.sidecar for pod in (shop, inventory) if pod.sidecar}

        def passed() -> dict[str, int]:
            return {name: _through(sidecar) for name, sidecar in sidecars.items()}

        return Route(
            shop,
            inventory,
            (INVENTORY.vips[0], 80),
            programs=False,
            sidecars={name: sidecar.pid for name, sidecar in sidecars.items()},
            passed=passed,
        )

    return lay


def _through(sidecar: Sidecar) -> int:
    counters = sidecar.counters
    if sidecar.mode == "http":
        return counters.outbound_requests + counters.inbound_requests
    return counters.outbound_connections + counters.inbound_connections


def _envoy_waypoint(lab: Lab) -> Route:
    n1, n2 = _nodes(lab)
    shop, inventory, waypoint = lab.pod("shop", n1), lab.pod("inventory", n2), lab.waypoint("waypoint", n2)
    lab.apply(INVENTORY, endpoints=[inventory], waypoint=waypoint)
    proxy = waypoint.proxy
    if proxy is None:
        raise LabError(f"{waypoint!r} has no Envoy")
    return Route(
        shop,
        inventory,
        (INVENTORY.vips[0], 80),
        programs=True,
        waypoints={"Envoy of waypoint": proxy.pid},
        pods=(waypoint,),
        passed=lambda: {"Envoy of waypoint": proxy.counters.inbound_requests},
    )


def _forwarded(waypoint: Waypoint) -> int:
    return int(waypoint.process.request("captured")["counts"].get("forwarded", 0))


PATHS: dict[str, Path] = {
    each.name: each
    for each in (
        Path(
            "direct",
            "shop → inventory, by the address of the pod",
            "nothing: the shop must know the address of a pod",
            "nothing",
            "none",
            _direct,
        ),
        Path(
            "kernel",
            "shop → inventory, by the address of the service; programs exchange it inside connect(2)",
            "service to endpoint, once for each connection",
            "nothing: no program reads a request",
            "none",
            _kernel,
        ),
        Path(
            "waypoint",
            "shop → waypoint → inventory; programs lead there and tell by a TLV where the shop wanted to go",
            "service to endpoint, in the waypoint",
            "could do what a proxy does; ours copies bytes",
            "none",
            _waypoint,
            "The lab's own waypoint is Python, made for reading: its cost is Python's.",
        ),
        Path(
            "envoy waypoint",
            "shop → Envoy of the waypoint → inventory; programs lead there and say where to by a PROXY header",
            "service to endpoint, in the waypoint",
            "routes, retries and statistics for each request, once",
            "none",
            _envoy_waypoint,
            _BARE,
            waypoints="envoy",
        ),
        Path(
            "sidecars tcp",
            "shop → its Envoy → Envoy of inventory → inventory; REDIRECT leads into each",
            "service to endpoint, in the Envoy of the shop",
            "nothing: Envoy copies bytes",
            "none",
            _sidecars("tcp"),
            _BARE,
        ),
        Path(
            "sidecars http",
            "shop → its Envoy → Envoy of inventory → inventory; both read each request",
            "service to endpoint, in the Envoy of the shop",
            "routes, retries and statistics for each request, twice",
            "none",
            _sidecars("http"),
            _BARE,
        ),
        Path(
            "sidecars mtls",
            "as sidecars http, and the Envoys speak TLS with each other",
            "service to endpoint, in the Envoy of the shop",
            "as sidecars http, and both know who the other is",
            "mutual TLS between the Envoys",
            _sidecars("http", mtls=True),
            _BARE,
        ),
    )
}
