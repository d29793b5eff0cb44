"""The lab as one picture: nodes, pods, services, and the way one connection took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.lab.connection import Connection
from kmesh_lab.lab.node import Node
from kmesh_lab.lab.pod import Pod
from kmesh_lab.lab.waypoint import Waypoint

__all__ = ["Picture", "draw"]

_WIDTH, _MARGIN, _GAP = 760, 16, 24
_POD_WIDTH, _POD_HEIGHT, _POD_GAP = 150, 48, 12
_SERVICE_HEIGHT, _NODE_HEAD, _SAG = 50, 34, 26
_PER_ROW = 3  # nodes
_INK, _SOFT, _LINE = "#1f2937", "#6b7280", "#9ca3af"
_FILL = {"node": "#f3f4f6", "pod": "#ffffff", "waypoint": "#fef3c7", "service": "#dbeafe"}
_TAKEN = "#b91c1c"  # the connection; also dashed or solid, so that it does not depend on the colour


@dataclass(frozen=True)
class Picture:
    """An SVG with a sentence that says the same."""

    svg: str
    text: str

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


def draw(nodes: Sequence[Node], publications: Iterable[Publication], connection: Connection | None = None) -> Picture:
    """Draw nodes with their pods, services with their endpoints and, if given, the way of a connection."""
    shown = [each for each in publications if "waypoint" not in each.service.key]
    services = _service_boxes(len(shown))
    places, pods = _node_boxes(nodes, _MARGIN + (_SERVICE_HEIGHT + 56 if shown else 0))
    height = max((box.y + box.height for box in places), default=0) + _MARGIN
    legend = (
        _words(_MARGIN, height + 2, "dashed: asked for, solid: connected", 'font-size="11"', _TAKEN)
        if connection
        else ""
    )
    height += 12 if connection else 0
    parts = [
        *(_node(node, box) for node, box in zip(nodes, places, strict=True)),
        *_endpoint_lines(shown, services, pods),
        *(_service(each, box) for each, box in zip(shown, services, strict=True)),
        *(_pod(pod, pods[pod.name]) for node in nodes for pod in node.pods.values()),
        *(_way(connection, shown, services, pods) if connection else ()),
    ]
    text = _sentence(nodes, shown, connection)
    return Picture(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(text)}" font-family="sans-serif" font-size="12">'
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{_TAKEN}"/></marker></defs>'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}{legend}</svg>',
        text,
    )


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


def _rect(box: _Box, fill: str, radius: int, title: str) -> str:
    return (
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="{radius}" '
        f'fill="{fill}" stroke="{_LINE}"><title>{escape(title)}</title></rect>'
    )


def _words(x: float, y: float, text: str, style: str = "", ink: str = _INK) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{ink}" {style}>{escape(text)}</text>'


def _node(node: Node, box: _Box) -> str:
    where = f'<tspan dx="8" fill="{_SOFT}" font-size="11">{escape(str(node.place.locality))}</tspan>'
    name = f'<tspan fill="{_INK}" font-weight="bold">{escape(node.name)}</tspan>'
    return (
        _rect(box, _FILL["node"], 8, repr(node))
        + f'<text x="{box.x + 12:.0f}" y="{box.y + 22:.0f}">{name}{where}</text>'
    )


def _pod(pod: Pod, box: _Box) -> str:
    kind = "waypoint" if isinstance(pod, Waypoint) else "pod"
    return (
        _rect(box, _FILL[kind], 6, repr(pod))
        + _words(box.x + 10, box.y + 20, pod.name, 'font-weight="bold"')
        + _words(box.x + 10, box.y + 37, str(pod.address), 'font-size="11"', _SOFT)
    )


def _service(each: Publication, box: _Box) -> str:
    service = each.service
    ports = ", ".join(f"{port}→{target}" for port, target in service.ports.items())
    middle = f'text-anchor="middle" x="{box.top[0]:.0f}"'
    return (
        _rect(box, _FILL["service"], 25, repr(service))
        + f'<text {middle} y="{box.y + 21:.0f}" fill="{_INK}" font-weight="bold">{escape(service.name)}</text>'
        + f'<text {middle} y="{box.y + 38:.0f}" fill="{_SOFT}" font-size="11">'
        + f"{escape(str(service.vips[0]))} port {escape(ports)}, {service.load_balancing.policy.name}</text>"
    )


def _endpoint_lines(shown: Sequence[Publication], services: Sequence[_Box], pods: dict[str, _Box]) -> Iterator[str]:
    for each, box in zip(shown, services, strict=True):
        for workload in each.endpoints:
            if workload.name in pods:
                yield _curve(box.bottom, pods[workload.name].top, f'stroke="{_LINE}" stroke-dasharray="2 3"')


def _way(
    connection: Connection, shown: Sequence[Publication], services: Sequence[_Box], pods: dict[str, _Box]
) -> Iterator[str]:
    """Dashed: what the client asked for. Solid: where the connection went."""
    client, backend = pods.get(connection.pod.name), connection.backend
    if client is None:
        return
    asked = connection.decision.original
    for each, box in zip(shown, services, strict=True):
        if asked and asked[0] in each.service.vips:
            yield _curve(client.top, box.bottom, f'stroke="{_TAKEN}" stroke-dasharray="5 4" marker-end="url(#tip)"')
    if backend and backend.name in pods:
        end = pods[backend.name].bottom
        yield _curve(client.bottom, end, f'stroke="{_TAKEN}" stroke-width="2" marker-end="url(#tip)"', sag=_SAG)


def _curve(start: tuple[float, float], end: tuple[float, float], style: str, sag: float = 0) -> str:
    (x1, y1), (x2, y2) = start, end
    down = sag or (y2 - y1) / 2
    back = sag or (y1 - y2) / 2
    bends = f"{x1:.0f} {y1 + down:.0f} {x2:.0f} {y2 + back:.0f}"
    return f'<path d="M{x1:.0f} {y1:.0f}C{bends} {x2:.0f} {y2:.0f}" fill="none" {style}/>'


def _sentence(nodes: Sequence[Node], shown: Sequence[Publication], connection: Connection | None) -> str:
    where = "; ".join(f"{node.name} ({node.place.locality}): {', '.join(node.pods) or 'no pods'}" for node in nodes)
    ends = [", ".join(end.name for end in each.endpoints) or "no endpoint" for each in shown]
    services = [f"{each.service.name} at {each.service.vips[0]}" for each in shown]
    behind = "; ".join(f"{service}: {names}" for service, names in zip(services, ends, strict=True))
    way = ""
    if connection:
        asked = connection.decision.original or connection.peer
        went = connection.backend.name if connection.backend else address_text(connection.peer)
        way = f". {connection.pod.name} asked for {address_text(asked)} and reached {went}"
    return f"Nodes {where or 'none'}. Services {behind or 'none'}{way}."
