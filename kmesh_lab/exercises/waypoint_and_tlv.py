"""Exercises of notebook 04: the waypoint and the TLV."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scapy.packet import Packet

from kmesh_lab.datapath.rows import address_text
from kmesh_lab.exercises.bench import Shop, open_shop
from kmesh_lab.exercises.exercise import Exercise
from kmesh_lab.exercises.prediction import Case, compare
from kmesh_lab.exercises.readers import examine_reader
from kmesh_lab.exercises.verdict import Finding, Mistake
from kmesh_lab.lab import Connection, Lab, Pod, Waypoint
from kmesh_lab.mesh import WAYPOINT_TARGET_PORT, Service
from kmesh_lab.traffic import KmeshTLV, split

__all__ = ["EXERCISES"]

_SENT = b"hello"

# ---- 04.1


def _examine_sizes(answer: Any) -> list[Finding]:
    with open_shop() as it:
        waypoint = it.lab.waypoint("waypoint", node=it.n1)
        stranger = it.lab.pod("stranger", node=it.n1, enrolled=False)
        early = it.shop.connect(it.inventory)
        it.lab.apply(it.inventory, endpoints=[it.near], waypoint=waypoint)
        cases = [
            Case(
                "shop to 10.96.0.10:80",
                _in_front(waypoint, it.shop.connect(it.inventory)),
                "An AF_INET socket, four bytes of address: 5 + 4 + 2 + 5.",
            ),
            Case(
                "shop to ::ffff:10.96.0.10 port 80",
                _in_front(waypoint, it.shop.connect("::ffff:10.96.0.10", 80)),
                "The address means IPv4, and the socket is AF_INET6. msg->family decides, and it is the socket's.",
            ),
            Case(
                "shop to 10.244.1.2:8080, a pod of the service",
                _in_front(it.near, it.shop.connect(it.near)),
                "The waypoint belongs to the service. A pod that is addressed directly has none here.",
            ),
            Case(
                "shop to 10.96.255.1:15008, the waypoint's own address",
                _in_front(waypoint, it.shop.connect("10.96.255.1", 15008)),
                "The shop asked for the waypoint, so nothing was lost: the mark via_waypoint is set only when the "
                "service row has sent the connection there.",
            ),
            Case(
                "connected before inventory.shop got its waypoint, sent afterwards",
                _in_front(it.near, early),
                "Where a connection goes is decided in connect(2), once. This one went to a pod.",
            ),
            Case(
                "connected through the waypoint, sent after it was taken away",
                _after_the_waypoint(it, waypoint),
                "What the socket has to tell is in its own storage since connect(2). The maps are not asked again.",
            ),
            Case(
                "stranger, which is not enrolled, to the waypoint's pod, port 15019",
                _in_front(waypoint, stranger.connect(waypoint.address, WAYPOINT_TARGET_PORT)),
                "No program handles the stranger. The waypoint closes such a connection: its first bytes are no TLV.",
            ),
        ]
    return compare(cases, answer, {"16", "28"}, nobody="0")


def _after_the_waypoint(it: Shop, waypoint: Waypoint) -> frozenset[str]:
    connection = it.shop.connect(it.inventory)
    it.publish()
    return _in_front(waypoint, connection)


def _in_front(server: Pod, connection: Connection) -> frozenset[str]:
    """How many bytes more than it sent the wire carries from a client to a server, as a set of a number; 0 is none."""
    client = connection.socket.getsockname()[1]
    with server.capture() as wire, connection, contextlib.suppress(ConnectionError):
        connection.send(_SENT)
        connection.recv()  # an answer, or the end
    parts = zip(wire.segments, wire.payloads, strict=True)
    extra = sum(len(payload) for packet, payload in parts if packet.sport == client) - len(_SENT)
    return frozenset([str(extra)] if extra else [])


# ---- 04.2

_WANTED, _WANTED_PORT = "fd00:10:96::20", 8081


@dataclass(frozen=True)
class _Heard:
    """What the waypoint made of the bytes, and what came back."""

    original: str
    problem: str
    answer: str


@contextmanager
def _ipv6_shop() -> Iterator[tuple[Waypoint, Pod]]:
    """Two services behind an IPv6 waypoint, and a pod whose bytes no program touches."""
    with Lab() as lab:
        node = lab.node("n1", locality="cn-west/xian/a")
        waypoint = lab.waypoint("waypoint", node=node, family=6)
        visitor = lab.pod("visitor", node=node, family=6, enrolled=False)
        for name, vip, port in (("inventory", "fd00:10:96::10", 80), ("warehouse", _WANTED, _WANTED_PORT)):
            pod = lab.pod(f"{name}-a", node=node, listen=8080, family=6)
            lab.apply(Service(f"{name}.shop", vip, {port: 8080}), endpoints=[pod], waypoint=waypoint)
        yield waypoint, visitor


def _examine_bytes(answer: Any) -> list[Finding]:
    if not isinstance(answer, (bytes, bytearray, Packet)) or not bytes(answer):
        raise Mistake(f"The answer is {answer!r}: expected bytes, with the TLV first and the request behind it.")
    data = bytes(answer)
    with _ipv6_shop() as (waypoint, visitor):
        heard = _send(visitor, waypoint, data)
    wanted, wanted_answer = f"[{_WANTED}]:{_WANTED_PORT}", "warehouse-a: item 42: 7 in stock"
    read, said = heard.original or "no TLV", heard.answer or "nothing"
    why = "" if read == wanted else _what_is_wrong(data, heard)
    answered = said == wanted_answer
    because = "" if answered or why else "The TLV is right. GET /stock/42 has to follow it, and nothing else."
    return [
        Finding("the waypoint reads", wanted, read, "wrong" if why else "right", why),
        Finding("the client gets", wanted_answer, said, "right" if answered else "wrong", because),
    ]


def _send(visitor: Pod, waypoint: Waypoint, data: bytes) -> _Heard:
    answer = b""
    with visitor.connect(waypoint.address, WAYPOINT_TARGET_PORT) as connection, contextlib.suppress(ConnectionError):
        connection.send(data)
        connection.socket.shutdown(socket.SHUT_WR)
        while more := connection.recv():
            answer += more
    seen = waypoint.process.request("captured", count=1, timeout=5.0)["connections"][-1]
    packet = None
    with contextlib.suppress(ValueError):
        packet = split(data)
    original = address_text((packet[0].addr, packet[0].port)) if packet and seen["original"] else ""
    lines = answer.decode(errors="replace").splitlines()
    return _Heard(original, seen["problem"] or "", lines[-1] if lines else "")


def _what_is_wrong(data: bytes, heard: _Heard) -> str:
    length = int.from_bytes(data[1:5], "big")
    if data[:1] != b"\x01":
        return f"{heard.problem}. The type of the original destination is 01."
    if length == 6 and len(data) > 21:
        return (
            "The length says 6, which means IPv4: four bytes of address and two of port. Sixteen and two are 18, hex "
            "12, and a waypoint that reads 6 finds the end mark in the middle of your address."
        )
    if length in (16, 23, 28):
        return (
            f"The length is {length}. It counts what follows it up to the end mark: 16 bytes of address and 2 of port. "
            "Type, length and end mark are not in it."
        )
    if int.from_bytes(data[1:5], "little") in (6, 18):
        return "The length is in network order, too: the high byte comes first, 00 00 00 12."
    if not heard.original:
        return f"{heard.problem}."
    tlv = KmeshTLV(data)
    if tlv.port == int.from_bytes(_WANTED_PORT.to_bytes(2, "little"), "big"):
        return f"{heard.problem}. Network order puts the high byte first: {_WANTED_PORT} is 0x{_WANTED_PORT:x}."
    return f"Read as address and port, your bytes say {heard.original}."


EXERCISES = (
    Exercise(
        "04.1",
        "predict",
        "The client sends `hello` once. How many bytes stand in front of it on the wire: `0`, `16` or `28`? "
        "inventory.shop is behind the waypoint, except where a line says otherwise.",
        "You know what decides: the way that connect(2) chose, the family of the socket, and who asked.",
        _examine_sizes,
    ),
    Exercise(
        "04.2",
        "change",
        "These bytes ask for 10.96.0.10, port 80. Change them so that an IPv6 waypoint takes the request to "
        "warehouse.shop, which is at fd00:10:96::20, port 8081. No program helps: a pod outside the mesh sends them as "
        "they are.",
        "The waypoint cannot tell your bytes from the kernel's. That is why it must not be reachable for everybody.",
        _examine_bytes,
        beside="wanted",
    ),
    Exercise(
        "04.3",
        "build",
        "Write the reader: a function that gets the socket of a new connection and returns the original address, the "
        'port, and the bytes of the request that it has read along, `b""` if none. TLV and request come in any '
        "pieces, and no byte of the request may be lost. Raise `ValueError` as soon as the bytes cannot be a TLV, and "
        "`EOFError` when the client closes before it is whole.",
        "Your reader takes what TCP is: a stream, in which nothing says where a message ends but its own length.",
        examine_reader,
        beside="yours",
    ),
)
