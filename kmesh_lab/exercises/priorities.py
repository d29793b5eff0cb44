"""How near is each endpoint of a service, seen from one node: the comparison, scope by scope, beside the map."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kmesh_lab.display import text_table
from kmesh_lab.errors import LabError
from kmesh_lab.lab.node import Node
from kmesh_lab.mesh import Policy, ScopeMatch, Service, Workload, explain_priority

__all__ = ["Priorities", "explain"]

_SIGN = {True: "{} =", False: "{} ≠", None: "{} (not reached)"}
_LEFT = 'style="text-align:left"'


@dataclass(frozen=True)
class _Row:
    workload: Workload
    steps: tuple[ScopeMatch, ...]
    priority: int
    stored: int | None  # None: not in km_endpoint

    def cells(self) -> list[str]:
        compared = [_SIGN[step.matched].format(step.workload or "none") for step in self.steps]
        stored = "not there" if self.stored is None else str(self.stored)
        return [self.workload.name, *compared, str(self.priority), stored]


class Priorities(Mapping[str, int]):
    """Endpoint name → priority, and why: each scope of the routing preference, compared until one differs.

    The last column is read from km_endpoint; the others are the comparison that led to it.
    """

    def __init__(self, node: Node, service: Service, rows: list[_Row]) -> None:
        self._node, self._service, self._rows = node, service, rows

    def __getitem__(self, name: str) -> int:
        for row in self._rows:
            if row.workload.name == name:
                return row.priority
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter([row.workload.name for row in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def stored(self) -> dict[str, int]:
        """Endpoint name → the priority under which km_endpoint holds it."""
        return {row.workload.name: row.stored for row in self._rows if row.stored is not None}

    def __repr__(self) -> str:
        return f"<Priorities of {self._service.name} on {self._node.name}: {dict(self)}>"

    def _title(self) -> str:
        note = ""
        if self._service.load_balancing.policy is Policy.RANDOM:
            note = "; RANDOM compares nothing"
        elif not self._node.place.locality.region:
            note = "; the node does not know where it is, so all are at 0"
        return f"{self._service.name}, {self._service.load_balancing.policy.name}, seen from {self._node.name}{note}"

    def _header(self) -> list[str]:
        steps = self._rows[0].steps if self._rows else ()
        return [
            "endpoint",
            *(f"{step.scope.name} {step.client or 'none'}" for step in steps),
            "priority",
            "in km_endpoint",
        ]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("\n".join([self._title(), text_table([self._header(), *(row.cells() for row in self._rows)])]))

    def _repr_html_(self) -> str:
        head = "".join(f"<th {_LEFT}>{html.escape(name)}</th>" for name in self._header())
        body = "".join(
            "<tr>" + "".join(f"<td {_LEFT}>{html.escape(cell)}</td>" for cell in row.cells()) + "</tr>"
            for row in self._rows
        )
        caption = html.escape(self._title())
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def explain(node: Node, service: Service) -> Priorities:
    """Compare the place of the node with that of each published endpoint of the service."""
    publication = node.publisher.publication(service)
    if publication is None:
        raise LabError(f"service {service.name!r} is not published on {node.name}; `lab.apply` publishes it")
    service = publication.service
    stored = {uid: key.prio for key, uid in node.maps.endpoint.items() if key.service_id == node.maps.id_of(service)}
    compares = service.load_balancing.policy is not Policy.RANDOM and bool(node.place.locality.region)
    scopes = service.load_balancing.routing_preference if compares else ()
    rows = [
        _Row(
            workload,
            tuple(explain_priority(scopes, node.place, workload.place)),
            node.publisher.priority_of(service, workload),
            stored.get(node.maps.id_of(workload)),
        )
        for workload in publication.endpoints
    ]
    return Priorities(node, service, sorted(rows, key=lambda row: (row.priority, row.workload.name)))
