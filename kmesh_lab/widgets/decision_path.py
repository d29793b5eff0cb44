"""One connection's way through the maps, as the programs reported it, to be walked step by step."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, ClassVar

from kmesh_lab.datapath.decision import Decision
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import counted, one_line
from kmesh_lab.lab import Connection
from kmesh_lab.widgets.decision_rows import Layouts, RowOf, looked_up, rows_of
from kmesh_lab.widgets.decision_stations import MAIN, group_of, groups, place, visits, words
from kmesh_lab.widgets.excerpt import Lines, compiled, excerpt
from kmesh_lab.widgets.view import View

__all__ = ["DecisionPath"]

_NOTHING = "No program reported a step: the lab runs without the decision trace, or the socket has not connected yet."
_SHOWN = 60  # steps of one socket


class DecisionPath(View):
    """How one connection came to its destination: ``DecisionPath(connection)``.

    Stations, rows and C lines are what the programs reported; ways not taken are drawn grey. ``row_of`` gives the raw
    (key, value) of the row that a step read, or None when it is gone. For a connection these are the rows of its node
    as they are now; a bare `Decision` has none. Everything is sent at once, so stepping needs no kernel.
    """

    name: ClassVar[str] = "decision_path"

    def __init__(self, connection: Connection | Decision, *, row_of: RowOf | None = None) -> None:
        layouts: Layouts = {}
        files: Mapping[str, Lines] = {}
        who = whom = node = ""
        if isinstance(connection, Connection):
            decision, backend, datapath = connection.decision, connection.backend, connection.pod.node.datapath
            who, whom, node = connection.pod.name, backend.name if backend else "", connection.pod.node.name
            layouts = datapath.module.layouts
            files = compiled(datapath.module.text)
        elif isinstance(connection, Decision):
            decision = connection
        else:
            raise ValueError(f"the way of {connection!r}? expected a connection or its decision")
        there = list(visits(decision.steps[:_SHOWN]))
        if isinstance(connection, Connection) and row_of is None:
            row_of = rows_of(connection, there)
        passes = list(groups(there))
        super().__init__(
            who=who,
            whom=whom,
            node=node,
            asked=address_text(decision.original) if decision.original else "",
            went=address_text(decision.final) if decision.final else "",
            rewritten=decision.rewritten,
            left_out=len(decision.steps) - len(there),
            nothing=_NOTHING,
            stations=[kind.lower() for kind in MAIN],
            groups=[group_of(each) for each in passes],
            steps=[
                place(group, number)
                | words(at)
                | {"row": looked_up(at, row_of, layouts), "source": excerpt(at.step.location, files)}
                | {"group": index}
                for index, group in enumerate(passes)
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
