"""Scenarios in which the kernel has a say: other kinds of sockets, early data, a full map."""

from __future__ import annotations

import ctypes
import re
import resource
import socket
import struct
from contextlib import suppress
from typing import Any

from . import wire
from .bench import CLIENT, wait_until
from .plays import Play, matched
from .stage import Found, Link, Stage

_MPTCP = 262
_TCP_FASTOPEN, _TCP_FASTOPEN_CONNECT = 23, 30
_SO_ZEROCOPY, _MSG_ZEROCOPY = 60, 0x4000000
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_SHARED_PORT = 40001


def mptcp(stage: Stage, words: str) -> Play:
    offers = r"MPTCP socket \(client offers MPTCP, server is plain TCP\): "
    matched(words, offers + "connect to service_with_waypoint, send hello, send world")
    client = stage.client(_MPTCP)
    client.connect(stage.address("service_with_waypoint"))
    link = Link(stage, client, stage.accept())
    link.send(b"hello", b"world")
    found = link.found(sockhash_update_errors=stage.node.sockhash_errors())
    del found["storage"]  # it belongs to a subflow, of which user space has no descriptor
    yield found


def send_while_connecting(stage: Stage, words: str) -> Play:
    first = r"first SYN is lost; non-blocking connect, then a blocking send\(\"hello\"\) "
    matched(words, first + r"that waits for the handshake, then send\(\"world\"\)")
    client = stage.client()
    client.setblocking(False)
    drop_all(stage.bench.server)
    with suppress(BlockingIOError):
        client.connect(stage.address("service_with_waypoint"))
    stage.bench.server.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    client.setblocking(True)
    result = client.send(b"hello")
    link = Link(stage, client, stage.accept())
    link.send(b"world")
    yield link.found(send_result=result)


def drop_all(sock: socket.socket) -> None:
    """A classic BPF filter of one instruction: return 0, no packet passes."""
    code = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def tcp_fastopen(stage: Stage, words: str) -> Play:
    stage.bench.server.setsockopt(socket.IPPROTO_TCP, _TCP_FASTOPEN, 16)
    client, where = stage.client(), stage.address("service_with_waypoint")
    more: Found = {}
    if words.startswith("TCP_FASTOPEN_CONNECT"):
        matched(words, r"TCP_FASTOPEN_CONNECT, connect, send\(\"hello\"\), send\(\"world\"\)")
        client.setsockopt(socket.IPPROTO_TCP, _TCP_FASTOPEN_CONNECT, 1)
        client.connect(where)
        more["storage_after_connect"] = stage.storage(client)
        more["send_result"] = client.send(b"hello")
    else:
        syn = r"sendto\(\"hello\", MSG_FASTOPEN\) to service_with_waypoint \(data in SYN\), then send\(\"world\"\)"
        matched(words, syn)
        more["send_result"] = client.sendto(b"hello", socket.MSG_FASTOPEN, where)
    link = Link(stage, client, stage.accept())
    link.send(b"world")
    yield link.found(**more)
    stage.bench.server.setsockopt(socket.IPPROTO_TCP, _TCP_FASTOPEN, 0)


def same_4_tuple_two_netns(stage: Stage, words: str) -> Play:
    both = "two netns, same local address, same local port, both connect to service_with_waypoint"
    matched(words, both)
    second = stage.bench.second
    stage.node.set_manage(stage.enrolled() | second.cookie_row())
    bound = f"::ffff:{CLIENT[socket.AF_INET]}" if stage.vector["mode"] == "mapped" else CLIENT[stage.family]
    links = []
    for place in (stage.bench.first, second):
        with stage.bench.inside(place.netns):
            client = stage.client()
        client.bind((bound, _SHARED_PORT))
        client.connect(stage.address("service_with_waypoint"))
        links.append(Link(stage, client, stage.keep(place.accept())))
    words = yield {"km_socket_entries": len(stage.node.sockets())}
    for link, name in zip(links, ("first", "second"), strict=True):
        matched(words, f"{name} socket sends hello")
        link.send(b"hello")
        words = yield link.found()


def zerocopy_completions(stage: Stage, words: str) -> Play:
    while True:
        to = matched(words, r"three send\(20000, MSG_ZEROCOPY\) to (\w+)")[1]
        link = stage.connect(stage.address(to))
        link.client.setsockopt(socket.SOL_SOCKET, _SO_ZEROCOPY, 1)
        for _ in range(3):
            link.client.send(bytes(20000), _MSG_ZEROCOPY)
        length = len(link.received())
        ranges: Any = completions(link.client, 2)
        if to != "plain_server" and ranges in ([[0, 3]], [[0, 4]]):
            ranges = Either([[0, 3]], [[0, 4]])  # how often the pushed bytes cut a send in two is chance
        words = yield {"completion_id_ranges": ranges, "received_len": length}


class Either:
    """Equal to any of several values."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return other in self.values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return " or ".join(map(repr, self.values))


def completions(sock: socket.socket, last: int) -> list[list[int]]:
    """The ids that the error queue reports as sent, neighbours joined, once id ``last`` is among them."""
    ranges: list[list[int]] = []

    def read() -> bool:
        try:
            while True:
                _, ancillary, _, _ = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
                low, high = struct.unpack_from("=II", ancillary[0][2], 8)
                if ranges and ranges[-1][1] + 1 == low:
                    ranges[-1][1] = high
                else:
                    ranges.append([low, high])
        except BlockingIOError:
            return bool(ranges) and ranges[-1][1] >= last

    wait_until(read)
    wait_until(lambda: bool(read() and False), 0.02)  # a moment for more
    return ranges


def km_socket_full(stage: Stage, words: str) -> Play:
    """No example of this kind was at hand: words and fields are read generously, and what is unclear is not staged."""
    links: list[Link] = []
    while True:
        numbers = [int(number) for number in re.findall(r"\d{4,5}", words) if 8000 <= int(number) <= 9000]
        wanted = max(numbers, default=len(links)) + bool(re.search(r"\b(one more|another|next)\b", words))
        if not wanted:
            raise wire.NotStaged(f"step {words!r}: no example of this kind was at hand, and these words say no number")
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if 2 * wanted + 100 > most:
            raise wire.NotStaged(f"{wanted} connections need {2 * wanted + 100} descriptors, `ulimit -Hn` is {most}")
        stage.node.drain()
        errors: list[int] = []
        while len(links) < wanted:
            links.append(stage.connect(stage.any_service()))
            errors += stage.node.sockhash_errors() if len(links) % 512 == 0 else []
        for link in {links[0], links[-1]} if "first" in words else {links[-1]}:
            link.send(b"hello" if "send" in words or "hello" in words else b"")
        entries = len(stage.node.sockets())
        errors += stage.node.sockhash_errors()
        words = yield Generous(links, {"entries": entries, "errors": errors, "connections": len(links)})


class Generous(dict[str, Any]):
    """What was seen, found under any name that contains the right word."""

    def __init__(self, links: list[Link], numbers: Found) -> None:
        super().__init__(links[-1].found())
        self._first, self._numbers = links[0], numbers

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        for word, value in self._numbers.items():
            if word in name:
                return value
        found = self._first.found() if "first" in name else self
        for field in ("received_len", "received", "storage", "peer"):
            if field in name:
                return found["received_hex" if field == "received" else field]
        raise wire.NotStaged(f"no example of this kind was at hand, and the field {name!r} is not clear")
