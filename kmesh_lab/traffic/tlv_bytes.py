"""The TLV at the start of a stream, read as a waypoint reads it: where the client wanted to go, or why that is no TLV.

Runs inside the waypoint's process. Standard library only: `tlv` has the same bytes as Scapy layers, for people to look
at, and a waypoint that loaded Scapy would take three times as long to start.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

__all__ = ["OriginalDestination", "read"]

# The names of bpf/include/tlv.h.
TLV_ORG_DST_ADDR = 0x01
TLV_PAYLOAD = 0xFE
TLV_ORG_DST_ADDR4_LENGTH = 6
TLV_ORG_DST_ADDR6_LENGTH = 18

HEADER = 5  # type and length, of the TLV and of its end alike
PORT = 2
_END = bytes([TLV_PAYLOAD, 0, 0, 0, 0])


class OriginalDestination(NamedTuple):
    """What a TLV says; ``size`` is how many bytes it and its end mark have, and the client's own follow."""

    address: IPv4Address | IPv6Address
    port: int
    size: int


def read(data: bytes) -> OriginalDestination | None:
    """Read the TLV that a stream begins with; None while it is incomplete, because it may come in any pieces.

    ``ValueError`` as soon as the bytes cannot be a TLV; a waypoint closes such a connection.
    """
    if not data:
        return None
    if data[0] != TLV_ORG_DST_ADDR:
        raise ValueError(f"no TLV: the first byte is {data[0]:#04x}, expected {TLV_ORG_DST_ADDR:#04x}")
    if len(data) < HEADER:
        return None
    length = int.from_bytes(data[1:HEADER], "big")
    if length not in (TLV_ORG_DST_ADDR4_LENGTH, TLV_ORG_DST_ADDR6_LENGTH):
        raise ValueError(
            f"malformed TLV: length {length}, expected {TLV_ORG_DST_ADDR4_LENGTH} (IPv4) or "
            f"{TLV_ORG_DST_ADDR6_LENGTH} (IPv6)"
        )
    end = HEADER + length
    mark = data[end : end + HEADER]
    if not _END.startswith(mark):
        raise ValueError(f"malformed TLV: after the port comes {mark.hex(' ')}, expected the end mark {_END.hex(' ')}")
    if len(mark) < HEADER:
        return None
    address, port = data[HEADER : end - PORT], data[end - PORT : end]
    return OriginalDestination(ip_address(address), int.from_bytes(port, "big"), end + HEADER)
