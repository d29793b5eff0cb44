"""The sockets that a pod makes: one that connects, some that listen, and the two cookies the programs know them by.

Runs inside the pod's process, so every socket is made in the pod's network namespace and cgroup. Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import Any, NamedTuple

__all__ = [
    "Destination",
    "Peer",
    "cookie_of",
    "disconnect",
    "listening_sockets",
    "netns_cookie",
    "open_and_connect",
    "resolve",
]

# asm-generic/socket.h; Python's socket module has neither name.
_SO_COOKIE = 57
_SO_NETNS_COOKIE = 71  # Linux 5.14

_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_BACKLOG = 1024
_NO_TIMEOUT = struct.pack("ll", 0, 0)

Peer = tuple[str, int]


class Destination(NamedTuple):  # a dataclass would cost the start of a pod 8 ms
    """An address as bind(2) and connect(2) take it, and the kind of socket for it."""

    family: socket.AddressFamily
    type: socket.SocketKind
    sockaddr: tuple[Any, ...]


def resolve(address: str, port: int, protocol: str = "tcp") -> Destination:
    """Return the destination; the text of the address decides the family, so ``::ffff:10.0.0.1`` is AF_INET6.

    ``ValueError`` on a name instead of numbers: a resolver would answer for the host, not for the pod.
    """
    if protocol not in _TYPES:
        raise ValueError(f"unknown protocol {protocol!r}: expected tcp or udp")
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"{port!r} is not a port: expected an int from 0 to 65535")
    try:
        found = socket.getaddrinfo(address, port, type=_TYPES[protocol], flags=socket.AI_NUMERICHOST)
    except OSError:  # gaierror, whose numbers are no errno
        raise ValueError(f"{address!r} is not an IPv4 or IPv6 address") from None
    family, kind, _, _, sockaddr = found[0]
    return Destination(family, kind, sockaddr)


def open_and_connect(destination: Destination, timeout: float | None) -> tuple[socket.socket, Peer | None, int]:
    """Make a socket and call connect(2) on it once; return the socket with its peer and 0, or with None and the errno.

    The kernel keeps the time, so the socket stays a blocking one, which is what a client in a notebook wants.
    """
    sock = socket.socket(destination.family, destination.type)
    try:
        if timeout is not None:
            microseconds = max(1, round(timeout * 1_000_000))  # 0 would mean for ever
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *divmod(microseconds, 1_000_000)))
        code = sock.connect_ex(destination.sockaddr)
        if timeout is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _NO_TIMEOUT)
        if code:
            return sock, None, errno.ETIMEDOUT if code == errno.EINPROGRESS else code
        try:
            return sock, sock.getpeername()[:2], 0
        except OSError as error:  # the server was quicker to reset the connection than we to ask
            return sock, None, error.errno or errno.EIO
    except BaseException:
        sock.close()
        raise


def disconnect(sock: socket.socket) -> None:
    """Dissolve the connection of a socket and keep the socket: connect(2) to AF_UNSPEC, which Python does not offer."""
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(sock.fileno(), nowhere, len(nowhere)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def listening_sockets(port: int, protocol: str = "tcp") -> list[socket.socket]:
    """Return bound sockets, one per family: IPv4 and IPv6 apart, so that an IPv4 client is an AF_INET socket here too.

    Port 0 takes a free one. ``OSError`` when the port is taken; then none stays open.
    """
    sockets: list[socket.socket] = []
    try:
        for address in ("0.0.0.0", "::"):
            destination = resolve(address, port, protocol)
            try:
                sock = socket.socket(destination.family, destination.type)
            except OSError as error:
                if sockets and error.errno == errno.EAFNOSUPPORT:
                    break  # a kernel without IPv6
                raise
            sockets.append(sock)
            if destination.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if destination.type == socket.SOCK_STREAM:  # two UDP servers could share the port without noticing
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(sock, destination, f"{protocol} {address} port {port}")
            if destination.type == socket.SOCK_STREAM:
                sock.listen(_BACKLOG)
            port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(sock: socket.socket, destination: Destination, what: str) -> None:
    try:
        sock.bind(destination.sockaddr)
    except OSError as error:
        code = error.errno or errno.EIO
        raise OSError(code, f"{what}: {os.strerror(code)}") from None


def cookie_of(sock: socket.socket) -> int:
    """Return the socket cookie, by which the trace knows the socket."""
    return _u64(sock, _SO_COOKIE)


def netns_cookie() -> int:
    """Return the cookie of this process's network namespace, by which km_manage knows an enrolled pod."""
    with socket.socket() as sock:
        return _u64(sock, _SO_NETNS_COOKIE)


def _u64(sock: socket.socket, option: int) -> int:
    value: int = struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, option, 8))[0]
    return value
