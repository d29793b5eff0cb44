"""System calls and TCP segments in words."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address

from kmesh_lab.comparison.recorder import Event
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import counted

__all__ = ["SYN", "asked_address", "call_story", "segment_story"]

SYN = 0x02
_FLAGS = ((0x02, "SYN"), (0x10, "ACK"), (0x01, "FIN"), (0x04, "RST"))
_SENDS = ("write", "sendto", "writev", "sendmsg")
_READS = ("read", "recvfrom", "readv", "recvmsg")
_IPPROTO_IP, _SO_ORIGINAL_DST = 0, 80  # linux/netfilter_ipv4.h
_OPTIONS = {(socket.IPPROTO_TCP, socket.TCP_NODELAY): "TCP_NODELAY", (socket.IPPROTO_TCP, socket.TCP_INFO): "TCP_INFO"}
_CHANGES = {1: "adds", 2: "removes", 3: "changes"}  # EPOLL_CTL_*


def asked_address(call: Event, names: Mapping[int, str]) -> str:
    """The address that a connect(2) was given; empty for any other system call, and for other families."""
    if names.get(call.number) != "connect" or len(call.data) < 8:
        return ""
    family, port, ip = struct.unpack("=H2s4s", call.data[:8])
    if family != socket.AF_INET:
        return ""
    return address_text((IPv4Address(ip), int.from_bytes(port, "big")))


def call_story(name: str, begun: Event | None, ended: Event) -> str:
    """What a system call did; ``begun`` is missing when it waited already before the request."""
    fd = ended.arguments[0]
    failed = f"-{errno.errorcode.get(-ended.ret, -ended.ret)}" if ended.ret < 0 else ""
    if name in _SENDS:
        return f"sends {counted(ended.ret, 'byte')} on {fd}" if not failed else f"sends on {fd}: {failed}"
    if name in _READS:
        nothing = "nothing is there yet" if failed == "-EAGAIN" else failed
        got = counted(ended.ret, "byte") if ended.ret > 0 else "the end of the stream"
        return f"reads {got} from {fd}" if not failed else f"reads from {fd}: {nothing}"
    match name:
        case "socket":
            return f"makes a socket, {ended.ret}"
        case "connect":
            to = asked_address(begun, {begun.number: "connect"}) if begun else ""
            later = ": goes on by itself" if failed == "-EINPROGRESS" else f": {failed}" if failed else ""
            return f"asks for {to} on {fd}{later}"
        case "accept" | "accept4":
            return f"takes a connection, {ended.ret}" if not failed else "takes a connection: there is no other"
        case "close":
            return f"closes {fd}"
        case "epoll_wait" | "epoll_pwait":
            found = f"{counted(ended.ret, 'socket')} to look at" if ended.ret >= 0 else failed
            return f"waits for its sockets: {found}"
        case "epoll_ctl":
            return f"{_CHANGES.get(ended.arguments[1], 'changes')} {ended.arguments[2]} among the sockets it waits for"
        case "getsockopt" if ended.arguments[1:] == (_IPPROTO_IP, _SO_ORIGINAL_DST):
            return f"asks netfilter where {fd} wanted to go, SO_ORIGINAL_DST{': ' + failed if failed else ''}"
        case "getsockopt" | "setsockopt":
            option = _OPTIONS.get(
                (ended.arguments[1], ended.arguments[2]), f"option {ended.arguments[1]}/{ended.arguments[2]}"
            )
            return f"{'asks for' if name == 'getsockopt' else 'sets'} {option} of {fd}"
    return f"{name}({fd}) = {failed or ended.ret}"


def segment_story(event: Event, kind: str) -> tuple[str, str]:
    """The label of a segment, which is its flags or its bytes, and a sentence."""
    flags = "+".join(name for flag, name in _FLAGS if event.number & flag)
    label = f"{event.length} B" if event.length else flags
    what = f"{counted(event.length, 'byte')}" if event.length else flags
    way = "leaves" if kind == "send" else "arrives"
    return label, f"{what} from {address_text(event.source)} {way} for {address_text(event.destination)}"
