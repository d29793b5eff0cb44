"""A pod in the place of a waypoint, of which the notebook reads the sockets itself."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

from kmesh_lab.lab import Connection, Lab, Node, Pod
from kmesh_lab.lab.pod import Target
from kmesh_lab.mesh import WAYPOINT_TARGET_PORT, Service

__all__ = ["Listener", "wait_until_acknowledged", "waiting_bytes"]

_PATIENCE = 5.0  # seconds that an accept or a read waits
_CHUNK = 4096
_DELAYED_ACK = 0.03  # seconds, a little less than the kernel's TCP_DELACK_MIN


class Listener:
    """A pod that km_service of one node names as the waypoint of a service, and whose sockets are yours.

    A context manager: the row is as before at its end, and the pod is gone. It takes what the waypoint would get, so
    it shows what a reader has to reckon with.

    >>> with Listener(lab, n1, inventory) as listener:
    ...     listener.receive(shop, b"GET /stock/42", delayed_ack=True)
    """

    def __init__(self, lab: Lab, node: Node, service: Service, *, family: int = 4) -> None:
        self._lab, self._node, self._service = lab, node, service
        self._row = node.maps.service[service]
        self.pod = lab.pod("listener", node, family=family, enrolled=False)
        try:
            kind = socket.AF_INET if family == 4 else socket.AF_INET6
            self.socket = self.pod.process.request("socket", family=kind, type=socket.SOCK_STREAM).socket()
            lab.remember(self, self.pod)
            self.socket.settimeout(_PATIENCE)
            self.socket.bind((str(self.pod.address), WAYPOINT_TARGET_PORT))
            self.socket.listen()
            node.maps.service[service] = replace(self._row, waypoint=(self.pod.address, WAYPOINT_TARGET_PORT))
        except BaseException:
            lab.delete(self.pod)
            raise

    def meet(self, client: Pod, target: Target | None = None) -> tuple[Connection, socket.socket]:
        """Connect a client to the service, or to ``target``; return its connection and the socket at this end."""
        port = None if target is None else WAYPOINT_TARGET_PORT
        connection = client.connect(self._service if target is None else target, port)
        sock, _ = self.socket.accept()
        sock.settimeout(_PATIENCE)
        return connection, sock

    def receive(self, client: Pod, data: bytes, *, delayed_ack: bool = False) -> list[bytes]:
        """What each ``recv(4096)`` returns of a connection on which the client has sent ``data`` at once.

        The first one is called when everything that was sent is there. With ``delayed_ack`` it is called at once, and
        this end does not acknowledge at once (TCP_QUICKACK off): the client hears up to 40 ms later that its first
        segment has come, as it does from a machine that is far away. If this process was stopped for so long that the
        acknowledgement was quicker than the call, it is done again.
        """
        received, late = self._receive(client, data, delayed_ack)
        while late:
            received, late = self._receive(client, data, delayed_ack)
        return received

    def _receive(self, client: Pod, data: bytes, delayed_ack: bool) -> tuple[list[bytes], bool]:
        connection, sock = self.meet(client)
        received: list[bytes] = []
        with connection, sock:
            if delayed_ack:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            start = time.monotonic()
            connection.send(data)
            if not delayed_ack:
                wait_until_acknowledged(connection.socket)
            received.append(sock.recv(_CHUNK))
            late = delayed_ack and time.monotonic() - start > _DELAYED_ACK
            while not b"".join(received).endswith(data):
                received.append(sock.recv(_CHUNK))
        return received, late

    def close(self) -> None:
        """Give the service its row back and take the pod away; a second time, do nothing."""
        if self.socket.fileno() < 0:
            return
        try:
            self._node.maps.service[self._service] = self._row
        finally:
            self._lab.delete(self.pod)

    def release(self) -> None:
        """Stop listening."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<Listener {self.pod.address}:{WAYPOINT_TARGET_PORT} in the place of a waypoint of {self._service.name}>"
        )


def waiting_bytes(sock: socket.socket) -> int:
    """How many bytes have come and have not been read: ioctl(FIONREAD)."""
    return _ask(sock, termios.FIONREAD)


def wait_until_acknowledged(sock: socket.socket) -> None:
    """Wait until the other end has acknowledged all that was sent, at most 5 s: ioctl(TIOCOUTQ)."""
    deadline = time.monotonic() + _PATIENCE
    while _ask(sock, termios.TIOCOUTQ) and time.monotonic() < deadline:
        time.sleep(0.0005)


def _ask(sock: socket.socket, what: int) -> int:
    return int.from_bytes(fcntl.ioctl(sock, what, bytes(4)), sys.byteorder)
