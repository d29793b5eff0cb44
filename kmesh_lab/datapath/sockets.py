"""What the maps know of single sockets: km_socket, whose sends sk_msg sees; km_sockstorage, what a socket remembers.

User space can read of km_socket only the keys: the values are the kernel's own pointers. A row of km_sockstorage is
found by the socket itself, so only its holder can read it. Layouts: bpf/include/sock_storage.h, and bpf_sock_tuple of
linux/bpf.h, both in network byte order.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kmesh_lab.datapath.events import DIRECTIONS
from kmesh_lab.datapath.rows import Address, address_text, words_to_ip
from kmesh_lab.display import html_table
from kmesh_lab.kernel.maps import Layout, Map

__all__ = ["SocketKey", "SocketView", "StorageRow", "StorageView"]

_MEMBERS = ("ipv4", "ipv6")
_LEFT = 'style="text-align:left"'
_IPV4_SIZE = 12  # bytes of a key; the rest of the 36 are zero


class SocketKey(NamedTuple):
    """A key of km_socket: the two ends of a connection, this side first."""

    local: Address
    remote: Address


@dataclass(frozen=True, slots=True)
class StorageRow:
    """A value of km_sockstorage, as far as it decides about the TLV.

    ``original`` is the destination that the connect hook kept, None if none was. ``via_waypoint`` and ``original`` are
    set once and never cleared; ``has_encoded`` is set by the first send that sk_msg sees.
    """

    direction: str
    via_waypoint: bool
    has_encoded: bool
    original: Address | None

    def __repr__(self) -> str:
        return (
            f"<km_sockstorage: {self.direction}, original {address_text(self.original)}, "
            f"via_waypoint {self.via_waypoint}, has_encoded {self.has_encoded}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("direction", self.direction),
            ("original destination", address_text(self.original)),
            ("via_waypoint", self.via_waypoint),
            ("has_encoded", self.has_encoded),
        ]
        return html_table("km_sockstorage, of this socket", rows)


class SocketView(Collection[SocketKey]):
    """``node.maps.socket``: the sockets whose sends run sendmsg_prog.

    >>> connection in node.maps.socket
    True
    """

    def __init__(self, target: Map, key: Layout) -> None:
        self._map = target
        self._members = [key.variant("__anon0", member) for member in _MEMBERS]

    def __iter__(self) -> Iterator[SocketKey]:
        return iter(self._rows())

    def __len__(self) -> int:
        return len(self._rows())

    def __contains__(self, thing: object) -> bool:
        """A key, or a connection that is open."""
        key = thing if isinstance(thing, tuple) else _ends(thing)
        return key in self._rows()

    def raw(self, thing: Any) -> bytes:
        """The 36 bytes of a key, of a connection for example; `KeyError` when the socket is not in the map."""
        key = thing if isinstance(thing, tuple) else _ends(thing)
        if key not in (rows := self._rows()):
            raise KeyError(f"{self._map.name} has no socket {thing!r}")
        return rows[key]

    def _rows(self) -> dict[SocketKey, bytes]:
        return {self._key(packed): packed for packed in sorted(set(self._map.keys()))}

    def _key(self, packed: bytes) -> SocketKey:
        fields = self._members[any(packed[_IPV4_SIZE:])].unpack(packed)
        return SocketKey(_end(fields, "s"), _end(fields, "d"))

    def __repr__(self) -> str:
        return f"<{self._map.name}: {len(self):,} of at most {self._map.max_entries:,} sockets>"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td {_LEFT}>{address_text(key.local)}</td><td {_LEFT}>{address_text(key.remote)}</td>"
            f"<td {_LEFT}><code>{_text(raw)}</code></td></tr>"
            for key, raw in self._rows().items()
        )
        head = "".join(f"<th {_LEFT}>{name}</th>" for name in ("local", "remote", "key"))
        return (
            f"<table><caption>{repr(self)[1:-1]}</caption><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>"
        )


class StorageView:
    """``node.maps.sockstorage[connection]``: what the socket of a connection remembers."""

    def __init__(self, target: Map, layouts: tuple[Layout, Layout]) -> None:
        self._map, (self._key, self._value) = target, layouts
        self._members = [self._value.variant("sk_tuple.__anon0", member) for member in _MEMBERS]

    def __getitem__(self, thing: Any) -> StorageRow:
        """`KeyError` when no program has given the socket a row, as for a pod that is not in the mesh."""
        sock = _socket_of(thing)
        packed = self._map.lookup(self._key.struct.pack(sock.fileno()))
        if packed is None:
            raise KeyError(f"{self._map.name} has no row for {thing!r}")
        fields = self._value.unpack(packed)
        ends = self._members[sock.family == socket.AF_INET6].unpack(fields["sk_tuple.__anon0"])
        return StorageRow(
            DIRECTIONS.get(fields["direction"], str(fields["direction"])),
            bool(fields["via_waypoint"]),
            bool(fields["has_encoded"]),
            _end(ends, "d") if fields["has_set_ip"] else None,
        )

    def __contains__(self, thing: object) -> bool:
        try:
            self[thing]
        except KeyError:
            return False
        return True


def _socket_of(thing: Any) -> socket.socket:
    sock: Any = getattr(thing, "socket", thing)
    if not isinstance(sock, socket.socket):
        raise ValueError(f"{thing!r} is neither a connection nor a socket")
    return sock


def _ends(thing: Any) -> SocketKey:
    sock = _socket_of(thing)
    local, remote = sock.getsockname(), sock.getpeername()
    return SocketKey((ipaddress.ip_address(local[0]), local[1]), (ipaddress.ip_address(remote[0]), remote[1]))


def _end(fields: Mapping[str, Any], side: str) -> Address:
    return words_to_ip(fields[f"{side}addr"]), socket.ntohs(fields[f"{side}port"])


def _text(packed: bytes) -> str:
    """The bytes, without the zeros that fill an IPv4 key."""
    if any(packed[_IPV4_SIZE:]):
        return packed.hex(" ")
    return f"{packed[:_IPV4_SIZE].hex(' ')}, then {len(packed) - _IPV4_SIZE} × 00"
