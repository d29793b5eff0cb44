"""The rows of the km_* maps as Python values, and the only place where byte order changes.

Outside, addresses are `ipaddress` objects and ports are integers in host order. In the maps an address is 16 bytes in
network order, IPv4 in the first four and the rest zero, and a port is two bytes in network order followed by two zero
bytes (Kmesh bpf/kmesh/workload/include/workload.h, here bpf/include/workload.h).
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kmesh_lab.kernel.maps import Layout
from kmesh_lab.mesh import IPAddress, Policy

__all__ = [
    "Address",
    "BackendRow",
    "EndpointKey",
    "Rows",
    "ServiceRow",
    "address_text",
    "pack_ip",
    "unpack_ip",
    "words_to_bytes",
    "words_to_ip",
]

Address = tuple[IPAddress, int]  # port in host order


def pack_ip(address: IPAddress) -> bytes:
    """16 bytes in network order.

    >>> pack_ip(ipaddress.ip_address("10.96.0.10")).hex()
    '0a60000a000000000000000000000000'
    """
    return address.packed.ljust(16, b"\0")


def unpack_ip(data: bytes) -> IPAddress:
    """An address from 16 bytes: IPv4 when the last twelve are zero, which no IPv6 address in use looks like."""
    if not any(data[4:16]):
        return ipaddress.IPv4Address(data[:4])
    return ipaddress.IPv6Address(data[:16])


def words_to_bytes(words: Iterable[int]) -> bytes:
    """The bytes of 32-bit words as they lie in memory: an address that a record holds as integers."""
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words)


def words_to_ip(words: int | tuple[int, ...]) -> IPAddress:
    """An IPv4 address that a record holds as one integer, or an IPv6 address that it holds as four."""
    if isinstance(words, int):
        return ipaddress.IPv4Address(words_to_bytes([words]))
    return ipaddress.IPv6Address(words_to_bytes(words))


def address_text(address: Address | None) -> str:
    """``10.96.0.10:80``, ``[fd00::1]:80``, or "nowhere"."""
    if address is None:
        return "nowhere"
    ip, port = address
    if ip.version == 4:
        return f"{ip}:{port}"
    return f"[::ffff:{ip.ipv4_mapped}]:{port}" if ip.ipv4_mapped else f"[{ip}]:{port}"


def _waypoint(address: bytes, port: int) -> Address | None:
    return (unpack_ip(address), socket.ntohs(port)) if port else None


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A value of km_service.

    ``policy`` is the number in the map: a number that `Policy` does not know is kept, since the programs then leave the
    destination alone.
    """

    prio_endpoint_count: tuple[int, ...]
    policy: int
    ports: tuple[tuple[int, int], ...]
    waypoint: Address | None = None

    @property
    def policy_name(self) -> str:
        """RANDOM, STRICT, FAILOVER or ``policy 3``."""
        return Policy(self.policy).name if self.policy in Policy._value2member_map_ else f"policy {self.policy}"


@dataclass(frozen=True, slots=True)
class BackendRow:
    """A value of km_backend: a pod, the ids of its services and its own waypoint."""

    address: IPAddress
    services: tuple[int, ...] = ()
    waypoint: Address | None = None


class EndpointKey(NamedTuple):
    """A key of km_endpoint; ``index`` counts from 1 within one priority of one service."""

    service_id: int
    prio: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs


class Rows:
    """Packs and unpacks rows with the layouts of the compiled programs: map name → (key, value)."""

    def __init__(self, layouts: Mapping[str, tuple[Layout, Layout]]) -> None:
        self._id = layouts["km_service"][0].struct
        self.pack_id: Callable[[int], bytes] = self._id.pack
        """A service_id, backend_uid or upstream_id."""
        self._service = layouts["km_service"][1]
        self._endpoint_key = layouts["km_endpoint"][0].struct
        self.pack_endpoint_key: Callable[[int, int, int], bytes] = self._endpoint_key.pack
        """A key of km_endpoint: service_id, prio, index."""
        self._backend = layouts["km_backend"][1]
        self.socket_key, self.storage = layouts["km_socket"][0], layouts["km_sockstorage"]
        self.priorities = dict(self._service.fields)["prio_endpoint_count"]
        self.max_services = dict(self._backend.fields)["service"]

    def unpack_id(self, data: bytes) -> int:
        """A service_id, backend_uid or upstream_id."""
        return int(self._id.unpack(data)[0])

    def unpack_endpoint_key(self, data: bytes) -> EndpointKey:
        """A key of km_endpoint."""
        return EndpointKey(*self._endpoint_key.unpack(data))

    def pack_service(self, row: ServiceRow) -> bytes:
        """A value of km_service; ports keep their order, because the programs take the first slot that matches."""
        return self._service.pack(
            prio_endpoint_count=row.prio_endpoint_count,
            lb_policy=row.policy,
            service_port=[socket.htons(port) for port, _ in row.ports],
            target_port=[socket.htons(target) for _, target in row.ports],
            wp_addr=pack_ip(row.waypoint[0]) if row.waypoint else b"",
            waypoint_port=socket.htons(row.waypoint[1]) if row.waypoint else 0,
        )

    def unpack_service(self, data: bytes) -> ServiceRow:
        """A value of km_service."""
        fields = self._service.unpack(data)
        slots = zip(fields["service_port"], fields["target_port"], strict=True)
        return ServiceRow(
            fields["prio_endpoint_count"],
            fields["lb_policy"],
            tuple((socket.ntohs(port & 0xFFFF), socket.ntohs(target & 0xFFFF)) for port, target in slots if port),
            _waypoint(fields["wp_addr"], fields["waypoint_port"] & 0xFFFF),
        )

    def pack_backend(self, row: BackendRow) -> bytes:
        """A value of km_backend."""
        return self.pack_backend_fields(pack_ip(row.address), row.services, row.waypoint)

    def pack_backend_fields(self, address: bytes, services: tuple[int, ...], waypoint: Address | None) -> bytes:
        """A value of km_backend, from an address that `pack_ip` has packed."""
        return self._backend.struct.pack(
            address,
            len(services),
            *services,
            *(0,) * (self.max_services - len(services)),
            pack_ip(waypoint[0]) if waypoint else b"",
            socket.htons(waypoint[1]) if waypoint else 0,
        )

    def unpack_backend(self, data: bytes) -> BackendRow:
        """A value of km_backend."""
        fields = self._backend.unpack(data)
        return BackendRow(
            unpack_ip(fields["addr"]),
            fields["service"][: fields["service_count"]],
            _waypoint(fields["wp_addr"], fields["waypoint_port"] & 0xFFFF),
        )
