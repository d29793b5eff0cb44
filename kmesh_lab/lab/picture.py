"""The lab as one picture: nodes, pods, services, and the ways that connections took."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.lab.connection import Connection
from kmesh_lab.lab.node import Node
from kmesh_lab.lab.pod import Pod
from kmesh_lab.lab.shape import Shape
from kmesh_lab.lab.waypoint import Waypoint
from kmesh_lab.mesh import IPAddress

__all__ = ["Picture", "Way", "draw"]

_WIDTH, _MARGIN, _GAP = 760, 16, 24
_POD_WIDTH, _POD_HEIGHT, _POD_GAP = 150, 48, 12
_SERVICE_HEIGHT, _NODE_HEAD, _SAG = 50, 34, 26
_PER_ROW = 3  # nodes
_INK, _SOFT, _LINE = "#1f2937", "#6b7280", "#9ca3af"
_FILL = {"node": "#f3f4f6", "pod": "#ffffff", "waypoint": "#fef3c7", "service": "#dbeafe"}
_TAKEN = "#b91c1c"  # the connection; also dashed or solid, so that it does not depend on the colour
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


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height


def draw(nodes: Sequence[Node], publications: Iterable[Publication], ways: Sequence[Way] = ()) -> Picture:
    """Draw nodes with their pods, services with their endpoints, and the ways of connections."""
    shown = [each for each in publications if "waypoint" not in each.service.key]
    services = _service_boxes(len(shown))
    places, pods = _node_boxes(nodes, _MARGIN + (_SERVICE_HEIGHT + 56 if shown else 0))
    height = max((box.y + box.height for box in places), default=0) + _MARGIN
    legend = [_words(_MARGIN, height + 2, "dashed: asked for, solid: connected", _TAKEN, part="way")] if ways else []
    height += 12 if ways else 0
    tip = Shape("path", {"d": "M0 0 8 4 0 8z", "fill": _TAKEN}, part="tip")
    size = {"markerWidth": "8", "markerHeight": "8", "markerUnits": "userSpaceOnUse", "orient": "auto"}
    marker = Shape("marker", {"id": "tip", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", **size}, (tip,))
    out = {end.name for each in shown for end in each.endpoints if not end.healthy}
    reached = {way.reached for way in ways if way.state != "gone"}
    parts = [
        Shape("defs", {}, (marker,)),
        Shape("rect", {"width": "100%", "height": "100%", "fill": "#ffffff"}, part="paper"),
        *(shape for node, box in zip(nodes, places, strict=True) for shape in _node(node, box)),
        *_endpoint_lines(shown, services, pods),
        *(shape for each, box in zip(shown, services, strict=True) for shape in _service(each, box)),
        *(
            shape
            for node in nodes
            for pod in node.pods.values()
            for shape in _pod(pod, pods[pod.name], pod.name in out, pod.name in reached)
        ),
        *(shape for way in ways for shape in _way(way, shown, services, pods)),
        *legend,
    ]
    text = _sentence(nodes, shown, ways)
    root = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {_WIDTH} {height:.0f}",
        "width": str(_WIDTH),
        "role": "img",
        "aria-label": text,
        "font-family": "sans-serif",
        "font-size": "12",
    }
    return Picture(Shape("svg", root, tuple(parts), "picture"), text)


def _service_boxes(count: int) -> list[_Box]:
    width = min(330, (_WIDTH - 2 * _MARGIN - _GAP * (count - 1)) / max(count, 1))
    left = (_WIDTH - count * width - (count - 1) * _GAP) / 2
    return [_Box(left + number * (width + _GAP), _MARGIN, width, _SERVICE_HEIGHT) for number in range(count)]


def _node_boxes(nodes: Sequence[Node], top: float) -> tuple[list[_Box], dict[str, _Box]]:
    boxes: list[_Box] = []
    pods: dict[str, _Box] = {}
    columns = max(1, min(_PER_ROW, len(nodes)))
    width = (_WIDTH - 2 * _MARGIN - _GAP * (columns - 1)) / columns
    across = max(1, int((width - _POD_GAP) // (_POD_WIDTH + _POD_GAP)))
    for start in range(0, len(nodes), columns):
        row = nodes[start : start + columns]
        deep = max(-(-len(node.pods) // across) for node in row)
        height = _NODE_HEAD + deep * (_POD_HEIGHT + _POD_GAP) + _SAG - _POD_GAP
        for number, node in enumerate(row):
            x = _MARGIN + number * (width + _GAP)
            boxes.append(_Box(x, top, width, height))
            for place, name in enumerate(node.pods):
                left = x + _POD_GAP + place % across * (_POD_WIDTH + _POD_GAP)
                down = top + _NODE_HEAD + place // across * (_POD_HEIGHT + _POD_GAP)
                pods[name] = _Box(left, down, _POD_WIDTH, _POD_HEIGHT)
        top += height + _GAP
    return boxes, pods


def _rect(box: _Box, fill: str, radius: int, title: str, part: str, key: str) -> Shape:
    at = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    look = {"rx": str(radius), "fill": fill, "stroke": _LINE}
    return Shape("rect", _rounded(at) | look, (Shape("title", {}, (title,)),), part, key)


def _words(x: float, y: float, text: str, ink: str = _SOFT, *, part: str = "soft", key: str = "") -> Shape:
    return Shape("text", _rounded({"x": x, "y": y}) | {"fill": ink, "font-size": "11"}, (text,), part, key)


def _name(x: float, y: float, text: str) -> Shape:
    return Shape("text", _rounded({"x": x, "y": y}) | {"fill": _INK, "font-weight": "bold"}, (text,), "name")


def _rounded(numbers: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{number:.0f}" for name, number in numbers.items()}


def _node(node: Node, box: _Box) -> Iterator[Shape]:
    yield _rect(box, _FILL["node"], 8, repr(node), "node", node.name)
    name = Shape("tspan", {"fill": _INK, "font-weight": "bold"}, (node.name,), "name")
    where = Shape("tspan", {"dx": "8", "fill": _SOFT, "font-size": "11"}, (str(node.place.locality),), "soft")
    yield Shape("text", _rounded({"x": box.x + 12, "y": box.y + 22}), (name, where))


def _pod(pod: Pod, box: _Box, out: bool, reached: bool) -> Iterator[Shape]:
    kind = "waypoint" if isinstance(pod, Waypoint) else "pod"
    state = "" if pod.alive and not out else " out" if pod.alive else " ended"
    yield _rect(box, _FILL[kind], 6, repr(pod), f"{kind}{state}{' reached' if reached else ''}", pod.name)
    yield _name(box.x + 10, box.y + 20, pod.name)
    yield _words(box.x + 10, box.y + 37, str(pod.address))
    if state:
        at = _rounded({"x": box.x + box.width - 10, "y": box.y + 37}) | {"text-anchor": "end"}
        look = {"fill": _TAKEN, "font-size": "11", "font-weight": "bold"}
        yield Shape("text", at | look, (f"✕{state}",), "way")


def _service(each: Publication, box: _Box) -> Iterator[Shape]:
    service = each.service
    ports = ", ".join(f"{port}→{target}" for port, target in service.ports.items())
    where = f"{service.vips[0]} port {ports}, {service.load_balancing.policy.name}"
    middle = {"text-anchor": "middle", "x": f"{box.top[0]:.0f}"}
    yield _rect(box, _FILL["service"], 25, repr(service), "service", service.name)
    bold = middle | {"y": f"{box.y + 21:.0f}", "fill": _INK, "font-weight": "bold"}
    yield Shape("text", bold, (service.name,), "name")
    yield Shape("text", middle | {"y": f"{box.y + 38:.0f}", "fill": _SOFT, "font-size": "11"}, (where,), "soft")


def _endpoint_lines(shown: Sequence[Publication], services: Sequence[_Box], pods: dict[str, _Box]) -> Iterator[Shape]:
    for each, box in zip(shown, services, strict=True):
        for workload in each.endpoints:
            if workload.name in pods:
                dashes = "2 3" if workload.healthy else "1 8"
                look = {"stroke": _LINE, "stroke-dasharray": dashes}
                key = f"{each.service.name} {workload.name}"
                yield _curve(box.bottom, pods[workload.name].top, look, part="endpoint", key=key)


def _way(way: Way, shown: Sequence[Publication], services: Sequence[_Box], pods: dict[str, _Box]) -> Iterator[Shape]:
    """Dashed: what the client asked for. Solid: where the connection went."""
    client = pods.get(way.client)
    if client is None:
        return
    key, part = f"{way.client} {address_text(way.asked) if way.asked else ''}", f"way {way.state}"
    look = {"stroke": _TAKEN}
    tip = {"marker-end": "url(#tip)"}
    for each, box in zip(shown, services, strict=True):
        if way.asked and _plain(way.asked) in each.service.vips:
            dashed = look | {"stroke-dasharray": "5 4"} | tip
            yield _curve(client.top, box.bottom, dashed, part=part, key=key)
            if way.note:
                x, y = (client.top[0] + box.bottom[0]) / 2, (client.top[1] + box.bottom[1]) / 2
                yield _words(x + 8, y + 4, way.note, _TAKEN, part="way", key=f"note {key}")
    if way.reached in pods:
        end = pods[way.reached].bottom
        dashes = {"stroke-dasharray": _DASHES[way.state]} if way.state in _DASHES else {}
        solid = look | {"stroke-width": "2"} | dashes | tip
        key = f"{key} {way.reached} {way.state}"
        yield _curve(client.bottom, end, solid, sag=_SAG, part=part, key=key)
        if way.count > 1:
            x, y = (client.bottom[0] + end[0]) / 2, (client.bottom[1] + end[1]) / 2
            yield _words(x - 8, y + 0.75 * _SAG - 4, f"×{way.count}", _TAKEN, part="way", key=f"times {key}")


def _plain(address: Address) -> IPAddress:
    """The IP address; one that is mapped counts as IPv4."""
    ip = address[0]
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _curve(
    start: tuple[float, float],
    end: tuple[float, float],
    look: Mapping[str, str],
    *,
    sag: float = 0,
    part: str = "",
    key: str = "",
) -> Shape:
    (x1, y1), (x2, y2) = start, end
    down = sag or (y2 - y1) / 2
    back = sag or (y1 - y2) / 2
    bends = f"{x1:.0f} {y1 + down:.0f} {x2:.0f} {y2 + back:.0f}"
    d = f"M{x1:.0f} {y1:.0f}C{bends} {x2:.0f} {y2:.0f}"
    return Shape("path", {"d": d, "fill": "none", **look}, part=part, key=key)


def _sentence(nodes: Sequence[Node], shown: Sequence[Publication], ways: Sequence[Way]) -> str:
    where = "; ".join(f"{node.name} ({node.place.locality}): {', '.join(node.pods) or 'no pods'}" for node in nodes)
    ends = [", ".join(_end(end.name, end.healthy) for end in each.endpoints) or "no endpoint" for each in shown]
    services = [f"{each.service.name} at {each.service.vips[0]}" for each in shown]
    behind = "; ".join(f"{service}: {names}" for service, names in zip(services, ends, strict=True))
    went = f". {'; '.join(way.sentence for way in ways)}" if ways else ""
    return f"Nodes {where or 'none'}. Services {behind or 'none'}{went}."


def _end(name: str, healthy: bool) -> str:
    return name if healthy else f"{name} (out)"
