"""Rows of a node's maps in the terms of people, and back."""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kmesh_lab.datapath.rows import EndpointKey, address_text, unpack_ip
from kmesh_lab.datapath.views import unpack_manage_key
from kmesh_lab.display import choices
from kmesh_lab.kernel.maps import Layout
from kmesh_lab.lab import Node
from kmesh_lab.mesh import Policy
from kmesh_lab.widgets.map_table import Table

__all__ = ["Cell", "Terms", "folded"]

_NAMES = 200  # offered while a row is edited
_LARGEST = 2**32 - 1
_COMMENT = re.compile(r"(\w+)(?:\[\w+\])?;\s*/\* (.*?) \*/")

Cell = tuple[str, str]  # what people say, and the number or address that the map says


class Terms:
    """Rows in the terms of people, and back."""

    def __init__(self, node: Node) -> None:
        self._held, self._datapath, self._rows = weakref.ref(node), node.datapath, node.datapath.rows
        self._layout: dict[str, dict[str, list[list[Any]]]] = {}

    def layouts(self, table: str) -> tuple[Layout, Layout]:
        """Of key and value."""
        pair: tuple[Layout, Layout] = self._datapath.module.layouts[f"km_{table}"]
        return pair

    def key(self, table: str, raw: bytes) -> Any:
        """What ``node.maps`` takes as the key."""
        if table == "frontend":
            return unpack_ip(raw)
        if table == "endpoint":
            found = self._rows.unpack_endpoint_key(raw)
            return found.service_id, found.prio, found.index
        if table == "manage":
            return unpack_manage_key(raw)
        return self._rows.unpack_id(raw)

    def order(self, table: str, raw: bytes) -> Any:
        """By address, or by numbers."""
        return raw if table in ("frontend", "manage") else self.key(table, raw)

    def _name(self, number: int) -> str:
        return self._datapath.publisher.name_of(number) or "unknown id"

    def cells(self, table: str, key: bytes, value: bytes, tables: Mapping[str, Table]) -> list[Cell]:
        """One cell for each column."""
        rows = self._rows
        if table == "frontend":
            number = rows.unpack_id(value)
            return [(str(unpack_ip(key)), ""), (self._name(number), self._kind(value, number, tables))]
        if table == "service":
            number, service = rows.unpack_id(key), rows.unpack_service(value)
            return [
                (self._name(number), f"service_id {number}"),
                (service.policy_name, ""),
                (" ".join(map(str, service.prio_endpoint_count)), ""),
                (", ".join(f"{port}→{target}" for port, target in service.ports), ""),
                (address_text(service.waypoint) if service.waypoint else "none", ""),
            ]
        if table == "endpoint":
            where, uid = EndpointKey(*self.key(table, key)), rows.unpack_id(value)
            known = "" if value in tables["backend"].rows else ", no row in backend"
            return [
                (self._name(where.service_id), f"service_id {where.service_id}"),
                (str(where.prio), ""),
                (str(where.index), ""),
                (self._name(uid), f"backend_uid {uid}{known}"),
            ]
        if table == "backend":
            number, backend = rows.unpack_id(key), rows.unpack_backend(value)
            return [
                (self._name(number), f"backend_uid {number}"),
                (str(backend.address), ""),
                (", ".join(map(self._name, backend.services)) or "none", " ".join(map(str, backend.services))),
                (address_text(backend.waypoint) if backend.waypoint else "none", ""),
            ]
        return [self._who(self.key(table, key)), (str(rows.unpack_id(value)), "")]

    def _kind(self, raw: bytes, number: int, tables: Mapping[str, Table]) -> str:
        for table, what in (("service", "service_id"), ("backend", "backend_uid")):
            if raw in tables[table].rows:
                return f"{what} {number}"
        return f"id {number}, no row in service or backend"

    def _who(self, who: Any) -> Cell:
        node = self._held()
        pods = list(node.pods.values()) if node else []
        if isinstance(who, int):
            names = [pod for pod in pods if pod.netns_cookie == who]
            text = f"network namespace {who}"
        else:
            names = [pod for pod in pods if pod.address == who]
            text = f"address {who}"
        ended = ", its process has ended" if names and not names[0].alive else ""
        return (names[0].name if names else "no pod of this node", f"{text}{ended}")

    def names(self, tables: Mapping[str, Table]) -> list[str]:
        """What a row can lead to, by name."""
        keys = [*tables["service"].rows, *tables["backend"].rows][:_NAMES]
        return sorted({self._name(self._rows.unpack_id(key)) for key in keys} - {"unknown id"})

    def fields(self, table: str, value: bytes) -> list[dict[str, Any]]:
        """What can be edited."""
        if table in ("frontend", "endpoint"):
            number = self._rows.unpack_id(value)
            name, label = ("upstream", "Leads to") if table == "frontend" else ("backend", "Backend")
            known = self._datapath.publisher.name_of(number)
            return [{"name": name, "label": f"{label} (name or id)", "text": known or str(number), "kind": "name"}]
        if table == "service":
            service = self._rows.unpack_service(value)
            policies = [policy.name for policy in Policy]
            other = [] if service.policy_name in policies else [service.policy_name]
            first = {"name": "policy", "label": "Policy", "text": service.policy_name, "kind": "choice"}
            counts = enumerate(service.prio_endpoint_count)
            return [
                {**first, "choices": policies + other},
                *({"name": f"count{i}", "label": f"Priority {i}", "text": str(n), "kind": "number"} for i, n in counts),
            ]
        return []

    def changed(self, table: str, value: bytes, fields: Mapping[str, str]) -> Any:
        """The new value for ``node.maps``; ValueError for what a field cannot be."""
        allowed = {each["name"] for each in self.fields(table, value)}
        unknown = [name for name in fields if name not in allowed]
        if unknown or not fields:
            what = f"expected {choices(sorted(allowed))}" if allowed else "its rows can only be deleted"
            raise ValueError(f"no field {unknown[0]!r} in km_{table}: {what}" if unknown else f"km_{table}: {what}")
        if table != "service":
            text = str(next(iter(fields.values()))).strip()
            return _number(text, "id") if text.lstrip("-").isdigit() else text
        service = self._rows.unpack_service(value)
        counts = list(service.prio_endpoint_count)
        for name, given in fields.items():
            if name.startswith("count"):
                counts[int(name[5:])] = _number(str(given), f"count at priority {name[5:]}")
        policy = str(fields.get("policy", service.policy_name))
        number = service.policy if policy == service.policy_name else int(Policy.of(policy))
        return replace(service, policy=number, prio_endpoint_count=tuple(counts))

    def layout(self, table: str) -> dict[str, list[list[Any]]]:
        """For key and value: name, offset, size and C comment of each field."""
        if table not in self._layout:
            kinds = ("union manager_key", "") if table == "manage" else (f"struct {table}_key", f"struct {table}_value")
            pairs = zip(("key", "value"), self.layouts(table), kinds, strict=True)
            self._layout[table] = {part: self._described(layout, kind) for part, layout, kind in pairs}
        return self._layout[table]

    def _described(self, layout: Layout, kind: str) -> list[list[Any]]:
        text = self._datapath.module.text
        body = text.partition(f"\n{kind} {{")[2].partition("\n}")[0] if kind else ""
        comments = dict(_COMMENT.findall(body))
        fields = zip(layout.fields, layout.slots(), strict=True)
        return [[name or "bytes", start, size, comments.get(name, "")] for (name, _), (start, size) in fields]


def folded(layout: Layout, data: bytes) -> list[str]:
    """The bytes of each field in groups of four; a long run of zeros at its end as 00×28."""
    return [_fold(data[start : start + size]) for start, size in layout.slots()]


def _fold(data: bytes) -> str:
    used = -(-len(data.rstrip(b"\0")) // 4) * 4
    zeros = len(data) - used
    if zeros < 8:
        return data.hex(" ", -4)
    return f"{data[:used].hex(' ', -4)} 00×{zeros}".strip()


def _number(text: str, what: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{what} {text!r}: expected a number from 0 to {_LARGEST}")
    return number
