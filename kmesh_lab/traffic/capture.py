"""Packets of a pod, as they pass its interface: a packet socket of the pod, dissected by Scapy.

The pod's process makes the socket (AF_PACKET), so it is in the pod's network namespace, and passes it on. The kernel
queues what passes; no thread and no other process is needed, and nothing is left when the socket is closed.
"""

from __future__ import annotations

import ctypes
import errno
import html
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from itertools import count
from types import TracebackType
from typing import Self, overload

from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import EDecimal

from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.display import counted, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.mesh import WAYPOINT_TARGET_PORT
from kmesh_lab.traffic.pod_process import PodProcess
from kmesh_lab.traffic.tlv import KmeshTLV, split

__all__ = ["Capture"]

_ETH_P_ALL = 0x0003  # linux/if_ether.h; the kernel wants it in network byte order in socket(2), Python's bind does that
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35  # asm-generic/socket.h
_BPF_RET = 0x06  # linux/bpf_common.h
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/socket.h, linux/if_packet.h
_BUFFER = 16 << 20  # bytes, some 10,000 small packets; the default holds 200
_LONGEST = 1 << 19  # of a frame: with segmentation offload, one is as long as what was sent at once
_AT_ONCE = 10_000  # packets
_QUIET_MS = 20  # without a packet for so long, nothing more is coming
_PATIENCE = 0.5  # seconds
_FLAGS = {"S": "SYN", "A": "ACK", "P": "PSH", "F": "FIN", "R": "RST"}
_LEFT = 'style="text-align:left;white-space:nowrap"'
_STAMPING = 0.05  # seconds, once in a process
_SHOWN = 40  # characters of a payload in a table
_EPHEMERAL = range(32768, 61000)  # net.ipv4.ip_local_port_range: another one for each connection

_Frame = tuple[bytes, int, EDecimal]  # the bytes, the direction, the time


class Capture(Sequence[Packet]):
    """What passes a pod's interface in either direction: Scapy packets, in the order of the kernel.

    `kmesh_lab.Pod.capture` makes one. It grows until the ``with`` block ends, which waits until nothing has come for
    20 ms, at most 0.5 s; what was captured stays. ``packet.time`` is the kernel's time stamp in seconds, ``direction``
    is 4 for what the pod sent (PACKET_OUTGOING) and 0 for what came. A payload for port 15019 that begins with a whole
    TLV is dissected as KmeshTLV. Between pods there is no network card: checksums are left to be done by one, and one
    packet may hold more than 1,500 bytes.

    ``port`` keeps only TCP and UDP from or to this port. ``lost`` counts packets for which the queue had no room.
    """

    def __init__(
        self,
        process: PodProcess,
        interface: str = "eth0",
        port: int | None = None,
        name_at: Callable[[Address], str] = lambda address: "",
    ) -> None:
        self.pod_name, self.interface, self.port, self.lost = process.name, interface, port, 0
        self._name_at = name_at
        self._frames: list[_Frame] = []  # not dissected yet
        self._packets: list[Packet] = []
        self._buffer = bytearray(_LONGEST)
        _stamping()
        # Protocol 0 captures nothing: the socket hears this interface only, and from bind on.
        self.socket = process.request("socket", family=socket.AF_PACKET, type=socket.SOCK_RAW).socket()
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self.socket.setblocking(False)
            self._bind()
        except BaseException:
            self.socket.close()
            raise

    def _bind(self) -> None:
        try:
            self.socket.bind((self.interface, _ETH_P_ALL))
        except OSError as error:
            raise LabError(f"pod {self.pod_name!r} has no interface {self.interface!r}: {error.strerror}") from None

    # ---- the packets

    @overload
    def __getitem__(self, index: int) -> Packet: ...
    @overload
    def __getitem__(self, index: slice) -> list[Packet]: ...
    def __getitem__(self, index: int | slice) -> Packet | list[Packet]:
        return self._dissected()[index]

    def __len__(self) -> int:
        return len(self._dissected())

    @property
    def segments(self) -> list[Packet]:
        """The packets that carry bytes of a client or a server: no handshake, no bare acknowledgement, no ARP."""
        return [packet for packet in self._dissected() if _payload(packet)]

    @property
    def payloads(self) -> list[bytes]:
        """The bytes that each of `segments` carries, without the headers."""
        return [payload for packet in self._dissected() if (payload := _payload(packet))]

    def _dissected(self) -> list[Packet]:
        """Scapy takes its time, so a frame is dissected when somebody wants to see it, and not while others come."""
        self._read()
        frames, self._frames = self._frames, []
        for frame in frames:
            packet = _dissect(*frame)
            packet.sniffed_on = self.interface
            if self.port is None or self.port in _ports(packet):
                self._packets.append(packet)
        return self._packets

    def _read(self, wait_ms: int = 0) -> bool:
        """Take what the kernel has queued, not for ever; False if that was nothing."""
        if self.socket.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.poll(wait_ms)
        before = len(self._frames)
        while len(self._frames) - before < _AT_ONCE and (frame := self._receive()) is not None:
            self._frames.append(frame)
        self.lost += struct.unpack("II", self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
        return len(self._frames) > before

    def _receive(self) -> _Frame | None:
        while True:
            try:
                size, control, _, sender = self.socket.recvmsg_into([self._buffer], socket.CMSG_SPACE(16))
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                continue  # said once, when the pod is gone; what it sent before is still queued
            seconds, nanoseconds = struct.unpack("ll", control[0][2])
            return bytes(self._buffer[:size]), sender[2], EDecimal(seconds) + EDecimal(nanoseconds) / 1_000_000_000

    # ---- the end

    def close(self) -> None:
        """Wait until no packet has come for 20 ms, at most 0.5 s, and stop; a second time, do nothing."""
        end = time.monotonic() + _PATIENCE
        while self._read(_QUIET_MS) and time.monotonic() < end:
            pass
        self.release()

    def release(self) -> None:
        """Stop at once; what has been captured stays."""
        if self.closed:
            return
        try:
            _refuse_all(self.socket)
            while self._read():
                pass
        finally:
            self.socket.close()

    @property
    def closed(self) -> bool:
        """True after `close`, and when the pod or the lab is gone."""
        return self.socket.fileno() < 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ---- how it looks

    def __repr__(self) -> str:
        where = f"{self.pod_name} {self.interface}{f' port {self.port}' if self.port else ''}"
        lost = f", {self.lost} lost" if self.lost else ""
        what = f"{counted(len(self.segments), 'segment')}, {counted(sum(map(len, self.payloads)), 'byte')} of payload"
        return one_line(f"<Capture {where}: {what}{lost}>")

    def _repr_html_(self) -> str:
        """The handshakes, and what carries bytes by its place in `segments`."""
        rows = []
        segments = count()
        for packet in self._dissected():
            payload, flags = _payload(packet), packet[TCP].flags if TCP in packet else ""
            if payload or "S" in flags:
                number = f"segments[{next(segments)}]" if payload else "handshake"
                ends = " → ".join(map(self._end, _ends(packet)))
                what = " ".join(_FLAGS[flag] for flag in str(flags) if flag in _FLAGS)
                size = counted(len(payload), "byte")
                rows.append([*map(html.escape, (number, ends, what, size)), _content(packet, payload)])
        lost = f", {self.lost} packets lost" if self.lost else ""
        head = "".join(f"<th {_LEFT}>{name}</th>" for name in ("packet", "from → to", "flags", "size", "payload"))
        body = "".join("<tr>" + "".join(f"<td {_LEFT}>{cell}</td>" for cell in row) + "</tr>" for row in rows)
        caption = html.escape(f"{self.pod_name}, {self.interface}{lost}")
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _end(self, address: Address) -> str:
        ip, port = address
        name = self._name_at(address)
        if port in _EPHEMERAL:
            return name or str(ip)
        return f"{name}:{port}" if name else address_text(address)


def _refuse_all(sock: socket.socket) -> None:
    """Let no more packets into the queue: a socket filter of one instruction, "return 0"."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RET, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))


@lru_cache(maxsize=1)
def _stamping() -> socket.socket:
    """Has the kernel stamp every packet when it comes, as long as this process lives.

    It begins a moment after the first socket has asked for it, by a work queue (net_enable_timestamp, net/core/dev.c).
    A packet that came before has as its time the one when it was read.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    time.sleep(_STAMPING)
    return sock


def _dissect(data: bytes, direction: int, at: EDecimal) -> Packet:
    packet = Ether(data)
    packet.time, packet.direction = at, direction
    if TCP in packet and packet[TCP].dport == WAYPOINT_TARGET_PORT:
        payload = _payload(packet)
        with suppress(ValueError):
            if split(payload):
                packet[TCP].remove_payload()
                packet[TCP].add_payload(KmeshTLV(payload))
    return packet


def _transport(packet: Packet) -> Packet | None:
    return packet.getlayer(TCP) or packet.getlayer(UDP)


def _ports(packet: Packet) -> tuple[int, ...]:
    segment = _transport(packet)
    return () if segment is None else (segment.sport, segment.dport)


def _ends(packet: Packet) -> tuple[Address, Address]:
    segment = packet[UDP] if UDP in packet else packet[TCP]
    ip = segment.underlayer
    return (ip_address(ip.src), segment.sport), (ip_address(ip.dst), segment.dport)


def _payload(packet: Packet) -> bytes:
    segment = _transport(packet)
    return b"" if segment is None else bytes(segment.payload)


def _content(packet: Packet, payload: bytes) -> str:
    """The payload as HTML: a TLV in hex with its meaning, of all else the first line."""
    parts = []
    if KmeshTLV in packet:
        rest = bytes(packet[KmeshTLV][Raw].load) if Raw in packet else b""
        tlv = payload.removesuffix(rest)
        parts.append(f"<code {_LEFT}>{tlv.hex(' ')}</code><br>{html.escape(packet[KmeshTLV].mysummary())}")
        payload = rest
    if payload:
        text = payload.decode("latin-1").splitlines()[0]
        shown = text if text.isprintable() and len(text) <= _SHOWN else repr(payload)[2 : _SHOWN + 2] + "…"
        parts.append(f"<code>{html.escape(shown)}</code>")
    return "<br>".join(parts)
