"""One connection's way through the maps, as the programs reported it, to be walked step by step."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from kmesh_lab.datapath.decision import Decision, Location, Step
from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.display import counted, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.maps import Layout, Row
from kmesh_lab.kernel.program import BPF_DIR
from kmesh_lab.lab import Connection
from kmesh_lab.mesh import Policy
from kmesh_lab.widgets.view import View

__all__ = ["DecisionPath"]

RowOf = Callable[[Step], Row | None]
Layouts = Mapping[str, tuple[Layout, Layout]]

_MAIN = ("CONNECT", "FRONTEND", "SERVICE", "ENDPOINT", "BACKEND", "DNAT", "VERDICT")
_EXITS = ("NOT_MANAGED", "CONTROL", "DNS", "NOT_TCP")  # the hook looks no further
_LATER = ("ESTABLISHED", "SOCKHASH", "TLV", "CLOSED")  # sockops and sk_msg
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
_NOTHING = "No program reported a step: the lab runs without the decision trace, or the socket has not connected yet."
_SHOWN = 60  # steps of one socket
_LINES, _ABOVE = 15, 10  # of C, and how many of them stand above the marked one
_WORD = 4  # bytes; rows are made of these
_LINE_MARK = re.compile(r'^#line (\d+) "(.*)"$')


@dataclass(frozen=True)
class _Visit:
    """A step with what is around it: the kind of the next step, and what this pass was asked for."""

    step: Step
    after: str
    asked: Address | None

    @property
    def found(self) -> bool:
        return self.step.ret == 0

    def went(self, kind: str) -> bool:
        return self.found and self.after == kind

    def policy(self, policy: Policy) -> bool:
        return self.found and self.after != "WAYPOINT" and self.step.found == policy


_Tell = Callable[[_Visit], bool]

# What can happen at a station, how the reported steps tell, and other words for when it did not.
_BRANCHES: dict[str, tuple[tuple[str, _Tell, str], ...]] = {
    "CONNECT": (
        ("on to frontend", lambda at: at.went("FRONTEND"), ""),
        ("not in the mesh", lambda at: at.went("NOT_MANAGED"), ""),
        ("not TCP", lambda at: at.went("NOT_TCP"), ""),
        ("DNS query", lambda at: at.went("DNS"), ""),
        ("control address", lambda at: at.went("CONTROL"), ""),
    ),
    "FRONTEND": (
        ("row found", lambda at: at.found, ""),
        ("no row", lambda at: not at.found, "no row: outside"),
    ),
    "SERVICE": (
        ("waypoint first", lambda at: at.went("WAYPOINT"), "waypoint: none"),
        ("RANDOM", lambda at: at.policy(Policy.RANDOM), ""),
        ("STRICT", lambda at: at.policy(Policy.STRICT), ""),
        ("FAILOVER", lambda at: at.policy(Policy.FAILOVER), ""),
        ("nobody to pick", lambda at: at.went("VERDICT"), ""),
        ("no service: a pod", lambda at: not at.found, "no service: would be a pod"),
    ),
    "ENDPOINT": (
        ("row found", lambda at: at.found, ""),
        ("no row: gives up", lambda at: not at.found, "no row"),
    ),
    "BACKEND": (
        ("waypoint first", lambda at: at.went("WAYPOINT"), "waypoint: none"),
        ("on to dnat", lambda at: at.went("DNAT"), ""),
        ("address stays", lambda at: at.went("VERDICT"), ""),
        ("no row", lambda at: not at.found, ""),
    ),
    "DNAT": (
        ("port found", lambda at: at.found, ""),
        ("no such port", lambda at: not at.found, ""),
    ),
    "VERDICT": (
        ("rewritten", lambda at: at.found and at.step.address != at.asked, ""),
        ("unchanged", lambda at: not at.found or at.step.address == at.asked, ""),
        ("runs again", lambda at: at.went("TAIL_CALL"), ""),
    ),
    "DNS": (
        ("to the DNS proxy", lambda at: at.found, ""),
        ("no DNS proxy", lambda at: not at.found, ""),
    ),
}


class DecisionPath(View):
    """How one connection came to its destination: ``DecisionPath(connection)``.

    Stations, rows and C lines are what the programs reported; ways not taken are drawn grey. ``row_of`` gives the raw
    (key, value) of the row that a step read, or None when it is gone. For a connection these are the rows of its node
    as they are now; a bare `Decision` has none. Everything is sent at once, so stepping needs no kernel.
    """

    name: ClassVar[str] = "decision_path"

    def __init__(self, connection: Connection | Decision, *, row_of: RowOf | None = None) -> None:
        layouts: Layouts = {}
        files: Mapping[str, _Lines] = {}
        who = whom = node = ""
        if isinstance(connection, Connection):
            decision, backend, datapath = connection.decision, connection.backend, connection.pod.node.datapath
            who, whom, node = connection.pod.name, backend.name if backend else "", connection.pod.node.name
            layouts = datapath.module.layouts
            files = _compiled(datapath.module.text)
        elif isinstance(connection, Decision):
            decision = connection
        else:
            raise ValueError(f"the way of {connection!r}? expected a connection or its decision")
        visits = list(_visits(decision.steps[:_SHOWN]))
        if isinstance(connection, Connection) and row_of is None:
            row_of = _rows_of(connection, visits)
        groups = list(_groups(visits))
        super().__init__(
            who=who,
            whom=whom,
            node=node,
            asked=address_text(decision.original) if decision.original else "",
            went=address_text(decision.final) if decision.final else "",
            rewritten=decision.rewritten,
            left_out=len(decision.steps) - len(visits),
            nothing=_NOTHING,
            stations=[kind.lower() for kind in _MAIN],
            groups=[_group(group) for group in groups],
            steps=[
                _place(group, number)
                | _words(at)
                | {"row": _row(at, row_of, layouts), "source": _excerpt(at.step.location, files)}
                | {"group": index}
                for index, group in enumerate(groups)
                for number, at in enumerate(group)
            ],
        )

    def __repr__(self) -> str:
        frame = self.frame
        if not frame["steps"]:
            return "<DecisionPath: no program reported a step>"
        way = " → ".join(step["label"] for step in frame["steps"])
        return one_line(
            f"<DecisionPath {frame['asked']} → {frame['went']}, {counted(len(frame['steps']), 'step')}: {way}>"
        )

    def html(self) -> str:
        """A table of the steps, and under it the row and the C of each."""
        frame = self.frame
        if not frame["steps"]:
            return f"<p>{escape(_NOTHING)}</p>"
        names = ("", "station", "looked up", "what happened", "taken", "not taken", "reported by")
        head = "".join(f'<th style="text-align:left">{name}</th>' for name in names)
        rows = "".join(_static_row(number, step) for number, step in enumerate(frame["steps"], 1))
        more = (
            f"<p>{counted(frame['left_out'], 'later step')} of this socket not shown.</p>" if frame["left_out"] else ""
        )
        details = "".join(_static_details(number, step, frame) for number, step in enumerate(frame["steps"], 1))
        return (
            f"<table><caption>{escape(_title(frame))}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table>{more}{details}"
        )


# ---- from steps to the picture


def _visits(steps: Sequence[Step]) -> Iterator[_Visit]:
    asked: Address | None = None
    for number, step in enumerate(steps):
        asked = step.address if step.kind == "CONNECT" else asked
        yield _Visit(step, steps[number + 1].kind if number + 1 < len(steps) else "", asked)


def _groups(visits: Sequence[_Visit]) -> Iterator[list[_Visit]]:
    """One list for each run of the connect hook, and one for what sockops and sk_msg did afterwards."""
    group: list[_Visit] = []
    for at in visits:
        if group and _begins(at.step, group[-1].step):
            yield group
            group = []
        group.append(at)
    if group:
        yield group


def _begins(step: Step, before: Step) -> bool:
    if _is_later(step) or _is_later(before):
        return _is_later(step) != _is_later(before)
    if before.kind == "TAIL_CALL":  # leads to the CONNECT of the same pass
        return step.kind != "CONNECT"
    return step.kind in ("CONNECT", "TAIL_CALL") or before.kind in ("VERDICT", *_EXITS)


def _is_later(step: Step) -> bool:
    return step.kind in _LATER or (step.kind == "CONTROL" and step.id == 1)  # sockops adds the row of the address


def _group(group: Sequence[_Visit]) -> dict[str, Any]:
    first = group[0].step
    if _is_later(first):
        return {"kind": "later", "title": "Later, on the same socket"}
    hooks = [at.step.location.function for at in group if at.step.location]
    again = first.kind == "TAIL_CALL"
    return {"kind": "pass", "title": f"{hooks[0] if hooks else 'the hook'}() runs{' again' if again else ''}"}


def _place(group: Sequence[_Visit], number: int) -> dict[str, Any]:
    step = group[number].step
    if _is_later(step):
        return {"lane": "later", "column": number}
    if step.kind == "TAIL_CALL":
        return {"lane": "entry", "column": 0}
    if step.kind in _MAIN:
        return {"lane": "main", "column": _MAIN.index(step.kind)}
    before = group[number - 1].step.kind if number else "CONNECT"
    return {"lane": "side", "column": (_MAIN.index(before) if before in _MAIN else 0) + 1}


def _words(at: _Visit) -> dict[str, Any]:
    step = at.step
    branches = [(tell(at), yes, no) for yes, tell, no in _BRANCHES.get(step.kind, ())]
    return {
        "label": step.kind.lower().replace("_", " "),
        "short": _short(step),
        "story": step.story,
        "ret": "" if step.ret == 0 else f"-{errno.errorcode.get(-step.ret, -step.ret)}",
        "branches": [{"text": yes if taken else no or yes, "taken": taken} for taken, yes, no in branches],
    }


def _short(step: Step) -> str:
    """The result in a word or two, to stand under the station."""
    if step.ret:
        return "stays" if step.kind in ("VERDICT", "DNS") else "none"
    if step.kind in ("FRONTEND", "ENDPOINT"):
        return step.name(step.found)
    if step.kind in ("SERVICE", "BACKEND"):
        return step.name(step.id)
    if step.kind == "TLV":
        return f"{step.id} bytes"
    if step.kind == "SOCKHASH":
        return "km_socket"
    return address_text(step.address) if step.address else ""


# ---- the row that a step read


def _rows_of(connection: Connection, visits: Iterable[_Visit]) -> RowOf:
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


def _row(at: _Visit, row_of: RowOf | None, layouts: Layouts) -> dict[str, Any]:
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


def _key(at: _Visit) -> str:
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
    sizes = [struct.calcsize("=" + each) for each in re.findall(r"\d+[a-wyzA-Z?]", layout.struct.format)]
    for (name, _), size in zip(layout.fields, sizes, strict=True):
        yield [part, name, *_folded(data[:size])]
        data = data[size:]


def _folded(data: bytes) -> tuple[str, int]:
    """Bytes as hex, and how many zeros at the end were left out: an array of ports is mostly empty slots."""
    kept = max(_WORD, -(-len(data.rstrip(b"\0")) // _WORD) * _WORD)
    if len(data) - kept < 2 * _WORD:
        kept = len(data)
    return data[:kept].hex(" "), len(data) - kept


# ---- the C that reported it

_Lines = Mapping[int, str]  # by number, from 1


def _compiled(text: str) -> dict[str, _Lines]:
    """File → lines, from the text that was compiled: the files in bpf/ may have been edited since."""
    files: dict[str, dict[int, str]] = {}
    lines, number = files.setdefault("", {}), 1
    for line in text.splitlines():
        if mark := _LINE_MARK.match(line):
            lines, number = files.setdefault(mark[2], {}), int(mark[1])
            continue
        lines[number] = line
        number += 1
    return dict(files)


def _excerpt(location: Location | None, files: Mapping[str, _Lines]) -> dict[str, Any] | None:
    """At most 15 lines of the function around the one that reported; None where there is no such line."""
    if location is None:
        return None
    lines = next((lines for name, lines in files.items() if Path(name).match(location.file)), None)
    if lines is None:
        path = BPF_DIR / location.file
        lines = dict(enumerate(path.read_text().splitlines(), 1)) if path.is_file() else {}
    if "trace_" not in lines.get(location.line, ""):
        return None
    first, last = _function(lines, location.line)
    first = max(first, min(location.line - _ABOVE, last - _LINES + 1))
    return {
        "file": f"bpf/{location.file}",
        "function": location.function,
        "first": first,
        "line": location.line,
        "lines": [lines.get(number, "") for number in range(first, min(last, first + _LINES - 1) + 1)],
    }


def _function(lines: _Lines, line: int) -> tuple[int, int]:
    """The first and the last line of the function that a line is in."""
    first = last = line
    while first > 1 and not lines.get(first, "").startswith("{"):
        first -= 1
    while lines.get(first - 1, "").strip() and not lines[first - 1].startswith(("}", " */", "/*", "//", "#")):
        first -= 1
    while last < max(lines) and not lines.get(last, "").startswith("}"):
        last += 1
    return first, last


# ---- the static form


def _title(frame: Mapping[str, Any]) -> str:
    who, whom = (f"{name} " if name else "" for name in (frame["who"], frame["whom"]))
    got = f"goes to {whom}{frame['went']}" if frame["rewritten"] else "keeps that destination"
    return f"{who}asks for {frame['asked'] or 'an address'} and {got}"


def _static_row(number: int, step: Mapping[str, Any]) -> str:
    row, source = step["row"], step["source"]
    looked_up = f"{row['map']}: {row['key']} → {row['value']}" if "map" in row else row["note"]
    taken = (", ".join(b["text"] for b in step["branches"] if b["taken"] is yes) for yes in (True, False))
    where = f"{source['file']}:{source['line']} {source['function']}()" if source else ""
    story = f"{step['story']} ({step['ret']})" if step["ret"] else step["story"]
    cells = (number, step["label"], looked_up, story, *taken, where)
    return "<tr>" + "".join(f'<td style="text-align:left">{escape(str(cell))}</td>' for cell in cells) + "</tr>"


def _static_details(number: int, step: Mapping[str, Any], frame: Mapping[str, Any]) -> str:
    row, source = step["row"], step["source"]
    lines = [
        f"{f'{part} {name}'.rstrip()}: {data}{f' + {zeros} zero bytes' if zeros else ''}"
        for part, name, data, zeros in row.get("bytes", ())
    ]
    if lines:
        lines.insert(0, f"{row['map']} of {frame['node'] or 'the node'}, the row as bytes when this was drawn")
    if "map" in row and row["note"]:
        lines.append(row["note"])
    if lines and source:
        lines.append("")
    for at, line in enumerate(source["lines"] if source else (), source["first"] if source else 0):
        lines.append(f"{'▶' if at == source['line'] else ' '} {at:4}  {line}")
    if not lines:
        return ""
    summary = escape(f"{number} {step['label']}: {step['story']}")
    return f"<details><summary>{summary}</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
