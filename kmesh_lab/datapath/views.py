"""The maps of a node as Python mappings in human terms: names next to ids, ports in host order.

>>> node.maps.service[inventory]
ServiceRow(prio_endpoint_count=(1, 1, 0, 0, 0, 0, 0), policy=2, ports=((80, 8080),), waypoint=None)
"""

from __future__ import annotations

import html
import ipaddress
import struct
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Generic, NamedTuple, TypeVar

from kmesh_lab.datapath.publisher import Publisher
from kmesh_lab.datapath.rows import BackendRow, EndpointKey, Rows, ServiceRow, address_text, pack_ip, unpack_ip
from kmesh_lab.datapath.sockets import SocketView, StorageView
from kmesh_lab.display import html_table
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.maps import Map, Row
from kmesh_lab.mesh import IPAddress, Service, Workload

__all__ = ["MapView", "MapViews", "unpack_manage_key"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
_SHOWN = 50  # rows of a table


class _Kind(NamedTuple, Generic[T]):
    """What the keys, or the values, of a map are."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], T]
    expected: str


class MapView(MutableMapping[K, V], Generic[K, V]):
    """One map.

    Reading waits for a publication that is still being finished. Writing goes to the kernel as it is, which is how a
    learner breaks things; the next `lab.apply` of the service writes its rows again.
    """

    def __init__(
        self,
        target: Map,
        settle: Callable[[], None],
        key: _Kind[K],
        value: _Kind[V],
        columns: Mapping[str, Callable[[K, V], object]],
    ) -> None:
        self._map, self._settle, self._columns = target, settle, columns
        self._key, self._value = key, value
        self._unpack_key, self._unpack_value = key.unpack, value.unpack

    def __contains__(self, key: object) -> bool:
        try:
            self.raw(key)
        except (KeyError, LabError, ValueError):  # also what this node does not know, and what is no key at all
            return False
        return True

    def __getitem__(self, key: Any) -> V:
        return self._unpack_value(self.raw(key)[1])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._settle()
        self._map.update(self._pack_key(key), self._packed(self._value, "value", value))

    def __delitem__(self, key: Any) -> None:
        self._settle()
        if not self._map.delete(self._pack_key(key)):
            raise KeyError(f"{self._map.name} has no row for {key!r}")

    def __iter__(self) -> Iterator[K]:
        self._settle()
        return iter([self._unpack_key(key) for key, _ in self._sorted()])

    def __len__(self) -> int:
        self._settle()
        return len(self._map.rows())

    def _pack_key(self, key: object) -> bytes:
        return self._packed(self._key, "key", key)

    def _packed(self, kind: _Kind[Any], what: str, thing: object) -> bytes:
        try:
            return kind.pack(thing)
        except (AttributeError, OverflowError, TypeError, ValueError, struct.error):
            raise ValueError(f"{self._map.name}: {thing!r} is no {what}; expected {kind.expected}") from None

    def raw(self, key: Any) -> Row:
        """Key and value of a row as the bytes in the map."""
        self._settle()
        packed = self._pack_key(key)
        value = self._map.lookup(packed)
        if value is None:
            raise KeyError(f"{self._map.name} has no row for {key!r}")
        return packed, value

    def _sorted(self) -> list[Row]:
        """Rows in the order of their keys: of addresses the bytes say it, of numbers only the numbers."""
        return sorted(self._map.rows(), key=lambda row: _order(self._unpack_key(row[0]), row[0]))

    def __repr__(self) -> str:
        return f"<{self._map.name}: {len(self):,} of at most {self._map.max_entries:,} rows>"

    def table(self) -> list[tuple[str, ...]]:
        """A header and the first rows as text."""
        self._settle()
        rows = self._sorted()[:_SHOWN]
        decoded = [(self._unpack_key(key), self._unpack_value(value)) for key, value in rows]
        return [tuple(self._columns), *(tuple(str(of(k, v)) for of in self._columns.values()) for k, v in decoded)]

    def _repr_html_(self) -> str:
        header, *rows = self.table()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        caption = html.escape(repr(self)[1:-1]) + (f", the first {_SHOWN}" if len(self) > _SHOWN else "")
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        rows = self.table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        printer.text("\n".join([repr(self), *lines]))


class MapViews:
    """``node.maps``: frontend, service, endpoint, backend and manage; and of single sockets, socket and sockstorage."""

    def __init__(self, maps: Mapping[str, Map], rows: Rows, publisher: Publisher) -> None:
        self._publisher, settle = publisher, publisher.settle
        name = self.name_of
        by_id = _Kind(
            lambda thing: rows.pack_id(self.id_of(thing)),
            rows.unpack_id,
            "a service, a pod, a workload, the name of one, or an id of 32 bits",
        )
        self.frontend: MapView[IPAddress, int] = MapView(
            maps["km_frontend"],
            settle,
            _Kind(_pack_address, unpack_ip, "an address such as '10.96.0.10'"),
            by_id,
            {"address": lambda k, v: k, "upstream_id": lambda k, v: v, "is": lambda k, v: name(v)},
        )
        self.service: MapView[int, ServiceRow] = MapView(
            maps["km_service"],
            settle,
            by_id,
            _Kind(rows.pack_service, rows.unpack_service, "a ServiceRow, with numbers that fit its fields"),
            {
                "service_id": lambda k, v: k,
                "is": lambda k, v: name(k),
                "policy": lambda k, v: v.policy_name,
                "endpoints per priority": lambda k, v: " ".join(map(str, v.prio_endpoint_count)),
                "ports": lambda k, v: ", ".join(f"{port}→{target}" for port, target in v.ports),
                "waypoint": lambda k, v: address_text(v.waypoint) if v.waypoint else "",
            },
        )
        self.endpoint: MapView[EndpointKey, int] = MapView(
            maps["km_endpoint"],
            settle,
            _Kind(
                lambda k: rows.pack_endpoint_key(*self._endpoint_key(k)),
                rows.unpack_endpoint_key,
                "(service, prio, index), such as (inventory, 0, 1)",
            ),
            by_id,
            {
                "service": lambda k, v: name(k.service_id),
                "prio": lambda k, v: k.prio,
                "index": lambda k, v: k.index,
                "backend_uid": lambda k, v: v,
                "is": lambda k, v: name(v),
            },
        )
        self.backend: MapView[int, BackendRow] = MapView(
            maps["km_backend"],
            settle,
            by_id,
            _Kind(rows.pack_backend, rows.unpack_backend, "a BackendRow, with numbers that fit its fields"),
            {
                "backend_uid": lambda k, v: k,
                "is": lambda k, v: name(k),
                "address": lambda k, v: v.address,
                "services": lambda k, v: ", ".join(map(name, v.services)),
                "waypoint": lambda k, v: address_text(v.waypoint) if v.waypoint else "",
            },
        )
        self.manage: MapView[IPAddress | int, int] = MapView(
            maps["km_manage"],
            settle,
            _Kind(_pack_manage_key, unpack_manage_key, "an address, or the cookie of a network namespace"),
            _Kind(rows.pack_id, rows.unpack_id, "a number of 32 bits"),
            {"who": lambda k, v: f"network namespace {k}" if isinstance(k, int) else k, "value": lambda k, v: v},
        )
        self.socket = SocketView(maps["km_socket"], rows.socket_key)
        self.sockstorage = StorageView(maps["km_sockstorage"], rows.storage)

    def __repr__(self) -> str:
        return "<Maps " + ", ".join(repr(view)[1:].partition(" of")[0] for view in self._views()) + ">"

    def _repr_html_(self) -> str:
        return html_table("Maps", [repr(view)[1:-1].split(": ", 1) for view in self._views()])

    def _views(self) -> tuple[MapView[Any, Any], ...]:
        return self.frontend, self.service, self.endpoint, self.backend, self.manage

    def id_of(self, thing: Any) -> int:
        """The id of a service, a workload, a pod, or of a name; a number is itself.

        Raises `LabError` for what this node does not know.
        """
        if isinstance(thing, int):
            return thing
        workload = getattr(thing, "workload", thing)
        if isinstance(workload, Service):
            key = workload.key
        elif isinstance(workload, Workload):
            key = workload.uid
        else:
            key = self._publisher.key_named(str(thing))
        if key not in self._publisher.ids:
            raise LabError(f"{thing!r} is not published on this node; `lab.apply` publishes it")
        return self._publisher.ids.id_of(key)

    def _endpoint_key(self, key: EndpointKey | tuple[Any, int, int]) -> tuple[int, int, int]:
        """A key as the view hands it out, or as people write it: ``(inventory, 0, 1)``."""
        if isinstance(key, EndpointKey):
            return key.service_id, key.prio, key.index
        service, prio, index = key
        return self.id_of(service), prio, index

    def name_of(self, number: int) -> str:
        """The name of a service or workload, or the number if this node knows none."""
        return self._publisher.name_of(number) or f"unknown id {number}"


def _order(key: object, packed: bytes) -> tuple[bool, Any]:
    """Numbers come last: km_manage has both."""
    return (True, key) if isinstance(key, (int, tuple)) else (False, packed)


def _pack_address(address: IPAddress | str) -> bytes:
    return pack_ip(ipaddress.ip_address(address))


def _pack_manage_key(who: IPAddress | str | int) -> bytes:
    return who.to_bytes(8, "little").ljust(16, b"\0") if isinstance(who, int) else _pack_address(who)


def unpack_manage_key(key: bytes) -> IPAddress | int:
    """Cookies and IPv4 addresses share the key space: a small number is a cookie, as the lab has no 0.x.y.z pods."""
    number = int.from_bytes(key[:8], "little")
    return unpack_ip(key) if any(key[8:]) or number >> 24 else number
