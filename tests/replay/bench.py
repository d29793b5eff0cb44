"""Where traffic runs: namespaces in which every address is local, and sockets in or outside the cgroup."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .node import Node
from .wire import packed

CLIENT = {socket.AF_INET: "10.66.0.1", socket.AF_INET6: "fd00:66::1"}
FAMILY = {"inet4": socket.AF_INET, "inet6": socket.AF_INET6}
PATIENCE = 5.0  # seconds for what must happen

SO_NETNS_COOKIE, IP_FREEBIND, IPV6_FREEBIND = 71, 15, 78
_CLONE_NEWNET = 0x40000000
_SIOCOUTQ = 0x5411
_NO_WAIT = struct.pack("ii", 1, 0)  # linger: close with a reset, nothing is left in TIME_WAIT
_TIMEOUT = struct.pack("ll", int(PATIENCE), 0)
_libc = ctypes.CDLL(None, use_errno=True)

# Every address is one of ours, and 10.66.0.1 and fd00:66::1 are the source of all that chooses none.
ANY_ADDRESS = (
    "link set lo up",
    f"address add {CLIENT[socket.AF_INET]}/32 dev lo",
    f"address add {CLIENT[socket.AF_INET6]}/128 dev lo nodad",
    f"route add local 0.0.0.0/0 dev lo src {CLIENT[socket.AF_INET]}",
    f"route add local ::/0 dev lo src {CLIENT[socket.AF_INET6]}",
)
_FAST_OPEN = 0x1 | 0x2 | 0x4 | 0x200  # client and server, both without a cookie
SYSCTLS = {"ipv4/tcp_fastopen": _FAST_OPEN, "ipv6/conf/all/disable_ipv6": 0, "ipv6/conf/lo/disable_ipv6": 0}


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare_netns(setup: Sequence[str]) -> int:
    """Move this process into a new namespace, set it up with ``ip``, and return a descriptor of it."""
    _check(_libc.unshare(_CLONE_NEWNET), "unshare")
    for name, value in SYSCTLS.items():
        with suppress(OSError):
            Path("/proc/sys/net", name).write_text(str(value))
    lines = "\n".join(setup) + "\n"
    done = subprocess.run(["ip", "-batch", "-"], input=lines, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.returncode, f"ip -batch: {done.stderr.strip()}")
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Place:
    """A namespace, and in it a server behind every address."""

    def __init__(self, netns: int, slot: int) -> None:
        self.netns, self.slot = netns, slot
        with socket.socket() as probe:
            self.cookie = netns_cookie(probe)
        self.server: socket.socket

    def cookie_row(self) -> dict[bytes, bytes]:
        """The row of km_manage that enrols this namespace."""
        return {self.cookie.to_bytes(8, "little") + bytes(8): bytes(4)}

    def accept(self) -> socket.socket:
        """The next connection that the server got."""
        connection, _ = self.server.accept()
        patient(connection)
        return connection


class Bench:
    """The process of one job: its namespace and, after `join`, its place in the cgroup of the node."""

    def __init__(self) -> None:
        self.first = Place(unshare_netns(ANY_ADDRESS), 0)
        self.second: Place
        self.node: Node

    def join(self, cgroup: Path) -> None:
        """Sockets made from now on belong to the cgroup, and the programs run for them."""
        (cgroup / "cgroup.procs").write_text("0")

    @property
    def cookie(self) -> int:
        """The number by which programs know this namespace."""
        return self.first.cookie

    @property
    def server(self) -> socket.socket:
        """The listener that gets every TCP connect."""
        return self.first.server

    def cookie_row(self) -> dict[bytes, bytes]:
        """The row of km_manage that enrols this namespace."""
        return self.first.cookie_row()

    def address_rows(self) -> dict[bytes, bytes]:
        """The rows of km_manage that enrol the addresses of this namespace."""
        return {packed(ip): bytes(4) for ip in CLIENT.values()}

    # ---- a server behind every address, made before `join`: only the client's side of a connection is under test

    def serve_all(self, backlog: int = 128) -> None:
        """Make the listener."""
        self.first.server = listener(backlog)

    def serve_second(self) -> None:
        """One more namespace with a listener of its own."""
        netns = self.new_netns()
        with self.inside(netns):
            self.second = Place(netns, 1)
            self.second.server = listener()

    def steer(self) -> None:
        """From now on the listeners get every TCP connect."""
        places = [self.first, self.second] if hasattr(self, "second") else [self.first]
        for place in places:
            self.node.steer(place.slot, place.netns)
            self.node.listen(place.slot, place.server)

    def listen(self) -> None:
        """Again, after `Node.refuse`."""
        self.node.listen(self.first.slot, self.first.server)

    def accept(self) -> socket.socket:
        """The next connection that the listener got."""
        return self.first.accept()

    def hang_up(self) -> None:
        """Take what came in and drop it."""
        self.server.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.server.accept()[0].close()
        self.server.setblocking(True)

    def close(self) -> None:
        """Detach the programs."""
        self.node.close()

    # ---- other namespaces

    def new_netns(self, setup: Sequence[str] = ANY_ADDRESS) -> int:
        """One more namespace; this process stays where it is."""
        try:
            return unshare_netns(setup)
        finally:
            _check(_libc.setns(self.first.netns, _CLONE_NEWNET), "setns")

    @contextmanager
    def inside(self, netns: int) -> Iterator[None]:
        """Sockets made meanwhile belong to another namespace."""
        _check(_libc.setns(netns, _CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _check(_libc.setns(self.first.netns, _CLONE_NEWNET), "setns")


def netns_cookie(sock: socket.socket) -> int:
    """The number by which programs know the namespace of a socket."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")


def client_socket(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
    """A blocking socket that gives up after `PATIENCE` seconds and leaves nothing behind when it is closed."""
    sock = socket.socket(family, kind, protocol)
    patient(sock)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_WAIT)
    return sock


def patient(sock: socket.socket) -> None:
    """Blocking calls of this socket end with EAGAIN after `PATIENCE` seconds."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEOUT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)


def linger(sock: socket.socket, reset: bool) -> None:
    """Whether close() resets the connection or ends it with a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_WAIT if reset else bytes(8))


def listener(backlog: int = 128, *, family: int = socket.AF_INET6, bind: str = "::", port: int = 0) -> socket.socket:
    """A listening socket; on :: it takes IPv4, too."""
    sock = socket.socket(family)
    return listen_on(sock, bind, port, backlog)


def listen_on(sock: socket.socket, bind: str, port: int, backlog: int = 16) -> socket.socket:
    """Bind a socket to any address, local or not, and listen."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    free_bind(sock)
    sock.bind((bind, port))
    sock.listen(backlog)
    patient(sock)
    return sock


def free_bind(sock: socket.socket) -> None:
    """Let a socket bind to an address that no interface has."""
    sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def peer_of(sock: socket.socket) -> tuple[Any, ...] | None:
    """getpeername(2), or None."""
    try:
        name: tuple[Any, ...] = sock.getpeername()
    except OSError:
        return None
    return name


def pending(sock: socket.socket) -> bool:
    """Whether bytes were sent that the other side has not acknowledged yet."""
    return any(fcntl.ioctl(sock.fileno(), _SIOCOUTQ, bytes(4)))


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Poll until something holds; False if it does not within that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True
