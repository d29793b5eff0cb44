"""The encodings of the vectors, and how what was seen is compared with what was recorded.

Offsets are those of the vectors' description, not of our C headers: the headers are under test.
"""

from __future__ import annotations

import struct
import traceback
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

STORAGE = 64  # bytes of km_sockstorage
PROBE = 128  # bytes of a km_tcp_probe record
AUTH = 40  # bytes of a km_auth_req record

COOKIE = "<netns_cookie:u64le>"
SOURCE_PORT = "<sport:u16be>"

INBOUND = 1  # the direction of a record of the accepting side


class NotStaged(Exception):
    """The lab cannot make this situation; the message says why."""


class Unknown(Exception):
    """The vector holds something this harness has no rule for; that is a mismatch, never a pass."""


def described(error: Exception) -> str:
    """An exception as a mismatch."""
    if isinstance(error, Unknown):
        return str(error)
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})"


# ---- addresses


def unmapped(ip: str) -> str:
    """The address itself, or the IPv4 one inside an IPv4-mapped one."""
    address = ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def packed(ip: str) -> bytes:
    """An address as maps hold it: 16 bytes, IPv4 in the first 4, the rest zero. IPv4-mapped ones become IPv4."""
    return ip_address(unmapped(ip)).packed.ljust(16, b"\0")


def place(ip: bytes, port: int) -> dict[str, Any]:
    """Address and port as the vectors write them."""
    return {"ip": str(ip_address(ip)), "port": port}


def sockaddr(name: tuple[Any, ...] | None) -> dict[str, Any] | None:
    """What getpeername(2) says; None: there is no peer."""
    return {"ip": str(ip_address(name[0])), "port": name[1]} if name else None


def u16be(data: bytes) -> int:
    return int.from_bytes(data[:2], "big")


def filled(text: str, *, cookie: int | None = None, source_port: int | None = None) -> bytes:
    """The bytes of a hex string whose run-time values are now known."""
    if cookie is not None:
        text = text.replace(COOKIE, cookie.to_bytes(8, "little").hex())
    if source_port is not None:
        text = text.replace(SOURCE_PORT, source_port.to_bytes(2, "big").hex())
    return bytes.fromhex(text)


# ---- rows and records


def storage(data: bytes | None, ipv6: bool) -> dict[str, Any] | None:
    """A row of km_sockstorage; where the original destination lies depends on the family of the socket."""
    if data is None:
        return None
    tuple_ = data[24:60]
    masked = bytes(16) + data[16:]
    return {
        "connect_ns_nonzero": any(data[0:8]),
        "last_report_ns_nonzero": any(data[8:16]),
        "direction": data[16],
        "connect_success": data[17],
        "via_waypoint": data[18],
        "has_encoded": data[19],
        "has_set_ip": data[20],
        "orig_dst": place(tuple_[16:32], u16be(tuple_[34:])) if ipv6 else place(tuple_[4:8], u16be(tuple_[10:])),
        "tuple_hex": tuple_.hex(),
        "masked_hex": masked.hex(),
    }


def _tuple(ipv6: bool, data: bytes) -> dict[str, Any]:
    """A tuple in a record: ports in the CPU's order, a v4 one defines only its first 12 bytes."""
    ends = (data[0:16], data[16:32], data[32:36]) if ipv6 else (data[0:4], data[4:8], data[8:12])
    sport, dport = struct.unpack("<HH", ends[2])
    return {"saddr": str(ip_address(ends[0])), "daddr": str(ip_address(ends[1])), "sport": sport, "dport": dport}


def probe(data: bytes) -> dict[str, Any]:
    """A record of km_tcp_probe."""
    if len(data) != PROBE:
        raise Unknown(f"a km_tcp_probe record of {len(data)} bytes instead of {PROBE}")
    (kind,) = struct.unpack_from("<I", data)
    ipv6 = kind == 1
    sent, received, success, direction, state = struct.unpack_from("<5I", data, 60)
    duration, start, last = struct.unpack_from("<3Q", data, 80)
    original = (data[40:56], data[56:58]) if ipv6 else (data[40:44], data[44:46])
    return {
        "type": kind,
        **_tuple(ipv6, data[4:40]),
        "orig_dst_addr": str(ip_address(original[0])),
        "orig_dst_port": int.from_bytes(original[1], "little"),
        "sent_bytes": sent,
        "received_bytes": received,
        "conn_success": success,
        "direction": direction,
        "state": state,
        "duration": duration,
        "start_ns": start,
        "last_report_ns": last,
    }


def auth(data: bytes) -> dict[str, Any]:
    """A record of km_auth_req."""
    if len(data) != AUTH:
        raise Unknown(f"a km_auth_req record of {len(data)} bytes instead of {AUTH}")
    (kind,) = struct.unpack_from("<I", data)
    return {"type": kind, **_tuple(kind == 1, data[4:40])}


# ---- comparing


def canonical(value: Any) -> Any:
    """The same value with every address written in one way, so that == compares addresses and not spellings."""
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, str) and (":" in value or value.count(".") == 3):
        try:
            return str(ip_address(value))
        except ValueError:
            return value
    return value


def differences(expected: Mapping[str, Any], seen: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """One line for each field of ``expected`` that was seen otherwise, or that this harness does not know."""
    for name, value in expected.items():
        if name not in seen:
            yield f"{where}{name}: recorded as {text(value)}, but this harness does not know the field"
        elif isinstance(value, dict) and isinstance(seen[name], dict):
            yield from differences(value, seen[name], f"{where}{name}.")
        elif canonical(value) != canonical(seen[name]):
            yield f"{where}{name} {text(seen[name])}, recorded {text(value)}"


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


def one_of(table: Mapping[str, Value], name: str, field: str) -> Value:
    """What a name in a vector stands for."""
    if name not in table:
        raise Unknown(f"{field} {name!r}: this harness knows {', '.join(table)}")
    return table[name]


def unknown_fields(found: Mapping[str, Any], known: Iterable[str], where: str = "") -> Iterator[str]:
    """One line for each field that no rule of the harness covers."""
    for name in sorted(set(found) - set(known)):
        yield f"{where}{name}: recorded as {text(found[name])}, but this harness does not know the field"


def rows(found: Mapping[bytes, bytes]) -> str:
    """Rows of a map for a mismatch line."""
    return ", ".join(f"{key.hex()}={value.hex()}" for key, value in sorted(found.items())) or "empty"


def unknown_connect(vector: Mapping[str, Any], protocols: Iterable[str] = ("tcp",)) -> Iterator[str]:
    """What no rule covers in how a vector describes its connect, and its server if it has one."""
    yield from unknown_fields(vector["connect"], ("family", "proto", "ip", "port"), "connect.")
    yield from unknown_fields(vector.get("server", {}), ("family", "bind", "port"), "server.")
    if vector["connect"]["proto"] not in protocols:
        yield f"connect.proto {vector['connect']['proto']!r}: this harness knows {', '.join(protocols)}"


def text(value: Any) -> str:
    """A value for a mismatch line: an address and port as one word, long things cut."""
    if isinstance(value, dict) and set(value) == {"ip", "port"}:
        address = str(canonical(value["ip"]))
        return f"[{address}]:{value['port']}" if ":" in address else f"{address}:{value['port']}"
    if value is None:
        return "none"
    words = str(value)
    return words if len(words) <= 160 else f"{words[:157]}…"
