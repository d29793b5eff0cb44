"""dns: who gets a query to port 53, and from whom does the answer seem to come?"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from . import wire
from .bench import CLIENT, FAMILY, PATIENCE, Bench, free_bind, peer_of
from .node import Seen
from .wire import names

_KNOWN = names("id category note netns_managed config steps")
_OPERATIONS = {
    "sendto": {"op", "sock", "family", "ip", "port"},
    "connect": {"op", "sock", "family", "ip", "port"},
    "unsolicited": {"op", "sock", "family", "ip", "port"},
    "send": {"op", "sock", "family"},
}
# A step leaves out the fields of what did not happen.
_ABSENT: dict[str, Any] = {"hooks": [], "recv_hooks": []}
_ABSENT |= dict.fromkeys(("server_saw_dst", "recvfrom_source", "data", "recv_errno", "peername"))
_IPV6_RECVPKTINFO, _IPV6_PKTINFO, _IP_PKTINFO = 49, 50, 8
_NOTHING_COMES = 0.1  # seconds; the vectors waited 0.5, but on lo a datagram arrives before sendto() returns


class Dns:
    """One process' share of a dns file."""

    def __init__(self, bench: Bench, vectors: Sequence[Mapping[str, Any]], trials: int | None) -> None:
        self.bench = bench
        operations = [step["op"] for vector in vectors for step in vector["steps"]]
        # Servers are made outside the cgroup: the programs must not see their answers.
        self._servers = {port: Server(port) for port in {53} | {operation.get("port", 53) for operation in operations}}
        self._clients: dict[int, socket.socket] = {}

    def begin(self) -> None:
        """Nothing to steer: the servers have every address."""

    def replay(self, vector: Mapping[str, Any]) -> Iterator[str]:
        """The mismatches of one vector."""
        yield from wire.unknown_fields(vector, _KNOWN)
        self.bench.node.reset(vector["config"], self.bench.cookie_row() if vector["netns_managed"] else {})
        try:
            for number, step in enumerate(vector["steps"], 1):
                where = f"step {number} ({_words(step['op'])}): "
                yield from wire.unknown_fields(step, ("op", "result"), where)
                yield from wire.differences(_ABSENT | step["result"], self._operate(step), where)
        finally:
            for sock in self._clients.values():
                sock.close()
            self._clients.clear()

    def _client(self, operation: Mapping[str, Any]) -> socket.socket:
        """The socket with this number; made when it is first named. A v4 one has an address from the start."""
        if operation["sock"] not in self._clients:
            family = wire.one_of(FAMILY, operation["family"], "family")
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.bind((CLIENT[family] if family == socket.AF_INET else "::", 0))
            self._clients[operation["sock"]] = sock
        return self._clients[operation["sock"]]

    def _operate(self, step: Mapping[str, Any]) -> dict[str, Any]:
        operation = step["op"]
        if operation["op"] not in _OPERATIONS or set(operation) - _OPERATIONS[operation["op"]]:
            raise wire.Unknown(f"{dict(operation)}: this harness does not know the operation")
        node, client = self.bench.node, self._client(operation)
        node.forget()
        found = dict(_ABSENT)
        if operation["op"] == "connect":
            client.connect((operation["ip"], operation["port"]))
            found["peername"] = wire.sockaddr(peer_of(client))
        elif operation["op"] == "unsolicited":
            self._servers[operation["port"]].send(b"u", operation["ip"], client)
        else:
            self._ask(operation, client, found)
        found["hooks"] = [_hook(seen, "target") for seen in node.seen()]
        node.forget()
        if operation["op"] != "connect":
            found |= _receive(client, _NOTHING_COMES if "recv_errno" in step["result"] else PATIENCE)
            found["recv_hooks"] = [_hook(seen, "source_after_hook") for seen in node.seen()]
        found["storage"] = wire.storage(node.storage(client), client.family == socket.AF_INET6)
        return found

    def _ask(self, operation: Mapping[str, Any], client: socket.socket, found: dict[str, Any]) -> None:
        if operation["op"] == "send":
            client.send(b"q")
        else:
            client.sendto(b"q", (operation["ip"], operation["port"]))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for server in self._servers.values():
                if destination := server.answer():
                    found["server_saw_dst"] = destination
                    return


class Server:
    """Answers what comes to a port at any address, from the address that was asked."""

    def __init__(self, port: int) -> None:
        self._socks = {}
        for family, bind in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                free_bind(sock)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            sock.setblocking(False)
            sock.bind((bind, port))
            self._socks[family] = sock

    def answer(self) -> str | None:
        """Answer one query, if there is one; to which address it came."""
        for family, sock in self._socks.items():
            try:
                data, ancillary, _, client = sock.recvmsg(512, 128)
            except BlockingIOError:
                continue
            (_, _, info) = ancillary[0]
            asked = ip_address(info[8:12] if family == socket.AF_INET else info[:16])
            sock.sendmsg([b"R:" + data], [_source(str(asked))], 0, client)
            return str(asked)
        return None

    def send(self, data: bytes, source: str, client: socket.socket) -> None:
        """A datagram that nobody asked for, from any address of ours."""
        address = ip_address(wire.unmapped(source))
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        target = (CLIENT[family], client.getsockname()[1])
        self._socks[family].sendmsg([data], [_source(str(address))], 0, target)


def _source(ip: str) -> tuple[int, int, bytes]:
    """The control message that chooses the source address of a datagram."""
    address = ip_address(ip)
    if address.version == 6:
        return socket.IPPROTO_IPV6, _IPV6_PKTINFO, address.packed + bytes(4)
    return socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", 0, address.packed, bytes(4))


def _receive(client: socket.socket, seconds: float) -> dict[str, Any]:
    client.settimeout(seconds)
    try:
        data, source = client.recvfrom(512)
    except TimeoutError:
        return {"recv_errno": "TIMEOUT"}
    return {"recvfrom_source": wire.sockaddr(source), "data": data.decode(errors="replace")}


def _hook(seen: Seen, place: str) -> dict[str, Any]:
    return {"hook": seen.hook, "family": seen.family, "user_family": seen.user_family, place: seen.place}


def _words(operation: Mapping[str, Any]) -> str:
    where = f" {wire.text({'ip': operation['ip'], 'port': operation['port']})}" if "ip" in operation else ""
    return f"{operation['op']} on socket {operation['sock']}{where}"
