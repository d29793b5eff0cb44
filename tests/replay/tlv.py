"""tlv: which bytes does the server see when the client sends through a waypoint?"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from . import wire
from .bench import FAMILY, PATIENCE, Bench, client_socket, linger, peer_of
from .wire import names

_CONFIGURATION = names("id category note path connect config sends payload_seed send_results_may_vary")
_DEPEND_ON_RESULTS = names("payload_len payload_sha256 received_len received_sha256 received_last16_hex")
_SO_ZEROCOPY, _MSG_ZEROCOPY, _F_SETPIPE_SZ = 60, 0x4000000, 1031


class Tlv:
    """One process' share of a tlv file."""

    def __init__(self, bench: Bench, vectors: Sequence[Mapping[str, Any]], trials: int | None) -> None:
        self.bench = bench
        bench.serve_all()

    def begin(self) -> None:
        self.bench.steer()

    def replay(self, vector: Mapping[str, Any]) -> Iterator[str]:
        """The mismatches of one vector."""
        yield from wire.unknown_connect(vector)
        bench, node = self.bench, self.bench.node
        node.reset(vector["config"], bench.cookie_row() | bench.address_rows())
        with client_socket(FAMILY[vector["connect"]["family"]]) as client:
            linger(client, reset=False)
            client.connect((vector["connect"]["ip"], vector["connect"]["port"]))
            with bench.accept() as server:
                found = self._send(vector, client, Receiver(server))
        expected = {name: value for name, value in vector.items() if name not in _CONFIGURATION}
        if "km_socket_key_hex" in expected:
            key = wire.filled(expected["km_socket_key_hex"], source_port=found["port"])
            expected["km_socket_key_hex"] = key.hex()
        for name, value in expected.items():
            if found.get(name) is not ...:
                yield from wire.differences({name: value}, found)

    def _send(self, vector: Mapping[str, Any], client: socket.socket, receiver: Receiver) -> dict[str, Any]:
        """Send as the vector says; what was seen, with the names the vectors use. ``...`` means: not to be compared."""
        node, ipv6 = self.bench.node, client.family == socket.AF_INET6
        found: dict[str, Any] = {
            "connected_peer": wire.sockaddr(peer_of(client)),
            "client_addr": {"ip": client.getsockname()[0], "port": "<ephemeral>"},
            "port": client.getsockname()[1],
            "storage_after_connect": wire.storage(node.storage(client), ipv6) or "none",
            "km_socket_entries_while_connected": len(node.sockets()),
            "km_socket_key_hex": ", ".join(key.hex() for key in node.sockets()) or "none",
        }
        # Urgent data moves its mark with every segment. What a reader gets that comes in between is chance.
        urgent = any("MSG_OOB" in operation.get("flags", ()) for operation in vector["sends"])
        if not urgent:
            receiver.start()
        results, payload = [], b""
        for number, operation in enumerate(vector["sends"]):
            content = pattern(_length(operation), (vector["payload_seed"] + 101 * number) & 255)
            result = _operate(client, operation, content)
            results.append(result)
            payload += content[:result]
        found["storage_after_sends"] = wire.storage(node.storage(client), ipv6) or "none"
        client.close()
        if urgent:
            receiver.start()
        found |= _layout(vector, receiver.end(), payload)
        found |= {"receiver_error": receiver.error, "send_results": results}
        if vector["send_results_may_vary"]:
            found["send_results"] = ...
            if len(payload) != vector["payload_len"]:
                found |= dict.fromkeys(_DEPEND_ON_RESULTS, ...)
        return found


class Receiver:
    """Reads what arrives on a connection until it ends, in a thread, so that a sender never waits for us."""

    def __init__(self, connection: socket.socket) -> None:
        self.error: str | None = None
        self._parts: list[bytes] = []
        self._connection = connection
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def _read(self) -> None:
        try:
            while part := self._connection.recv(1 << 20):
                self._parts.append(part)
        except OSError as error:
            self.error = error.strerror

    def end(self) -> bytes:
        """Everything, once the sender has closed."""
        self._thread.join(2 * PATIENCE)
        return b"".join(self._parts)


def pattern(length: int, seed: int) -> bytes:
    """The payload that the vectors' meta describes."""
    start = bytes((seed + 7 * i + 13 * (i >> 8)) & 255 for i in range(length if length < 4096 else 65536))
    return (start * (length // 65536 + 1))[:length]


def tlv(connect: Mapping[str, Any]) -> bytes:
    """The TLV for a destination, by the vectors' description."""
    value = ip_address(connect["ip"]).packed + int(connect["port"]).to_bytes(2, "big")
    return b"\x01" + len(value).to_bytes(4, "big") + value + b"\xfe" + bytes(4)


def _layout(vector: Mapping[str, Any], received: bytes, payload: bytes) -> dict[str, Any]:
    prefix = tlv(vector["connect"])
    at = received.find(prefix)
    without = received[:at] + received[at + len(prefix) :] if at >= 0 else received
    first = received == prefix + payload
    return {
        "payload_len": len(payload),
        "payload_sha256": sha256(payload).hexdigest(),
        "received_len": len(received),
        "received_sha256": sha256(received).hexdigest(),
        "received_hex": received.hex(),
        "received_first64_hex": received[:64].hex(),
        "received_last16_hex": received[-16:].hex(),
        "received_is_tlv_then_payload": first,
        "received_is_payload_only": received == payload,
        "tlv_hex": prefix.hex() if first else "",
        "tlv_offset_in_stream": at,
        "layout_note": f"tlv found at {at}; without it equals payload: {without == payload}",
    }


def _length(operation: Mapping[str, Any]) -> int:
    return sum(operation["iov"]) if "iov" in operation else operation.get("len", 0)


def _operate(client: socket.socket, operation: Mapping[str, Any], content: bytes) -> int:
    """One entry of "sends"; how many bytes it took."""
    known = {"op", "len", "flags", "once", "iov", "on", "value", "s"}
    if operation["op"] not in _OPERATIONS or set(operation) - known:
        raise wire.Unknown(f"send {dict(operation)}: this harness does not know the operation")
    return _OPERATIONS[operation["op"]](client, operation, content)


def _send(client: socket.socket, operation: Mapping[str, Any], content: bytes) -> int:
    flags = 0
    for name in operation.get("flags", ()):
        flags |= getattr(socket, name)
    if operation.get("once"):
        return client.send(content, flags)
    return _all(len(content), lambda done: client.send(content[done:], flags))


def _sendmsg(client: socket.socket, operation: Mapping[str, Any], content: bytes) -> int:
    parts, at = [], 0
    for length in operation["iov"]:
        parts.append(content[at : at + length])
        at += length
    return client.sendmsg(parts)


def _zerocopy(client: socket.socket, operation: Mapping[str, Any], content: bytes) -> int:
    client.setsockopt(socket.SOL_SOCKET, _SO_ZEROCOPY, 1)
    return _all(len(content), lambda done: client.send(content[done:], _MSG_ZEROCOPY))


def _sendfile(client: socket.socket, operation: Mapping[str, Any], content: bytes) -> int:
    file = os.memfd_create("payload")
    try:
        os.write(file, content)
        return _all(len(content), lambda done: os.sendfile(client.fileno(), file, done, len(content) - done))
    finally:
        os.close(file)


def _splice(client: socket.socket, operation: Mapping[str, Any], content: bytes) -> int:
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, _F_SETPIPE_SZ, max(len(content), 4096))
        os.write(writer, content)
        return _all(len(content), lambda done: os.splice(reader, client.fileno(), len(content) - done))
    finally:
        os.close(reader)
        os.close(writer)


def _all(length: int, more: Callable[[int], int]) -> int:
    done = 0
    while done < length:
        done += more(done)
    return done


def _option(level: int, name: int, field: str) -> Callable[[socket.socket, Mapping[str, Any], bytes], int]:
    def set_option(client: socket.socket, operation: Mapping[str, Any], content: bytes) -> int:
        client.setsockopt(level, name, operation.get(field, 1))
        return 0

    return set_option


def _sleep(client: socket.socket, operation: Mapping[str, Any], content: bytes) -> int:
    time.sleep(operation["s"])
    return 0


_OPERATIONS = {
    "send": _send,
    "sendmsg": _sendmsg,
    "zerocopy": _zerocopy,
    "sendfile": _sendfile,
    "splice": _splice,
    "cork": _option(socket.IPPROTO_TCP, socket.TCP_CORK, "on"),
    "nodelay": _option(socket.IPPROTO_TCP, socket.TCP_NODELAY, "on"),
    "sndbuf": _option(socket.SOL_SOCKET, socket.SO_SNDBUF, "value"),
    "sleep": _sleep,
}
