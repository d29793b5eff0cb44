"""What is in a node's maps right now, in human terms and as bytes, and what happens when a row is changed."""

from __future__ import annotations

import re
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any, ClassVar

from kmesh_lab.datapath.rows import EndpointKey, address_text, unpack_ip
from kmesh_lab.display import choices, counted, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.maps import Layout, Map
from kmesh_lab.lab import Node
from kmesh_lab.mesh import Policy
from kmesh_lab.widgets.view import Feed, View

__all__ = ["MapInspector"]

_COLUMNS = {
    "frontend": ("address", "leads to"),
    "service": ("service", "policy", "endpoints at priority 0 … 6", "ports", "waypoint"),
    "endpoint": ("service", "priority", "index", "backend"),
    "backend": ("backend", "address", "services", "waypoint"),
    "manage": ("in the mesh", "value"),
}
_PAGE = 50  # rows
_MARKED = 3.0  # seconds that a row stays marked as changed, new or deleted
_IDLE = 4  # times as long as a look took, at least, before the next one
_NAMES = 200  # offered while a row is edited
_LARGEST = 2**32 - 1
_COMMENT = re.compile(r"(\w+)(?:\[\w+\])?;\s*/\* (.*?) \*/")
_TOKEN = re.compile(r"(\d*)([a-zA-Z])")

Cell = tuple[str, str]  # what people say, and the number or address that the map says


class MapInspector(View):
    """The maps of one node; ``repair`` is called by the button "Apply again", for example ``lambda: lab.apply(…)``.

    >>> inspector = MapInspector(n1, repair=lambda: lab.apply(inventory, [near, far]))
    >>> inspector.show("service", search="inventory")
    >>> inspector.edit("service", inventory, policy="RANDOM")
    >>> inspector.undo()

    A page that shows it looks ten times a second, and less often when a look takes long, until `stop`.
    """

    name: ClassVar[str] = "map_inspector"
    _live: ClassVar[dict[str, MapInspector]] = {}
    _feed: Feed | None = None

    def __init__(self, node: Node, repair: Callable[[], object] | None = None) -> None:
        self._node, self._repair, self._terms = node, repair, _Terms(node)
        self._lock = threading.RLock()  # the feed and the main thread draw; a picture is made and set in one piece
        self._tables = {table: _Table() for table in _COLUMNS}
        self._table, self._search, self._page = "frontend", "", 1
        self._state = self._paused = ""
        self._wanted = True  # live, as soon as a page shows it
        self._undo: tuple[str, bytes, bytes] | None = None
        self._answer: dict[str, Any] = {"text": "", "ok": True, "row": ""}
        self._message, self._next = 0, 0.0
        _ = node.maps  # LabError if the lab is closed
        node.publisher.settle()  # rows that are about to go are no news
        self._read()
        super().__init__(**self._picture())

    # ---- what a cell and the page can do

    def show(self, table: str, search: str = "", page: int = 1) -> None:
        """Turn to a map, to the rows that contain ``search`` in a name, an address or an id, and to a page of them."""
        self._check(table)
        if type(page) is not int or page < 1:
            raise ValueError(f"page {page!r}: expected 1 or more")
        with self._lock:
            self._table, self._search, self._page = table, str(search), page
            self._draw()

    def refresh(self) -> None:
        """Look once."""
        with self._lock:
            self._read()
            self._draw()

    def edit(self, table: str, key: Any, **fields: str) -> None:
        """Write a row: ``upstream`` of a frontend, ``backend`` of an endpoint, ``policy``, ``count0`` … of a service.

        With the checks of ``node.maps``, which also says what a key may be.
        """
        packed, value = getattr(self._node.maps, self._check(table)).raw(key)
        self._write(table, packed, value, fields)

    def delete(self, table: str, key: Any) -> None:
        """Delete a row."""
        packed, value = getattr(self._node.maps, self._check(table)).raw(key)
        self._write(table, packed, value, None)

    def undo(self) -> None:
        """Put back the row that was edited or deleted last, byte by byte."""
        _ = self._node.maps
        with self._lock:
            if self._undo is None:
                raise LabError("nothing was edited or deleted here, so there is nothing to undo")
            table, key, value = self._undo
            self._map(table).update(key, value)
            self._undo = None
            self._say(f"km_{table}: the row is as it was.", key)

    def repair(self) -> None:
        """Write the rows again that should be there, by the callback."""
        if self._repair is None:
            raise LabError("this inspector has no repair callback: MapInspector(node, repair=lambda: lab.apply(…))")
        self._repair()
        self._undo = None
        self._say("Applied again: the published services have their rows.")

    def start(self) -> None:
        """Look ten times a second from now on; another inspector of the same node pauses."""
        other = self._live.get(self._node.name)
        if other is not None and other is not self:
            other.stop()
            other._pause(f"Paused: another inspector of {self._node.name} is live now.")
        self.stop()
        self._wanted, self._paused = True, ""
        self._live[self._node.name] = self
        self._feed = Feed(f"MapInspector {self._node.name}", self, self._tick)
        self._feed.start()
        self.refresh()

    def stop(self) -> None:
        """Look no more; what is shown stays."""
        if self._feed:
            self._feed.stop()
        if self._live.get(self._node.name) is self:
            del self._live[self._node.name]
        self._draw()

    def close(self) -> None:
        """End the view and its thread."""
        if self._feed:
            self.stop()
        super().close()

    # ---- messages from the page

    def _heard(self, content: Any) -> None:
        if isinstance(content, dict):
            self._message = content.pop("message", 0)
            with self._errors_shown(str(content.get("key", ""))):
                super()._heard(content)
            self._draw()

    def on_open(self) -> None:
        """A page shows the inspector."""
        if self._wanted and not self._paused and not (self._feed and self._feed.running):
            self.start()

    def on_live(self, on: bool) -> None:
        """The switch."""
        self._wanted = bool(on)
        if on:
            self.start()
        else:
            self.stop()

    def on_show(self, table: str, search: str, page: int) -> None:
        """A tab, the search field or the pager."""
        self._answer = {"text": "", "ok": True, "row": ""}
        self.show(table, search, page)

    def on_refresh(self) -> None:
        """The button."""
        self.refresh()

    def on_edit(self, table: str, key: str, was: str, fields: Mapping[str, str]) -> None:
        """Save, of a row that was ``was`` when the learner looked."""
        self._write(self._check(table), bytes.fromhex(key), bytes.fromhex(was), fields)

    def on_delete(self, table: str, key: str, was: str) -> None:
        """Delete, of a row that was ``was`` when the learner looked."""
        self._write(self._check(table), bytes.fromhex(key), bytes.fromhex(was), None)

    def on_undo(self) -> None:
        """The button."""
        self.undo()

    def on_repair(self) -> None:
        """The button."""
        self.repair()

    @contextmanager
    def _errors_shown(self, row: str) -> Iterator[None]:
        try:
            yield
        except (LabError, LookupError, OSError, TypeError, ValueError) as error:
            text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            self._answer = {"text": text, "ok": False, "row": row}

    # ---- the maps

    def _check(self, table: str) -> str:
        if table not in _COLUMNS:
            raise ValueError(f"no map {table!r}: expected {choices(_COLUMNS)}")
        return table

    def _map(self, table: str) -> Map:
        return self._node.datapath.maps[f"km_{table}"]

    def _write(self, table: str, key: bytes, was: bytes, fields: Mapping[str, str] | None) -> None:
        """Edit a row, or delete it, unless it has changed meanwhile."""
        view: Any = getattr(self._node.maps, table)
        with self._lock:
            self._node.publisher.settle()
            now = self._map(table).lookup(key)
            self._read()  # so that what is shown is what the message speaks about
            if now is None:
                raise LabError("this row is not there any more")
            if now != was:
                raise LabError("the row has changed since you opened it: look at it again, then save once more")
            if fields is None:
                del view[self._terms.key(table, key)]
                done = "deleted"
            else:
                view[self._terms.key(table, key)] = self._terms.changed(table, now, fields)
                done = "written"
            self._undo = (table, key, now)
            self._say(f"km_{table}: row {done}. The next connect sees it.", key)

    def _say(self, text: str, row: bytes = b"") -> None:
        self._answer = {"text": text, "ok": True, "row": row.hex()}
        self.refresh()

    def _read(self) -> None:
        """Look at every map, and mark what is not as it was."""
        now = time.monotonic()
        try:
            _ = self._node.maps
            fresh = {table: dict(self._map(table).rows()) for table in _COLUMNS}
        except (LabError, OSError):
            self._state = (
                "The lab is closed: these are the last rows that were read. Make a new lab and run the cell again."
            )
            return
        changed = [self._tables[table].take(rows, now) for table, rows in fresh.items()]  # each of them, so no any(…)
        if any(changed):
            for each in self._tables.values():
                each.text.clear()  # a row of one map can change what a row of another means

    def _tick(self) -> None:
        """For the feed: look, and draw if there is something new; ends with the lab."""
        begin = time.monotonic()
        if begin < self._next:
            return
        with self._lock:
            self._read()
            if self._state and self._feed:
                self._feed.stop()
            self._draw()
        self._next = time.monotonic() + _IDLE * (time.monotonic() - begin)

    def _pause(self, why: str) -> None:
        with self._lock:
            self._paused = why
            self._draw()

    # ---- the picture

    def _draw(self) -> None:
        with self._lock:
            frame = self._picture()
            if frame != self.frame:
                self.frame = frame

    def _found(self, table: str, search: str) -> list[bytes]:
        each = self._tables[table]
        keys = each.keys(lambda key: self._terms.order(table, key))
        words = search.lower().split()
        if not words:
            return keys
        for key in keys:
            if key not in each.text:
                cells = self._terms.cells(table, key, each.value(key), self._tables)
                each.text[key] = " ".join(part for cell in cells for part in cell).lower()
        return [key for key in keys if all(word in each.text[key] for word in words)]

    def _picture(self) -> dict[str, Any]:
        table = self._table
        each, found = self._tables[table], self._found(table, self._search)
        pages = max(1, -(-len(found) // _PAGE))
        page = min(self._page, pages)
        return {
            "heard": self._message,
            "state": self._state or self._paused,
            "closed": bool(self._state),
            "live": bool(self._feed and self._feed.running) and not self._state,
            "node": self._node.name,
            "where": str(self._node.place.locality) or "no locality",
            "table": table,
            "tables": [self._tab(name) for name in _COLUMNS],
            "columns": list(_COLUMNS[table]),
            "layout": self._terms.layout(table),
            "rows": [self._row(table, key, each) for key in found[(page - 1) * _PAGE : page * _PAGE]],
            "search": self._search,
            "found": len(found),
            "page": page,
            "pages": pages,
            "names": self._terms.names(self._tables) if table in ("frontend", "endpoint") else [],
            "answer": self._answer,
            "undo": self._undo is not None,
            "repair": self._repair is not None,
        }

    def _tab(self, table: str) -> dict[str, Any]:
        each = self._tables[table]
        return {
            "name": table,
            "count": len(each.rows),
            "most": self._map(table).max_entries,
            "marks": len(each.marks),
        }

    def _row(self, table: str, key: bytes, each: _Table) -> dict[str, Any]:
        value = each.value(key)
        mark = each.marks.get(key)
        return {
            "key": key.hex(),
            "value": value.hex(),
            "bytes": [_folded(self._terms.layouts(table)[0], key), _folded(self._terms.layouts(table)[1], value)],
            "cells": [list(cell) for cell in self._terms.cells(table, key, value, self._tables)],
            "mark": mark.kind if mark else "",
            "fields": [] if mark and mark.kind == "deleted" else self._terms.fields(table, value),
        }

    def html(self) -> str:
        """All five maps, the first rows of each, with their bytes."""
        parts = [f"<p>{escape(self._state)}</p>"] if self._state else []
        for table, columns in _COLUMNS.items():
            each = self._tables[table]
            keys = each.keys(lambda key, table=table: self._terms.order(table, key))  # type: ignore[misc]
            search = self._search if table == self._table else ""
            keys = self._found(table, search) if search else keys
            most = f"at most {self._map(table).max_entries:,}"
            title = f"km_{table} on {self._node.name}: {counted(len(each.rows), 'row')} of {most}"
            title += f", {len(keys)} with {search!r}" if search else ""
            title += f", the first {_PAGE}" if len(keys) > _PAGE else ""
            head = "".join(f"<th>{escape(name)}</th>" for name in (*columns, "key", "value"))
            body = "".join(self._html_row(table, key, each) for key in keys[:_PAGE])
            parts.append(
                f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            )
        return "".join(parts)

    def _html_row(self, table: str, key: bytes, each: _Table) -> str:
        value = each.value(key)
        cells = [" ".join(filter(None, cell)) for cell in self._terms.cells(table, key, value, self._tables)]
        layouts = self._terms.layouts(table)
        raw = [" | ".join(_folded(layout, data)) for layout, data in zip(layouts, (key, value), strict=True)]
        if table == "manage" and isinstance(self._terms.key(table, key), int):  # a cookie: another one at every run
            cells[0], raw[0] = cells[0].partition(" network namespace")[0] + " network namespace", "its cookie"
        shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "".join(
            f"<td><code>{escape(text)}</code></td>" for text in raw
        )
        return f"<tr>{shown}</tr>"

    def __repr__(self) -> str:
        rows = ", ".join(f"{table} {len(each.rows)}" for table, each in self._tables.items())
        return one_line(f"<MapInspector {self._node.name}: {rows} rows{', closed' if self._state else ''}>")


@dataclass(frozen=True)
class _Mark:
    kind: str  # changed, new, deleted
    until: float
    value: bytes  # of a deleted row


@dataclass
class _Table:
    """The rows of one map as last read."""

    rows: dict[bytes, bytes] = field(default_factory=dict)
    marks: dict[bytes, _Mark] = field(default_factory=dict)
    text: dict[bytes, str] = field(default_factory=dict)  # for the search
    _read: bool = False
    _sorted: list[bytes] | None = None

    def take(self, rows: dict[bytes, bytes], now: float) -> bool:
        """Put what was read now in place of what was; True if it differs."""
        old = {key for key, mark in self.marks.items() if mark.until < now}
        for key in old:
            del self.marks[key]
        if rows == self.rows and self._read:
            self._sorted = None if old else self._sorted
            return False
        if self._read:
            until = now + _MARKED
            for key, value in self.rows.items():
                if key not in rows:
                    self.marks[key] = _Mark("deleted", until, value)
            for key, value in rows.items():
                if self.rows.get(key) != value:
                    self.marks[key] = _Mark("changed" if key in self.rows else "new", until, value)
        self.rows, self._read, self._sorted = rows, True, None
        return True

    def keys(self, order: Callable[[bytes], Any]) -> list[bytes]:
        """All keys in order, and those of rows that have just been deleted."""
        if self._sorted is None:
            gone = [key for key in self.marks if key not in self.rows]
            self._sorted = sorted([*self.rows, *gone], key=order)
        return self._sorted

    def value(self, key: bytes) -> bytes:
        """The value, also of a row that has just been deleted."""
        return self.rows[key] if key in self.rows else self.marks[key].value


class _Terms:
    """Rows in the terms of people, and back."""

    def __init__(self, node: Node) -> None:
        self._node, self._rows = node, node.datapath.rows
        self._layout: dict[str, dict[str, list[list[Any]]]] = {}

    def layouts(self, table: str) -> tuple[Layout, Layout]:
        """Of key and value."""
        pair: tuple[Layout, Layout] = self._node.datapath.module.layouts[f"km_{table}"]
        return pair

    def key(self, table: str, raw: bytes) -> Any:
        """What ``node.maps`` takes as the key."""
        if table == "frontend":
            return unpack_ip(raw)
        if table == "endpoint":
            found = self._rows.unpack_endpoint_key(raw)
            return found.service_id, found.prio, found.index
        if table == "manage":  # cookies and addresses share the key space; the lab has no address 0.x.y.z
            number = int.from_bytes(raw[:8], "little")
            return unpack_ip(raw) if any(raw[8:]) or number >> 24 else number
        return self._rows.unpack_id(raw)

    def order(self, table: str, raw: bytes) -> Any:
        """By address, or by numbers."""
        return raw if table in ("frontend", "manage") else self.key(table, raw)

    def _name(self, number: int) -> str:
        return self._node.publisher.name_of(number) or "unknown id"

    def cells(self, table: str, key: bytes, value: bytes, tables: Mapping[str, _Table]) -> list[Cell]:
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

    def _kind(self, raw: bytes, number: int, tables: Mapping[str, _Table]) -> str:
        for table, what in (("service", "service_id"), ("backend", "backend_uid")):
            if raw in tables[table].rows:
                return f"{what} {number}"
        return f"id {number}, no row in service or backend"

    def _who(self, who: Any) -> Cell:
        pods = list(self._node.pods.values())
        if isinstance(who, int):
            names = [pod for pod in pods if pod.netns_cookie == who]
            text = f"network namespace {who}"
        else:
            names = [pod for pod in pods if pod.address == who]
            text = f"address {who}"
        ended = ", its process has ended" if names and not names[0].alive else ""
        return (names[0].name if names else "no pod of this node", f"{text}{ended}")

    def names(self, tables: Mapping[str, _Table]) -> list[str]:
        """What a row can lead to, by name."""
        keys = [*tables["service"].rows, *tables["backend"].rows][:_NAMES]
        return sorted({self._name(self._rows.unpack_id(key)) for key in keys} - {"unknown id"})

    def fields(self, table: str, value: bytes) -> list[dict[str, Any]]:
        """What can be edited."""
        if table in ("frontend", "endpoint"):
            number = self._rows.unpack_id(value)
            name, label = ("upstream", "Leads to") if table == "frontend" else ("backend", "Backend")
            known = self._node.publisher.name_of(number)
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
        text = self._node.datapath.module.text
        body = text.partition(f"\n{kind} {{")[2].partition("\n}")[0] if kind else ""
        comments = dict(_COMMENT.findall(body))
        fields = zip(layout.fields, _slots(layout), strict=True)
        return [[name or "bytes", start, size, comments.get(name, "")] for (name, _), (start, size) in fields]


def _slots(layout: Layout) -> list[tuple[int, int]]:
    """Offset and size of each field; padding is skipped."""
    slots, at = [], 0
    for number, code in _TOKEN.findall(layout.struct.format):
        size = struct.calcsize(f"={number}{code}")
        if code != "x":
            slots.append((at, size))
        at += size
    return slots


def _folded(layout: Layout, data: bytes) -> list[str]:
    """The bytes of each field in groups of four; a long run of zeros at its end as 00×28."""
    return [_fold(data[start : start + size]) for start, size in _slots(layout)]


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
