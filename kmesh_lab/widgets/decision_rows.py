"""What a step of a decision looked up: the map, the key, and the row as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kmesh_lab.datapath.decision import Step
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.maps import Layout, Row
from kmesh_lab.lab import Connection
from kmesh_lab.widgets.decision_stations import Visit

__all__ = ["Layouts", "RowOf", "looked_up", "rows_of"]

RowOf = Callable[[Step], Row | None]
Layouts = Mapping[str, tuple[Layout, Layout]]

_MAPS = {
    "FRONTEND": "km_frontend",
    "SERVICE": "km_service",
    "ENDPOINT": "km_endpoint",
    "BACKEND": "km_backend",
    "NOT_MANAGED": "km_manage",
    "DNS": "km_backend",
}
_NO_LOOKUP = {
    "CONNECT": "No map yet: the address and the protocol are what the program gave to connect(2).",
    "NOT_TCP": "No map: the protocol is in the context of the hook.",
    "CONTROL": "It writes km_manage: the row of the pod is added or deleted.",
    "WAYPOINT": "No lookup of its own: the waypoint's address is in the row read before.",
    "DNAT": "No lookup of its own: the ports are in the service row, the address is in the backend row.",
    "VERDICT": "No map: the hook writes the destination into the context of connect(2), and remembers the first one.",
    "TAIL_CALL": "A program array, km_cgr_tailcall or km_cgr_tail6, whose one slot holds the program itself.",
    "ESTABLISHED": "sockops: the handshake is done. The pod's address is looked up in km_manage.",
    "SOCKHASH": "sockops writes km_socket: from here on sk_msg sees what this socket sends.",
    "TLV": "sk_msg reads km_sockstorage, where the connect hook kept the original destination.",
    "CLOSED": "sockops: the socket's state became TCP_CLOSE.",
}
_GAVE_UP = "No map: a manager gave up, so the context of connect(2) stays as it was."
_WORD = 4  # bytes; rows are made of these


def rows_of(connection: Connection, visits: Iterable[Visit]) -> RowOf:
    """Reads the rows of the connection's node as they are now."""
    asked = {id(at.step): at.asked for at in visits}

    def row_of(step: Step) -> Row | None:
        try:
            maps = connection.pod.node.maps
            if step.kind == "FRONTEND":
                destination = asked.get(id(step))
                if destination is None:
                    return None
                ip = destination[0]
                return maps.frontend.raw(getattr(ip, "ipv4_mapped", None) or ip)
            if step.kind == "SERVICE":
                return maps.service.raw(step.id)
            if step.kind == "ENDPOINT":
                return maps.endpoint.raw((step.id, step.prio, step.index))
            return maps.backend.raw(step.id) if step.kind in ("BACKEND", "DNS") else None
        except (KeyError, LabError, OSError):  # the row or the lab is gone
            return None

    return row_of


def looked_up(at: Visit, row_of: RowOf | None, layouts: Layouts) -> dict[str, Any]:
    step, name = at.step, _MAPS.get(at.step.kind, "")
    if not name:
        gave_up = step.kind == "VERDICT" and not at.found
        return {"note": _GAVE_UP if gave_up else _NO_LOOKUP.get(step.kind, "")}
    raw = row_of(step) if row_of else None
    row: dict[str, Any] = {"map": name, "key": _key(at), "value": _value(step), "note": ""}
    if raw:
        layout = layouts.get(name, (None, None))
        row["bytes"] = [*_fields("key", raw[0], layout[0]), *_fields("value", raw[1], layout[1])]
        row["note"] = "" if _has_row(step) else "There was no row then; there is one now."
    elif row_of and _has_row(step):
        row["note"] = "The row is gone since."
    return row


def _has_row(step: Step) -> bool:
    return step.ret == 0 and step.kind != "NOT_MANAGED"


def _key(at: Visit) -> str:
    step = at.step
    match step.kind:
        case "FRONTEND":
            return f"{at.asked[0]}, the address asked for" if at.asked else "the address asked for"
        case "SERVICE":
            return f"service_id {step.id}, {step.name(step.id)}"
        case "ENDPOINT":
            return f"service_id {step.id}, {step.name(step.id)}; prio {step.prio}; backend_index {step.index}"
        case "BACKEND":
            return f"backend_uid {step.id}, {step.name(step.id)}"
        case "DNS":
            return f"backend_uid {step.id}, which stands for the DNS proxy"
    return "the cookie of the pod's network namespace"


def _value(step: Step) -> str:
    if not _has_row(step):
        return "no row"
    match step.kind:
        case "FRONTEND":
            return f"upstream_id {step.found}, {step.name(step.found)}"
        case "SERVICE":
            return f"lb_policy {step.found}, {step.story.rpartition(' ')[2]}"
        case "ENDPOINT":
            return f"backend_uid {step.found}, {step.name(step.found)}"
        case "BACKEND" if not step.address or not step.address[1]:
            return "a pod, no waypoint in front of it"
    return step.story


def _fields(part: str, data: bytes, layout: Layout | None) -> Iterator[list[Any]]:
    """[part of the row, field of the C struct, bytes, zero bytes after them]; no name where the struct is not known."""
    if layout is None or layout.size != len(data):
        yield [part, "", *_folded(data)]
        return
    for (name, _), (start, size) in zip(layout.fields, layout.slots(), strict=True):
        yield [part, name, *_folded(data[start : start + size])]


def _folded(data: bytes) -> tuple[str, int]:
    """Bytes as hex, and how many zeros at the end were left out: an array of ports is mostly empty slots."""
    kept = max(_WORD, -(-len(data.rstrip(b"\0")) // _WORD) * _WORD)
    if len(data) - kept < 2 * _WORD:
        kept = len(data)
    return data[:kept].hex(" "), len(data) - kept
