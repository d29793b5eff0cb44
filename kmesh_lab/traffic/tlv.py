"""Kmesh's TLV as Scapy layers: where the client wanted to go, told to the waypoint in front of the first payload bytes.

``sendmsg_prog`` writes it (bpf/sendmsg.c, the layout is bpf/include/tlv.h), a waypoint reads it::

    >>> bytes(KmeshTLV(addr="10.96.0.10", port=80) / KmeshTLVEnd() / b"HELLO").hex()
    '01000000060a60000a0050fe0000000048454c4c4f'

Upstream: Kmesh bpf/kmesh/workload/sendmsg.c; the reader is Envoy's listener filter kmesh_tlv (kmesh-net/waypoint).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, ClassVar

from scapy.fields import Field, FieldLenField, IntField, ShortField, XByteField
from scapy.packet import Packet, Raw

from kmesh_lab.traffic import tlv_bytes
from kmesh_lab.traffic.tlv_bytes import HEADER, PORT, TLV_ORG_DST_ADDR, TLV_ORG_DST_ADDR4_LENGTH, TLV_PAYLOAD

__all__ = ["KmeshTLV", "KmeshTLVEnd", "read", "split"]


class _AddressField(Field[IPv4Address | IPv6Address, bytes]):
    """An IPv4 or an IPv6 address; in bytes, the length field says which."""

    def any2i(self, pkt: Packet | None, x: Any) -> IPv4Address | IPv6Address:
        return ip_address(x)

    h2i = any2i

    def i2repr(self, pkt: Packet | None, x: Any) -> str:
        mapped = getattr(x, "ipv4_mapped", None)
        return str(x) if mapped is None else f"::ffff:{mapped}"  # as Python prints it from 3.13 on

    def i2len(self, pkt: Packet, x: Any) -> int:
        return len(x.packed)

    def addfield(self, pkt: Packet, s: bytes, val: IPv4Address | IPv6Address | None) -> bytes:
        return s + (b"" if val is None else val.packed)

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, IPv4Address | IPv6Address]:
        size = _address_size(pkt.length)
        return s[size:], ip_address(bytes(s[:size]))


class KmeshTLV(Packet):
    """The original destination of a connection: address and port, as the client gave them to connect(2)."""

    name = "KmeshTLV"
    fields_desc: ClassVar = [
        XByteField("type", TLV_ORG_DST_ADDR),
        FieldLenField("length", None, length_of="addr", fmt="I", adjust=lambda pkt, size: size + PORT),
        _AddressField("addr", "0.0.0.0"),
        ShortField("port", 0),
    ]

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Return the end mark, or Raw where it is missing."""
        return KmeshTLVEnd if payload[0] == TLV_PAYLOAD else Raw

    def mysummary(self) -> str:
        return f"KmeshTLV {self.addr} port {self.port}"


class KmeshTLVEnd(Packet):
    """The end of the TLVs: the client's own bytes follow."""

    name = "KmeshTLVEnd"
    fields_desc: ClassVar = [XByteField("type", TLV_PAYLOAD), IntField("length", 0)]


def read(data: bytes) -> Packet | None:
    """Take the start of a stream for a TLV, whatever is wrong with it; None if it ends before address and port do."""
    size = HEADER + _address_size(int.from_bytes(data[1:HEADER], "big")) + PORT
    return KmeshTLV(data) if len(data) >= size else None


def split(data: bytes) -> tuple[Packet, bytes] | None:
    """Take the TLV from the start of a stream: return it with its end mark, and the client's bytes after it.

    None while it is incomplete: TLV and request may come in any pieces. ``ValueError`` as soon as the bytes cannot be a
    TLV; a waypoint closes such a connection.
    """
    found = tlv_bytes.read(data)
    return None if found is None else (KmeshTLV(data[: found.size]), data[found.size :])


def _address_size(length: int) -> int:
    """How many bytes of address a length means: Envoy's filter, too, takes every length but that of IPv4 for IPv6."""
    return 4 if length == TLV_ORG_DST_ADDR4_LENGTH else 16
