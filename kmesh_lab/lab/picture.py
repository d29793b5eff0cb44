"""The lab as one picture: nodes, pods, services, and the ways that connections took."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.lab.connection import Connection
from kmesh_lab.lab.gateway import Gateway
from kmesh_lab.lab.layout import (
    MARGIN,
    NAME_HEIGHT,
    SERVICE_HEIGHT,
    WIDTH,
    Box,
    between,
    down,
    node_boxes,
    service_boxes,
)
from kmesh_lab.lab.node import Node
from kmesh_lab.lab.pod import Pod
from kmesh_lab.lab.shape import Shape
from kmesh_lab.lab.waypoint import Waypoint
from kmesh_lab.mesh import IPAddress

__all__ = ["Picture", "Way", "draw"]

# JupyterLab and GitHub show an SVG as an image, which knows nothing of the page's theme. So there is no background, and
# what is not in a box can be seen on white and on black.
_INK, _SOFT, _LINE = "#1f2937", "#5b6472", "#868e9b"
_FILL = {"node": "none", "name": "#eceef1", "pod": "#ffffff", "waypoint": "#fef3c7", "service": "#dbeafe"}
_TAKEN = "#dc2626"  # the connection; also dashed or solid, so that it does not depend on the colour
_SERVICES, _NAMED = 6, 30  # in one picture; names in one list
_AWAY = {"endpoint": 6, "to-waypoint": 9, "asked": 3}  # from the pods that a line passes, so that none is on another
_DASHES = {"gone": "1 5", "outside": "9 4 2 4"}  # of a solid line that is no open connection


@dataclass(frozen=True)
class Way:
    """A connect, or ``count`` alike: ``client`` asked for ``asked`` and reached ``reached``.

    Clients and what was reached are names of pods, or None. ``state`` is "open", "gone" (closed, or never answered) or
    "outside" (of the mesh); ``note`` is written at the line to the service.
    """

    client: str
    asked: Address | None
    reached: str | None
    state: str = "open"
    count: int = 1
    note: str = ""

    @classmethod
    def of(cls, connection: Connection) -> Way:
        """The way of one connection."""
        backend = connection.backend
        reached = backend.name if backend else address_text(connection.peer)
        return cls(connection.pod.name, connection.decision.original or connection.peer, reached)

    @property
    def sentence(self) -> str:
        """``shop asked for 10.96.0.10:80 and reached inventory-a``."""
        asked = address_text(self.asked) if self.asked else "somebody"
        end = f"and reached {self.reached}" if self.reached else "and reached nobody"
        times = f", {self.count} times" if self.count > 1 else ""
        state = {"gone": ", not open now", "outside": ", outside the mesh"}.get(self.state, "")
        return f"{self.client} asked for {asked} {end}{times}{state}"


@dataclass(frozen=True)
class Picture:
    """A drawing with a sentence that says the same."""

    shape: Shape
    text: str

    @property
    def svg(self) -> str:
        """The drawing as SVG."""
        return self.shape.markup()

    def __repr__(self) -> str:
        return self.text

    def _repr_svg_(self) -> str:
        return self.svg


def draw(nodes: Sequence[Node], publications: Iterable[Publication], ways: Sequence[Way] = ()) -> Picture:
    """Draw nodes with their pods, services with their endpoints, and the ways of connections."""
    everything = [each for each in publications if "waypoint" not in each.service.key]
    shown = everything[:_SERVICES]
    services = service_boxes(len(shown))
    places, pods = node_boxes(nodes, MARGIN + (SERVICE_HEIGHT + 56 if shown else 0))
    height = max((box.y + box.height for box in places), default=0) + MARGIN
    legend = [_words(MARGIN, height + 2, "dashed: asked for, solid: connected", _TAKEN, part="way")] if ways else []
    height += 12 if ways else 0
    tip = Shape("path", {"d": "M0 0 8 4 0 8z", "fill": _TAKEN}, part="tip")
    size = {"markerWidth": "8", "markerHeight": "8", "markerUnits": "userSpaceOnUse", "orient": "auto-start-reverse"}
    marker = Shape("marker", {"id": "tip", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", **size}, (tip,))
    first = min((box.y for box in pods.values()), default=0)
    waypoints = {pod.entrance: pod.name for node in nodes for pod in node.pods.values() if isinstance(pod, Waypoint)}
    out = {end.name for each in shown for end in each.endpoints if not end.healthy}
    reached = {way.reached for way in ways if way.state != "gone"}
    parts = [
        Shape("defs", {}, (marker,)),
        *(shape for node, box in zip(nodes, places, strict=True) for shape in _node(node, box)),
        *_service_lines(shown, services, pods, first, waypoints),
        *(shape for each, box in zip(shown, services, strict=True) for shape in _service(each, box)),
        *(
            shape
            for node in nodes
            for pod in node.pods.values()
            for shape in _pod(pod, pods[pod.name], pod.name in out, pod.name in reached)
        ),
        *_ways(ways, shown, services, pods, first),
        *legend,
    ]
    text = _sentence(nodes, everything, ways, waypoints)
    root = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {WIDTH} {height:.0f}",
        "width": str(WIDTH),
        "role": "img",
        "aria-label": text,
        "font-family": "sans-serif",
        "font-size": "12",
    }
    return Picture(Shape("svg", root, tuple(parts), "picture"), text)


def _rect(box: Box, fill: str, radius: int, title: str, part: str, key: str) -> Shape:
    at = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    look = {"rx": str(radius), "fill": fill, "stroke": _LINE}
    return Shape("rect", _rounded(at) | look, (Shape("title", {}, (title,)),), part, key)


def _words(x: float, y: float, text: str, ink: str = _SOFT, *, part: str = "soft", key: str = "") -> Shape:
    return Shape("text", _rounded({"x": x, "y": y}) | {"fill": ink, "font-size": "11"}, (text,), part, key)


def _name(x: float, y: float, text: str) -> Shape:
    return Shape("text", _rounded({"x": x, "y": y}) | {"fill": _INK, "font-weight": "bold"}, (text,), "name")


def _rounded(numbers: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{number:.0f}" for name, number in numbers.items()}


def _node(node: Node, box: Box) -> Iterator[Shape]:
    low = Box(box.x, box.y + box.height - NAME_HEIGHT, box.width, NAME_HEIGHT)
    yield _rect(box, _FILL["node"], 8, repr(node), "node", node.name)
    yield _rect(low, _FILL["name"], 8, repr(node), "node-name", node.name)
    name = Shape("tspan", {"fill": _INK, "font-weight": "bold"}, (node.name,), "name")
    where = Shape("tspan", {"dx": "8", "fill": _SOFT, "font-size": "11"}, (str(node.place.locality),), "soft")
    yield Shape("text", _rounded({"x": low.x + 12, "y": low.y + 15}), (name, where))


def _pod(pod: Pod, box: Box, out: bool, reached: bool) -> Iterator[Shape]:
    kind = "waypoint" if isinstance(pod, (Gateway, Waypoint)) else "pod"
    state = "" if pod.alive and not out else " out" if pod.alive else " ended"
    yield _rect(box, _FILL[kind], 6, repr(pod), f"{kind}{state}{' reached' if reached else ''}", pod.name)
    yield _name(box.x + 10, box.y + 20, pod.name)
    yield _words(box.x + 10, box.y + 37, str(pod.address))
    if state:
        at = _rounded({"x": box.x + box.width - 10, "y": box.y + 37}) | {"text-anchor": "end"}
        look = {"fill": _TAKEN, "font-size": "11", "font-weight": "bold"}
        yield Shape("text", at | look, (f"✕{state}",), "way")
    if pod.proxy:
        yield _rect(
            Box(box.x + box.width - 52, box.y + 6, 46, 15), _FILL["waypoint"], 7, repr(pod.proxy), "waypoint", ""
        )
        at = _rounded({"x": box.x + box.width - 29, "y": box.y + 17}) | {"text-anchor": "middle"}
        yield Shape("text", at | {"fill": _INK, "font-size": "10"}, ("Envoy",), "name")


def _service(each: Publication, box: Box) -> Iterator[Shape]:
    service = each.service
    ports = ", ".join(f"{port}→{target}" for port, target in service.ports.items())
    where = f"{service.vips[0]} port {ports}, {service.load_balancing.policy.name}"
    middle = {"text-anchor": "middle", "x": f"{box.top[0]:.0f}"}
    yield _rect(box, _FILL["service"], 25, repr(service), "service", service.name)
    bold = middle | {"y": f"{box.y + 21:.0f}", "fill": _INK, "font-weight": "bold"}
    yield Shape("text", bold, (service.name,), "name")
    yield Shape("text", middle | {"y": f"{box.y + 38:.0f}", "fill": _SOFT, "font-size": "11"}, (where,), "soft")


def _service_lines(
    shown: Sequence[Publication],
    services: Sequence[Box],
    pods: dict[str, Box],
    first: float,
    waypoints: Mapping[Address, str],
) -> Iterator[Shape]:
    """Dotted, to the endpoints; dots and dashes, to the waypoint."""
    for each, box in zip(shown, services, strict=True):
        ends = [(end.name, "endpoint", "2 3" if end.healthy else "1 8") for end in each.endpoints if end.name in pods]
        ends += [(name, "to-waypoint", "8 3 1 3") for name in _waypoint(each, waypoints)]
        for name, part, dashes in ends:
            look = {"fill": "none", "stroke": _LINE, "stroke-dasharray": dashes}
            path = down(box, pods[name], first, _AWAY[part])
            yield Shape("path", {"d": path, **look}, part=part, key=f"{each.service.name} {name}")


def _ways(
    ways: Sequence[Way], shown: Sequence[Publication], services: Sequence[Box], pods: dict[str, Box], first: float
) -> Iterator[Shape]:
    """Dashed: what clients asked for. Solid: where the connections went."""
    asked: set[tuple[str, str]] = set()
    for way in ways:
        client, key = pods.get(way.client), f"{way.client} {address_text(way.asked)}"
        if client is None:
            continue
        for each, box in zip(shown, services, strict=True):
            if way.asked and _plain(way.asked) in each.service.vips and (key, way.note) not in asked:
                asked.add((key, way.note))
                yield from _asked(way, client, box, first, f"{key} {way.note}")
        if way.reached in pods:
            key = f"{key} {way.reached} {way.state} {way.note}"
            yield from _taken(way, client, pods[way.reached], key)


def _asked(way: Way, client: Box, service: Box, first: float, key: str) -> Iterator[Shape]:
    look = {"fill": "none", "stroke": _TAKEN, "stroke-dasharray": "5 4", "marker-start": "url(#tip)"}
    path = down(service, client, first, _AWAY["asked"])
    yield Shape("path", {"d": path, **look}, part=f"way {way.state}", key=f"asked {key}")
    if way.note:
        x, y = (client.top[0] + service.bottom[0]) / 2, (first + service.bottom[1]) / 2
        yield _words(x + 8, y + 4, f"✕ {way.note}", _TAKEN, part="way", key=f"note {key}")


def _taken(way: Way, client: Box, end: Box, key: str) -> Iterator[Shape]:
    dashes = {"stroke-dasharray": _DASHES[way.state]} if way.state in _DASHES else {}
    look = {"stroke": _TAKEN, "stroke-width": "2"} | dashes | {"marker-end": "url(#tip)"}
    path, (x, y) = between(client, end)
    yield Shape("path", {"d": path, "fill": "none", **look}, part=f"way {way.state}", key=f"taken {key}")
    if way.count > 1:
        yield _words(x, y, f"×{way.count}", _TAKEN, part="way", key=f"times {key}")


def _plain(address: Address) -> IPAddress:
    """The IP address; one that is mapped counts as IPv4."""
    ip = address[0]
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _sentence(
    nodes: Sequence[Node], services: Sequence[Publication], ways: Sequence[Way], waypoints: Mapping[Address, str]
) -> str:
    pods = [_few([f"{name} with an Envoy" if pod.proxy else name for name, pod in node.pods.items()]) for node in nodes]
    where = "; ".join(
        f"{node.name} ({node.place.locality}): {names or 'no pods'}" for node, names in zip(nodes, pods, strict=True)
    )
    ends = [_few([_end(end.name, end.healthy) for end in each.endpoints]) for each in services[:_SERVICES]]
    behind = [
        " through ".join([f"{each.service.name} at {each.service.vips[0]}", *_waypoint(each, waypoints)])
        + f": {names or 'no endpoint'}"
        for each, names in zip(services[:_SERVICES], ends, strict=True)
    ]
    behind += [f"and {len(services) - _SERVICES:,} more"] if len(services) > _SERVICES else []
    went = f". {'; '.join(way.sentence for way in ways)}" if ways else ""
    return f"Nodes {where or 'none'}. Services {'; '.join(behind) or 'none'}{went}."


def _waypoint(each: Publication, waypoints: Mapping[Address, str]) -> list[str]:
    """The name of the service's waypoint, if it has one that is drawn."""
    return [waypoints[each.waypoint]] if each.waypoint and each.waypoint in waypoints else []


def _end(name: str, healthy: bool) -> str:
    return name if healthy else f"{name} (out)"


def _few(names: Collection[str]) -> str:
    """All of them, or the first and how many more."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(islice(names, _NAMED)) + more
