"""Tries a learner's reader of TLVs on real connections: the kernel's own, and streams that are cut in bad places."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from threading import Thread
from typing import Any

from kmesh_lab.datapath.rows import address_text
from kmesh_lab.exercises.listener import Listener, wait_until_acknowledged, waiting_bytes
from kmesh_lab.exercises.verdict import Finding, Mistake, told
from kmesh_lab.lab import Lab
from kmesh_lab.mesh import Service
from kmesh_lab.traffic import KmeshTLV, KmeshTLVEnd

__all__ = ["examine_reader"]

Reader = Callable[[socket.socket], Any]

_REQUEST = b"GET /stock/42"
_V4 = bytes(KmeshTLV(addr="10.96.0.10", port=80) / KmeshTLVEnd())
_V6 = bytes(KmeshTLV(addr="fd00:10:96::10", port=8080) / KmeshTLVEnd())
_PATIENCE = 2.0  # seconds that a reader may take when everything is there

_ONE_BY_ONE = "recv returns what has come, here one byte. Read on until the length, and then the value, are whole."


@dataclass(frozen=True)
class _Stream:
    """What a client sends, in pieces that are read one by one, and what a reader should make of it.

    ``refused`` is the error it should raise. Without ``closes`` the client stays and waits for an answer.
    """

    name: str
    pieces: Sequence[bytes]
    why: str
    address: tuple[str, int] | None = None
    refused: tuple[type[Exception], ...] = ()
    closes: bool = False

    @property
    def wanted(self) -> str:
        """In words."""
        if self.address is None:
            return self.refused[0].__name__
        return _told((ip_address(self.address[0]), self.address[1]), len(_REQUEST))


_STREAMS = (
    _Stream(
        "IPv4, byte by byte",
        [bytes([each]) for each in _V4 + _REQUEST],
        _ONE_BY_ONE,
        ("10.96.0.10", 80),
    ),
    _Stream(
        "IPv6, cut in the length and in the end mark",
        [_V6[:3], _V6[3:26], _V6[26:] + _REQUEST[:5], _REQUEST[5:]],
        "The length says 18: sixteen bytes of address, two of port, then the end mark of five bytes.",
        ("fd00:10:96::10", 8080),
    ),
    _Stream(
        "a request without a TLV",
        [_REQUEST],
        "The first byte is 47, a G. What is no TLV must not be taken for one.",
        refused=(ValueError,),
    ),
    _Stream(
        "a TLV whose length is 4,294,967,295",
        [_V4[:1] + b"\xff" * 4 + b"\x00" * 20],
        "Anybody can send this. A reader that believes the length waits for 4 GB, or makes room for them.",
        refused=(ValueError,),
    ),
    _Stream(
        "the client closes after 7 bytes",
        [_V4[:7]],
        "At the end of a stream recv returns b'', again and again.",
        refused=(EOFError, ValueError),
        closes=True,
    ),
)


def examine_reader(answer: Any) -> list[Finding]:
    """Try a function of a socket that returns address, port and the rest."""
    if not callable(answer):
        raise Mistake(f"The answer is {answer!r}: expected a function of a socket.")
    with Lab() as lab:
        return [*_from_the_kernel(lab, answer), *_from_streams(lab, answer)]


def _from_the_kernel(lab: Lab, reader: Reader) -> list[Finding]:
    node = lab.node("n1", locality="cn-west/xian/a")
    findings = []
    for family, vip in ((4, "10.96.0.10"), (6, "fd00:10:96::10")):
        client = lab.pod(f"shop-{family}", node=node, family=family)
        endpoint = lab.pod(f"inventory-{family}", node=node, listen=8080, family=family)
        service = Service(f"inventory-{family}.shop", vip, {80: 8080})
        lab.apply(service, endpoints=[endpoint])
        with Listener(lab, node, service, family=family) as listener:
            for late in (False, True) if family == 4 else (False,):
                connection, sock = listener.meet(client)
                if late:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
                connection.send(_REQUEST)
                if not late:
                    wait_until_acknowledged(connection.socket)
                why = (
                    "The first recv returned the 16 bytes of the TLV alone: the request is a segment of its own."
                    if late
                    else "The first five bytes are type and length; the length says how long the value is."
                )
                how = "acknowledged late" if late else "all there"
                stream = _Stream(f"from the kernel, IPv{family}, {how}", [], why, (vip, 80))
                findings.append(_try(stream, reader, connection.socket, sock))
    return findings


def _from_streams(lab: Lab, reader: Reader) -> list[Finding]:
    visitor = lab.pod("visitor", node="n1", enrolled=False)
    service = lab.services["inventory-4.shop"]
    findings = []
    with Listener(lab, lab.nodes["n1"], service) as listener:
        for stream in _STREAMS:
            connection, sock = listener.meet(visitor, listener.pod.address)
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            findings.append(_try(stream, reader, connection.socket, sock))
    return findings


def _try(stream: _Stream, reader: Reader, client: socket.socket, sock: socket.socket) -> Finding:
    """Let the reader read while the client sends; whatever it does, both sockets are closed afterwards."""
    outcome: Future[Any] = Future()

    def read() -> None:
        try:
            outcome.set_result(reader(sock))
        except BaseException as error:
            outcome.set_exception(error)

    thread = Thread(target=read, daemon=True)
    thread.start()
    try:
        for piece in stream.pieces:
            client.sendall(piece)
            _wait(lambda: outcome.done() or not waiting_bytes(sock))
        if stream.closes:
            client.shutdown(socket.SHUT_WR)
        _wait(outcome.done)
        return _finding(stream, outcome, client, sock)
    finally:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # ends a recv that still waits
        thread.join(0.2)
        sock.close()  # ends a loop that takes b"" for something
        client.close()


def _finding(stream: _Stream, outcome: Future[Any], client: socket.socket, sock: socket.socket) -> Finding:
    def wrong(said: str, why: str) -> Finding:
        return Finding(stream.name, said, stream.wanted, "wrong", why)

    if not outcome.done():
        return wrong("still reading", f"Everything has come, and after {_PATIENCE:.0f} s it still reads. {stream.why}")
    if (error := outcome.exception()) is not None:
        if isinstance(error, stream.refused):
            return Finding(stream.name, type(error).__name__, stream.wanted, "right")
        return wrong(type(error).__name__, f"Your code raised {told(error)}. {stream.why}")
    returned = outcome.result()
    try:
        address, port, rest = returned
        found = (ip_address(str(address)), int(port))
        rest = bytes(rest)
    except (TypeError, ValueError):
        return wrong(repr(returned)[:40], f"It returned {returned!r}: expected address, port and bytes. {stream.why}")
    client.shutdown(socket.SHUT_WR)
    request = rest + _remaining(sock)
    said = _told(found, len(request))
    if stream.address is None:
        return wrong(said, stream.why)
    if found != (ip_address(stream.address[0]), stream.address[1]):
        swapped = found[1] != stream.address[1] and found[1] == socket.ntohs(stream.address[1])
        return wrong(said, "Network order puts the high byte first." if swapped else stream.why)
    if request != _REQUEST:
        return wrong(said, _what_happened_to(request))
    return Finding(stream.name, said, stream.wanted, "right")


def _what_happened_to(request: bytes) -> str:
    if request.endswith(_REQUEST):
        return "The end mark, five bytes, was left in front of the request. It is part of the TLV."
    if len(request) < len(_REQUEST):
        return (
            f"Of the request {len(request)} of {len(_REQUEST)} bytes are left: {request!r}. What is read along with "
            "the TLV has to be returned, and no more may be taken away."
        )
    return f"The request is now {request!r}."


def _remaining(sock: socket.socket) -> bytes:
    """What nobody has read, to the end of the stream."""
    left = b""
    with suppress(OSError):
        while more := sock.recv(4096):
            left += more
    return left


def _told(address: Any, size: int) -> str:
    return f"{address_text(address)}, {size} bytes follow"


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not done() and time.monotonic() < end:
        time.sleep(0.0002)
