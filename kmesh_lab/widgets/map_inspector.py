"""What is in a node's maps right now, in human terms and as bytes, and what happens when a row is changed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import Any, ClassVar

from kmesh_lab.datapath.views import MapViews
from kmesh_lab.display import choices, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.lab import Node
from kmesh_lab.widgets.live import LiveView
from kmesh_lab.widgets.map_rows import COLUMNS, PAGE, MapRows
from kmesh_lab.widgets.map_terms import Terms

__all__ = ["MapInspector"]


class MapInspector(LiveView):
    """The maps of one node; ``repair`` is called by the button "Apply again", for example ``lambda: lab.apply(…)``.

    >>> inspector = MapInspector(n1, repair=lambda: lab.apply(inventory, [near, far]))
    >>> inspector.show("service", search="inventory")
    >>> inspector.edit("service", inventory, policy="RANDOM")
    >>> inspector.undo()

    A page that shows it looks ten times a second, and less often when a look takes long, until `stop`.
    """

    name: ClassVar[str] = "map_inspector"

    def __init__(self, node: Node, repair: Callable[[], object] | None = None) -> None:
        self._held = weakref.ref(node)  # an inspector on a page does not keep a lab that nobody else holds
        self._name, self._where, self._datapath = node.name, str(node.place.locality), node.datapath
        self._repair, self._terms = repair, Terms(node)
        self._lock = threading.RLock()
        self._rows = MapRows(node.name, node.datapath, self._terms)
        self._table, self._search, self._page = "frontend", "", 1
        self._undo: tuple[str, bytes, bytes] | None = None
        self._answer: dict[str, Any] = {"text": "", "ok": True, "row": ""}
        _ = self._maps  # LabError if the lab is closed
        node.publisher.settle()  # rows that are about to go are no news
        self._read()
        super().__init__(**self._frame())

    # ---- what a cell and the page can do

    def show(self, table: str, search: str = "", page: int = 1) -> None:
        """Turn to a map, to the rows that contain ``search`` in a name, an address or an id, and to a page of them."""
        self._check(table)
        if type(page) is not int or page < 1:
            raise ValueError(f"page {page!r}: expected 1 or more")
        with self._lock:
            self._table, self._search, self._page = table, str(search), page
            self._draw()

    def edit(self, table: str, key: Any, **fields: str) -> None:
        """Write a row: ``upstream`` of a frontend, ``backend`` of an endpoint, ``policy``, ``count0`` … of a service.

        With the checks of ``node.maps``, which also says what a key may be.
        """
        packed, value = getattr(self._maps, self._check(table)).raw(key)
        self._write(table, packed, value, fields)

    def delete(self, table: str, key: Any) -> None:
        """Delete a row."""
        packed, value = getattr(self._maps, self._check(table)).raw(key)
        self._write(table, packed, value, None)

    def undo(self) -> None:
        """Put back the row that was edited or deleted last, byte by byte."""
        _ = self._maps
        with self._lock:
            if self._undo is None:
                raise LabError("nothing was edited or deleted here, so there is nothing to undo")
            table, key, value = self._undo
            self._rows.map(table).update(key, value)
            self._undo = None
            self._say(f"km_{table}: the row is as it was.", key)

    def repair(self) -> None:
        """Write the rows again that should be there, by the callback."""
        if self._repair is None:
            raise LabError("this inspector has no repair callback: MapInspector(node, repair=lambda: lab.apply(…))")
        self._repair()
        self._undo = None
        self._say("Applied again: the published services have their rows.")

    # ---- messages from the page

    def _heard(self, content: Any) -> None:
        if isinstance(content, dict):
            message = content.pop("message", 0)
            with self._errors_shown(str(content.get("key", ""))):
                super()._heard(content)
            self._message = message  # not earlier: the feed draws meanwhile, with the answer to another message
            self._draw()

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

    @property
    def _subject(self) -> str:
        return f"MapInspector of {self._name}"

    @property
    def _maps(self) -> MapViews:
        node = self._held()
        if node is None:
            raise LabError("this lab is closed; make another one with Lab()")
        return node.maps

    def _check(self, table: str) -> str:
        if table not in COLUMNS:
            raise ValueError(f"no map {table!r}: expected {choices(COLUMNS)}")
        return table

    def _write(self, table: str, key: bytes, was: bytes, fields: Mapping[str, str] | None) -> None:
        """Edit a row, or delete it, unless it has changed meanwhile."""
        view: Any = getattr(self._maps, table)
        with self._lock:
            self._datapath.publisher.settle()
            now = self._rows.map(table).lookup(key)
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
        try:
            _ = self._maps
            self._rows.read()
        except (LabError, OSError):
            self._state = (
                "The lab is closed: these are the last rows that were read. Make a new lab and run the cell again."
            )

    # ---- the picture

    def _frame(self) -> dict[str, Any]:
        table = self._table
        found = self._rows.found(table, self._search)
        pages = max(1, -(-len(found) // PAGE))
        page = min(self._page, pages)
        return {
            **self._switches(),
            "node": self._name,
            "where": self._where or "no locality",
            "table": table,
            "tables": [self._rows.tab(name) for name in COLUMNS],
            "columns": list(COLUMNS[table]),
            "layout": self._terms.layout(table),
            "rows": [self._rows.row(table, key) for key in found[(page - 1) * PAGE : page * PAGE]],
            "search": self._search,
            "found": len(found),
            "page": page,
            "pages": pages,
            "names": self._terms.names(self._rows.tables) if table in ("frontend", "endpoint") else [],
            "answer": self._answer,
            "undo": self._undo is not None,
            "repair": self._repair is not None,
        }

    def html(self) -> str:
        """All five maps, the first rows of each, with their bytes."""
        state = f"<p>{escape(self._state)}</p>" if self._state else ""
        return state + self._rows.html(self._table, self._search)

    def __repr__(self) -> str:
        rows = ", ".join(f"{table} {len(each.rows)}" for table, each in self._rows.tables.items())
        return one_line(f"<MapInspector {self._name}: {rows} rows{', closed' if self._state else ''}>")
