"""What scenarios play on: addresses by name, and connections of which both ends are ours."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from . import wire
from .bench import FAMILY, Bench, client_socket, peer_of, pending, wait_until

_MODES = {"v4": "inet4", "v6": "inet6", "mapped": "inet6", "dual": "inet6"}

Found = dict[str, Any]


class Stage:
    """What one scenario plays on: its addresses, and the sockets that are closed when it ends."""

    def __init__(self, bench: Bench, vector: Mapping[str, Any], stack: ExitStack) -> None:
        self.bench, self.node, self.vector = bench, bench.node, vector
        self.family = FAMILY[_MODES[vector["mode"]]]
        self._stack = stack

    def address(self, name: str) -> tuple[str, int]:
        """One of the named addresses of the vector."""
        if name not in (self.vector.get("addresses") or {}):
            raise wire.Unknown(f"address {name!r} is not among {sorted(self.vector.get('addresses') or {})}")
        where = self.vector["addresses"][name]
        return where["ip"], where["port"]

    def any_service(self) -> tuple[str, int]:
        """A service of the vector, also where no address has a name."""
        if self.vector.get("addresses"):
            return self.address("service_with_waypoint")
        frontend, service = self.vector["config"]["frontend"][0], self.vector["config"]["service"][0]
        prefix = "::ffff:" if self.vector["mode"] == "mapped" else ""
        return f"{prefix}{frontend['ip']}", service["ports"][0]["service_port"]

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close it at the end."""
        return self._stack.enter_context(sock)

    def client(self, protocol: int = 0, family: int | None = None) -> socket.socket:
        """A new socket, not connected."""
        return self.keep(client_socket(family or self.family, socket.SOCK_STREAM, protocol))

    def accept(self) -> socket.socket:
        """The server's end of the newest connection."""
        return self.keep(self.bench.accept())

    def connect(self, where: tuple[str, int], family: int | None = None) -> Link:
        """A new connection."""
        client = self.client(family=family)
        client.connect(where)
        return Link(self, client, self.accept())

    def storage(self, client: socket.socket) -> Found | None:
        return wire.storage(self.node.storage(client), client.family == socket.AF_INET6)

    def enrolled(self, *, netns: bool = True, address: bool = True) -> dict[bytes, bytes]:
        """Rows of km_manage."""
        return (self.bench.cookie_row() if netns else {}) | (self.bench.address_rows() if address else {})


class Link:
    """A connection of which both ends are ours."""

    def __init__(self, stage: Stage, client: socket.socket, server: socket.socket) -> None:
        self.stage, self.client, self.server = stage, client, server
        self._received = b""

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.client.sendall(part)

    def received(self) -> bytes:
        """Everything that the server got so far."""
        wait_until(self._quiet)
        return self._received

    def _quiet(self) -> bool:
        try:
            while data := self.server.recv(1 << 20, socket.MSG_DONTWAIT):
                self._received += data
        except BlockingIOError:
            return not pending(self.client)
        except OSError:
            pass
        return True  # closed or reset: nothing more can come

    def found(self, **more: Any) -> Found:
        """What most steps record."""
        received = self.received()
        return {
            "peer": wire.sockaddr(peer_of(self.client)),
            "storage": self.stage.storage(self.client),
            "received_hex": received.hex(),
            "received_len": len(received),
            **more,
        }
