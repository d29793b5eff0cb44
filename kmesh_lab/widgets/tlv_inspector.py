"""The TLV byte by byte: to which field each byte belongs, and what the decoder says when one is changed."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from ipaddress import ip_address
from typing import Any, ClassVar

from scapy.packet import Packet

from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import counted, one_line
from kmesh_lab.traffic.tlv import KmeshTLV, KmeshTLVEnd, split
from kmesh_lab.traffic.tlv_bytes import (
    HEADER,
    PORT,
    TLV_ORG_DST_ADDR,
    TLV_ORG_DST_ADDR4_LENGTH,
    TLV_ORG_DST_ADDR6_LENGTH,
    TLV_PAYLOAD,
)
from kmesh_lab.widgets.view import View

__all__ = ["TlvInspector"]

_REQUEST = b"GET /stock/42"
_EXAMPLES = {
    "IPv4": bytes(KmeshTLV(addr="10.96.0.10", port=80) / KmeshTLVEnd() / _REQUEST),
    "IPv6": bytes(KmeshTLV(addr="fd00:10:96::10", port=80) / KmeshTLVEnd() / _REQUEST),
}
_SHOWN = 256  # bytes in the grid
_MOST = 4096  # bytes that are looked at
_TEXT = 120  # characters of a payload
_NOT_HEX = re.compile(r"[^0-9a-fA-F]")
_SEPARATORS = re.compile(r"(?<![0-9a-f])0x|\\x|[\s:,]+", re.IGNORECASE)


@dataclass(frozen=True)
class _Field:
    """A field of the layout; ``size`` is what it should have, of which ``data`` may be only the beginning."""

    name: str
    start: int
    size: int
    data: bytes
    value: str
    meaning: str
    number: bool = False  # is it a number of more than one byte, so that byte order matters

    @property
    def complete(self) -> bool:
        return len(self.data) == self.size

    def little(self) -> str:
        """What a reader that forgets to convert makes of the bytes."""
        return f"{int.from_bytes(self.data, 'little'):,}" if self.number and self.complete and any(self.data) else ""


class TlvInspector(View):
    """The bytes in front of the payload, to be looked at and changed: ``TlvInspector(waypoint.captured())``.

    ``data`` is bytes or a Scapy packet, of which 4,096 bytes are looked at; without it, an example. Afterwards the
    attribute ``data`` holds the bytes as the page has changed them.
    """

    name: ClassVar[str] = "tlv_inspector"

    def __init__(self, data: bytes | Packet | None = None) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview, Packet, type(None))):
            raise ValueError(f"{data!r} are no bytes: expected bytes or a Scapy packet")
        given = b"" if data is None else bytes(data)
        self._left_out = max(0, len(given) - _MOST)
        own = {} if data is None else {"yours": given[:_MOST]}
        self._examples = {**own, **_EXAMPLES}
        self.data = next(iter(self._examples.values()))
        super().__init__(**self._picture())

    # ---- what the page asks for; ``turn`` comes back in the frame, so that the page knows which answer it has

    def on_edit(self, hex: str, turn: int = 0) -> None:
        """Take ``hex`` as the bytes, if it is hex; if not, keep what there is and say why."""
        try:
            self.data = _parse(str(hex))
        except ValueError as error:
            self.frame = {**self._picture(), "turn": turn, "refused": str(error)}
        else:
            self.frame = {**self._picture(), "turn": turn}

    def on_change(self, at: int, hex: str, turn: int = 0) -> None:
        """Replace the byte at ``at`` by ``hex``, which may be none or many; ``at`` may be just behind the end."""
        try:
            if not 0 <= int(at) <= len(self.data):
                raise ValueError(f"there is no byte {at}: there are {len(self.data)}")
            self.data = self.data[: int(at)] + _parse(str(hex)) + self.data[int(at) + 1 :]
        except ValueError as error:
            self.frame = {**self._picture(), "turn": turn, "refused": str(error)}
        else:
            self.frame = {**self._picture(), "turn": turn}

    def on_example(self, which: str, turn: int = 0) -> None:
        """Go back to one of the examples, or to the bytes that were given."""
        self.data = self._examples.get(which, self.data)
        self.frame = {**self._picture(), "turn": turn}

    # ---- what is shown

    def _picture(self) -> dict[str, Any]:
        data = self.data
        state, text = _verdict(data)
        return {
            "hex": data.hex(),
            "size": len(data),
            "shown": _SHOWN,
            "left_out": self._left_out if data == self._examples.get("yours") else 0,
            "fields": [
                {
                    "name": field.name,
                    "start": field.start,
                    "size": len(field.data),
                    "missing": 0 if field.name == "payload" else field.size - len(field.data),
                    "hex": _cut(field.data[:_SHOWN].hex(" "), 3 * 28),
                    "value": field.value,
                    "meaning": field.meaning,
                    "little": field.little(),
                    "text": field.name in ("payload", "not decoded"),
                }
                for field in _fields(data)
            ],
            "state": state,
            "verdict": text,
            "scapy": _dissection(data),
            "examples": list(self._examples),
            "example": next((name for name, each in self._examples.items() if each == data), ""),
            "refused": "",
            "turn": 0,
        }

    def __repr__(self) -> str:
        return one_line(f"<TlvInspector {counted(len(self.data), 'byte')}: {self.frame['verdict']}>")

    def html(self) -> str:
        """The verdict, a table of the fields, and Scapy's dissection."""
        frame = self.frame
        names = ("field", "offset", "size", "bytes", "value", "meaning", "a little-endian reader gets")
        head = "".join(f'<th style="text-align:left">{name}</th>' for name in names)
        rows = "".join(_static_row(field) for field in frame["fields"])
        cut = f" and {frame['left_out']:,} more" if frame["left_out"] else ""
        return (
            f"<table><caption>{counted(frame['size'], 'byte')}{cut}. {escape(_SAYS[frame['state']])}: "
            f"{escape(frame['verdict'])}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"<p>Scapy's dissection:</p><pre>{escape(frame['scapy'])}</pre>"
        )


_SAYS = {"complete": "Complete", "more": "Incomplete", "error": "Refused"}


def _fields(data: bytes) -> Iterator[_Field]:
    """The fields as far as the bytes go; from the first byte that cannot be a TLV on, they are not decoded."""
    if not data:
        return
    if data[0] != TLV_ORG_DST_ADDR:
        yield _Field("not decoded", 0, len(data), data, "", f"a TLV begins with {TLV_ORG_DST_ADDR:#04x}")
        return
    yield _Field("type", 0, 1, data[:1], f"{TLV_ORG_DST_ADDR:#04x}", "the original destination follows")
    if len(data) > 1:
        part = data[1:HEADER]
        number = str(int.from_bytes(part, "big")) if len(part) == HEADER - 1 else ""
        yield _Field("length", 1, HEADER - 1, part, number, "bytes of address and port", number=True)
    if len(data) <= HEADER:
        return
    length = int.from_bytes(data[1:HEADER], "big")
    if length not in (TLV_ORG_DST_ADDR4_LENGTH, TLV_ORG_DST_ADDR6_LENGTH):
        yield _Field("not decoded", HEADER, len(data) - HEADER, data[HEADER:], "", "the length fits no address")
        return
    yield from _destination(data, length - PORT)


def _destination(data: bytes, size: int) -> Iterator[_Field]:
    """Address, port, end mark and payload of bytes with a header that is right."""
    at = HEADER
    address = data[at : at + size]
    text = _ip_text(address) if len(address) == size else ""
    yield _Field("address", at, size, address, text, f"where the client wanted to go, IPv{4 if size == 4 else 6}")
    at += size
    port = data[at : at + PORT]
    if port:
        number = str(int.from_bytes(port, "big")) if len(port) == PORT else ""
        yield _Field("port", at, PORT, port, number, "the port the client asked for", number=True)
    at += PORT
    mark = data[at : at + HEADER]
    if mark and not bytes(KmeshTLVEnd()).startswith(mark):
        yield _Field("not decoded", at, len(data) - at, data[at:], "", "here the end mark should be")
        return
    if mark:
        yield _Field("end type", at, 1, mark[:1], f"{TLV_PAYLOAD:#04x}", "no more TLVs: the payload follows")
    if len(mark) > 1:
        number = str(int.from_bytes(mark[1:], "big")) if len(mark) == HEADER else ""
        yield _Field("end length", at + 1, HEADER - 1, mark[1:], number, "always 0", number=True)
    at += HEADER
    if data[at:]:
        text = _cut(repr(data[at : at + _TEXT])[2:-1], _TEXT)
        yield _Field("payload", at, len(data) - at, data[at:], text, "the client's own bytes")


def _ip_text(packed: bytes) -> str:
    ip = ip_address(packed)
    mapped = getattr(ip, "ipv4_mapped", None)
    return f"::ffff:{mapped}" if mapped else str(ip)


def _verdict(data: bytes) -> tuple[str, str]:
    """(complete, more or error; what the decoder says)."""
    try:
        found = split(data)
    except ValueError as error:
        return "error", str(error)
    if found is None:
        return "more", _needs(data)
    packet, rest = found
    to = address_text((packet.addr, packet.port))
    return "complete", f"the client asked for {to}; {counted(len(rest), 'byte')} of payload"


def _needs(data: bytes) -> str:
    if len(data) < HEADER:
        return f"needs {counted(HEADER - len(data), 'more byte')} to know the length"
    length = int.from_bytes(data[1:HEADER], "big")
    return f"needs {counted(HEADER + length + HEADER - len(data), 'more byte')}"


def _dissection(data: bytes) -> str:
    if not data:
        return "no bytes"
    try:
        cut = f"\n(the first {_SHOWN} of {len(data):,} bytes)" if len(data) > _SHOWN else ""
        return str(KmeshTLV(data[:_SHOWN]).show(dump=True)).rstrip() + cut
    except (ValueError, struct.error) as error:
        return f"Scapy could not dissect this: {error}"


def _parse(text: str) -> bytes:
    """Bytes of hex, as people paste it: with spaces, colons, commas, 0x or \\x."""
    digits = _SEPARATORS.sub("", text)
    if wrong := _NOT_HEX.search(digits):
        raise ValueError(f"{wrong[0]!r} is no hex digit; expected pairs of 0–9 and a–f")
    if len(digits) % 2:
        raise ValueError(f"{counted(len(digits), 'hex digit')}: the last byte has only one; expected pairs")
    if len(digits) > 2 * _MOST:
        raise ValueError(f"{len(digits) // 2:,} bytes are too many; expected at most {_MOST:,}")
    return bytes.fromhex(digits)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _static_row(field: Mapping[str, Any]) -> str:
    missing = f" (missing {field['missing']})" if field["missing"] else ""
    cells = (
        escape(field["name"]),
        field["start"],
        f"{field['size']}{missing}",
        f"<code>{escape(field['hex'])}</code>",
        escape(field["value"]),
        escape(field["meaning"]),
        escape(field["little"]),
    )
    return "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>"
