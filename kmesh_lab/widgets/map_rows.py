"""The rows of all maps of a node as last read: found, described for the page, and as tables."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from kmesh_lab.datapath.datapath import Datapath
from kmesh_lab.display import counted
from kmesh_lab.kernel.maps import Map
from kmesh_lab.widgets.map_table import Table
from kmesh_lab.widgets.map_terms import Terms, folded

__all__ = ["COLUMNS", "PAGE", "MapRows"]

COLUMNS = {
    "frontend": ("address", "leads to"),
    "service": ("service", "policy", "endpoints at priority 0 … 6", "ports", "waypoint"),
    "endpoint": ("service", "priority", "index", "backend"),
    "backend": ("backend", "address", "services", "waypoint"),
    "manage": ("in the mesh", "value"),
}
PAGE = 50  # rows


class MapRows:
    """What was read from the maps of a node, a `Table` for each, in the terms of ``terms``."""

    def __init__(self, node: str, datapath: Datapath, terms: Terms) -> None:
        self._node, self._datapath, self._terms = node, datapath, terms
        self.tables = {table: Table() for table in COLUMNS}

    def map(self, table: str) -> Map:
        """The map itself."""
        return self._datapath.maps[f"km_{table}"]

    def read(self) -> None:
        """Look at every map, and mark what is not as it was."""
        now = time.monotonic()
        fresh = {table: dict(self.map(table).rows()) for table in COLUMNS}
        changed = [self.tables[table].take(rows, now) for table, rows in fresh.items()]  # each of them, so no any(…)
        if any(changed):
            for each in self.tables.values():
                each.text.clear()  # a row of one map can change what a row of another means

    def found(self, table: str, search: str) -> list[bytes]:
        """The keys of the rows that have every word of ``search`` in them, in order."""
        each = self.tables[table]
        keys = each.keys(lambda key: self._terms.order(table, key))
        words = search.lower().split()
        if not words:
            return keys
        for key in keys:
            if key not in each.text:
                cells = self._terms.cells(table, key, each.value(key), self.tables)
                each.text[key] = " ".join(part for cell in cells for part in cell).lower()
        return [key for key in keys if all(word in each.text[key] for word in words)]

    def tab(self, table: str) -> dict[str, Any]:
        """A map for the page."""
        each = self.tables[table]
        most = self.map(table).max_entries
        return {"name": table, "count": len(each.rows), "most": most, "marks": len(each.marks)}

    def row(self, table: str, key: bytes) -> dict[str, Any]:
        """A row for the page."""
        each = self.tables[table]
        value, mark = each.value(key), each.marks.get(key)
        return {
            "key": key.hex(),
            "value": value.hex(),
            "bytes": [folded(self._terms.layouts(table)[0], key), folded(self._terms.layouts(table)[1], value)],
            "cells": [list(cell) for cell in self._terms.cells(table, key, value, self.tables)],
            "mark": mark.kind if mark else "",
            "fields": [] if mark and mark.kind == "deleted" else self._terms.fields(table, value),
        }

    def html(self, looked_at: str, search: str) -> str:
        """All five maps, the first rows of each, with their bytes; of ``looked_at`` those that are searched for."""
        parts = []
        for table, columns in COLUMNS.items():
            words = search if table == looked_at else ""
            keys = self.found(table, words)
            most = f"at most {self.map(table).max_entries:,}"
            title = f"km_{table} on {self._node}: {counted(len(self.tables[table].rows), 'row')} of {most}"
            title += f", {len(keys)} with {words!r}" if words else ""
            title += f", the first {PAGE}" if len(keys) > PAGE else ""
            head = "".join(f"<th>{escape(name)}</th>" for name in (*columns, "key", "value"))
            body = "".join(self._html_row(table, key) for key in keys[:PAGE])
            parts.append(
                f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            )
        return "".join(parts)

    def _html_row(self, table: str, key: bytes) -> str:
        value = self.tables[table].value(key)
        cells = [" ".join(filter(None, cell)) for cell in self._terms.cells(table, key, value, self.tables)]
        layouts = self._terms.layouts(table)
        raw = [" | ".join(folded(layout, data)) for layout, data in zip(layouts, (key, value), strict=True)]
        if table == "manage" and isinstance(self._terms.key(table, key), int):  # a cookie: another one at every run
            cells[0], raw[0] = cells[0].partition(" network namespace")[0] + " network namespace", "its cookie"
        shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "".join(
            f"<td><code>{escape(text)}</code></td>" for text in raw
        )
        return f"<tr>{shown}</tr>"
