"""A waypoint: the pod to which Kmesh sends a connection first, with a TLV that says where it wanted to go.

A real waypoint is an Envoy with a listener filter for the TLV (kmesh-net/waypoint, kmesh_tlv.cc). This one does what
the filter and a TCP route do: it reads the TLV, looks up the original destination among the services it was given, and
carries the bytes to one of their endpoints and back. A connection that does not begin with a TLV is closed. For one
that says nothing it waits without limit, where Envoy's listener_filters_timeout is 15 seconds: between two cells of a
notebook somebody reads.

Its process is an `agent` that serves this on port 15019 and reports what it saw.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import cycle
from typing import NoReturn

from kmesh_lab.traffic import server, tlv_bytes
from kmesh_lab.traffic.agent import Agent, Answer, run
from kmesh_lab.traffic.channel import Message
from kmesh_lab.traffic.sockets import Peer, listening_sockets
from kmesh_lab.traffic.tlv_bytes import OriginalDestination

__all__ = ["PORT", "Waypoint", "main"]

PORT = 15019
"""`kmesh_lab.mesh.WAYPOINT_TARGET_PORT`, which a pod's process does not load; a test holds the two together."""

_CONNECT_SECONDS = 5.0
_REMEMBERED = 1000  # connections
_FIRST_BYTES = 4096  # of each
_CHUNK = 64 * 1024


_Address = IPv4Address | IPv6Address
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Refused(Exception):
    """The waypoint closes a connection: the reason it is counted under, and what exactly was wrong."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


@dataclass(slots=True)
class _Connection:
    """What is remembered of a connection."""

    peer: Peer
    received: bytes = b""
    original: Peer | None = None
    forwarded: Peer | None = None
    problem: str | None = None

    def values(self) -> Message:
        return {
            "peer": self.peer,
            "received": self.received[:_FIRST_BYTES].hex(),
            "original": self.original,
            "forwarded": self.forwarded,
            "problem": self.problem,
        }


class Waypoint(Agent):
    """A pod that also forwards what comes to port 15019."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._services: dict[tuple[_Address, int], cycle[Peer] | None] = {}
        self._changed = threading.Condition()
        self._connections: deque[_Connection] = deque(maxlen=_REMEMBERED)
        self._counts: Counter[str] = Counter()
        threading.Thread(target=self._serve, args=(listening_sockets(PORT),), daemon=True).start()

    def _serve(self, sockets: list[socket.socket]) -> None:
        asyncio.run(server.run_streams(sockets, self._handle))

    def _op_services(self, table: Sequence[tuple[str, int, Sequence[Peer]]]) -> Answer:
        """Replace what is known: rows of address, port and the endpoints behind them, used in turn."""
        services: dict[tuple[_Address, int], cycle[Peer] | None] = {}
        for address, port, endpoints in table:
            rotation = [(str(ip_address(host)), int(target)) for host, target in endpoints]
            services[_key(ip_address(address), port)] = cycle(rotation) if rotation else None
        self._services = services
        return {}

    def _op_captured(self, count: int = 0, timeout: float = 0.0) -> Answer:
        """Return the last 1,000 connections, the oldest first, and how many there ever were, by outcome.

        A connection appears with its first payload, or when it is refused. Wait up to ``timeout`` seconds until there
        were ``count``.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._counts.total() >= count, timeout)
            connections = [connection.values() for connection in self._connections]
            return {"connections": connections, "counts": dict(self._counts)}

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer.get_extra_info("peername")[:2])
        try:
            wanted = await self._read_tlv(reader, connection)
            destination, port = _key(wanted.address, wanted.port)
            rest = connection.received[wanted.size :]
            connection.original = (str(destination), port)
            upstream = await self._connect(destination, port, connection)
        except (_Refused, OSError) as error:
            connection.problem = str(error)
            self._remember(connection, error.reason if isinstance(error, _Refused) else "no TLV")
            return
        await self._carry((reader, writer), upstream, rest, connection)

    async def _read_tlv(self, reader: asyncio.StreamReader, connection: _Connection) -> OriginalDestination:
        try:
            while (found := tlv_bytes.read(connection.received)) is None:
                more = await reader.read(_CHUNK)
                if not more:
                    raise _Refused("no TLV", f"the client closed after {len(connection.received)} bytes, before a TLV")
                connection.received += more
        except ValueError as error:
            raise _Refused("no TLV", str(error)) from None
        return found

    async def _connect(self, destination: _Address, port: int, connection: _Connection) -> _Streams:
        if (destination, port) not in self._services:
            raise _Refused("unknown destination", f"no service has {destination} port {port}")
        rotation = self._services[destination, port]
        if rotation is None:
            raise _Refused("no endpoint", f"the service at {destination} port {port} has no endpoint")
        endpoint = next(rotation)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                upstream = await asyncio.open_connection(*endpoint)
        except OSError as error:
            problem = os.strerror(error.errno) if error.errno else f"no answer in {_CONNECT_SECONDS:.0f} seconds"
            raise _Refused("endpoint unreachable", f"endpoint {endpoint[0]} port {endpoint[1]}: {problem}") from None
        connection.forwarded = endpoint
        return upstream

    async def _carry(self, client: _Streams, upstream: _Streams, rest: bytes, connection: _Connection) -> None:
        """Carry bytes both ways; the end of one direction leaves the other open."""

        async def request() -> None:
            first = rest
            try:
                if not first:  # sk_msg's push makes the TLV a segment of its own
                    first = await client[0].read(_CHUNK)
                    connection.received += first
            finally:
                self._remember(connection, "forwarded")
            upstream[1].write(first)
            await _pump(client[0], upstream[1])

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(request())
                tasks.create_task(_pump(upstream[0], client[1]))
        except* OSError:
            pass  # one side reset its connection: the other one is closed
        finally:
            upstream[1].close()

    def _remember(self, connection: _Connection, outcome: str) -> None:
        with self._changed:
            connection.received = connection.received[:_FIRST_BYTES]
            self._connections.append(connection)
            self._counts[outcome] += 1
            self._changed.notify_all()


def _key(address: _Address, port: int) -> tuple[_Address, int]:
    """Return the destination as services know it: a client with an AF_INET6 socket names an IPv4 VIP in mapped form."""
    return getattr(address, "ipv4_mapped", None) or address, port


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def main(name: str, control_fd: int, cgroup: str) -> NoReturn:
    """Be a waypoint."""
    run(Waypoint, name, control_fd, cgroup)
