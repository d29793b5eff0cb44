"""periodic: when is a long connection reported again?

All connections of a share live at the same time, so the vectors' pauses are waited once for all. The pauses up to the
first report that a pause of 5 s brings, and the two that add up to one, are real. In later ones the socket's own
clock is put back instead (`last_report_ns` in its storage), which to the programs is the same.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import wire
from .bench import Bench
from .node import Node
from .probe import SETTLE, Pair, compare_probe, in_order, managed_rows, outside_sockets
from .wire import names

_KNOWN = names("""
    id category note path enable_periodic_report connect server server_in_cgroup managed_ips cookie_managed config
    client_ip target tlv_len steps
""")
_EVENT = names("raw_hex defined_mask_hex fields duration_equals_last_minus_start")
_RUN_TIME = ("sport", "protocol_uninitialised")  # the client's port is checked by how records find their connection
_PAUSE = re.compile(r"^(?:.* after )?([\d.]+) s (later|idle)\b")
_AT_ONCE = ("established", "data at once", "more data right after", "close")
_REPORT_EVERY = 5.0  # seconds
_UNDER = "(under 5 s since the last report"
_NOT_YET = 4.7  # seconds, for "under 5 s since the last report"
_STALLED = 3.0  # seconds that a busy machine may stand still
_NANO = 10**9


def shares(vectors: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Vectors that can share maps and a clock: same switch, same steps, no row that they disagree about."""
    found: list[tuple[dict[Any, Any], list[Mapping[str, Any]]]] = []
    alone: list[list[Mapping[str, Any]]] = []
    for vector in vectors:
        try:
            claims = dict(_claims(vector))
        except (KeyError, TypeError, ValueError):  # not as described: it will fail, but the others need not
            alone.append([vector])
            continue
        for taken, members in found:
            if all(taken.get(key, value) == value for key, value in claims.items()):
                taken.update(claims)
                members.append(vector)
                break
        else:
            found.append((claims, [vector]))
    return [members for _, members in found] + alone


def _claims(vector: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """What a vector needs to be so, as (what, how)."""
    yield "switch", vector.get("enable_periodic_report")
    yield "steps", [step["step"] for step in vector["steps"]]
    yield "cookie", vector["cookie_managed"]
    yield ("port", vector["server"]["port"]), vector["id"]
    managed = {wire.packed(ip): value for ip, value in vector["managed_ips"]}
    for ip in (vector["client_ip"], vector["target"]["ip"]):
        yield ("km_manage", wire.packed(ip)), managed.get(wire.packed(ip))
    for name, rows in vector["config"].items():
        for row in rows:
            yield (name, row["key_hex"]), row["value_hex"]


class Clock:
    """The times in the storage of one socket."""

    def __init__(self, node: Node, sock: socket.socket) -> None:
        self._node, self._sock = node, sock
        self._data = node.storage(sock) or bytes(wire.STORAGE)
        times: tuple[int, int] = struct.unpack_from("=QQ", self._data)
        self._connect, self._report = times
        self.reported = bool(self._report)

    def age(self) -> int:
        """Nanoseconds since the last report."""
        return time.monotonic_ns() - self._report

    def put_back(self, nanoseconds: int) -> None:
        """To this socket, so much more time has passed."""
        times = struct.pack("=QQ", self._connect - nanoseconds, self._report - nanoseconds)
        self._node.set_storage(self._sock, times + self._data[16:])


class Connection:
    """One vector on its way, and what was found wrong with it so far."""

    def __init__(self, vector: Mapping[str, Any]) -> None:
        self.vector = vector
        self.lines = list(wire.unknown_fields(vector, _KNOWN))
        self.lines += wire.unknown_connect(vector)
        self.alive = True
        self.pair: Pair
        self.sent = 0

    def play(self, number: int, outside: Mapping[str, socket.socket]) -> None:
        """Do what a step says; whatever goes wrong is wrong with this connection only, and ends it."""
        step = self.vector["steps"][number]
        if not self.alive:
            return
        try:
            if step["step"] == "established":
                self._open(outside)
            self._operate(step["op"], f"{step['step']}: ")
        except Exception as error:
            self.lines.append(f"{step['step']}: {wire.described(error)}")
            self.alive = False

    def _open(self, outside: Mapping[str, socket.socket]) -> None:
        self.pair = Pair.make(self.vector, outside)
        target = self.vector["target"]
        self.key = (self.vector["client_ip"], self.pair.port, target["ip"], target["port"])

    def _operate(self, operation: Mapping[str, Any] | None, where: str) -> None:
        if operation is None:
            return
        if set(operation) == {"close"}:
            self.pair.end(operation["close"])
        elif set(operation) == {"client_sends", "server_sends"}:
            self.pair.exchange(operation["client_sends"], operation["server_sends"])
            self.sent += operation["client_sends"]
        else:
            self.lines.append(f"{where}{dict(operation)}: this harness does not know the operation")

    def compare(self, step: Mapping[str, Any], events: list[dict[str, Any]]) -> None:
        """The records of one step."""
        where = f"{step['step']}: "
        if not self.alive:
            return
        self.lines += wire.unknown_fields(step, ("step", "op", "tcp_probe"), where)
        if len(events) != len(step["tcp_probe"]):
            self.lines.append(f"{where}{len(events)} records, recorded {len(step['tcp_probe'])}: {wire.text(events)}")
            return
        for number, (expected, seen) in enumerate(zip(step["tcp_probe"], in_order(events), strict=True), 1):
            self.lines += wire.unknown_fields(expected, _EVENT, where)
            fields = {name: value for name, value in expected["fields"].items() if name not in _RUN_TIME}
            lines = compare_probe(fields, seen, self.pair.port, self.vector["server"]["port"])
            self.lines += [f"{where}record {number}: {line}" for line in lines]

    def finish(self) -> None:
        """When all steps are done."""
        if not self.alive:
            return
        extra = self.pair.received.get(self.pair.server, 0) - self.sent
        self.lines += wire.differences({"tlv_len": self.vector["tlv_len"]}, {"tlv_len": extra})


class Periodic:
    """One process' share of a periodic file: all of it is played in `begin`, then handed out vector by vector."""

    def __init__(self, bench: Bench, vectors: Sequence[Mapping[str, Any]], trials: int | None) -> None:
        self.bench, self.vectors = bench, vectors
        self._outside = outside_sockets(vectors)
        self._connections = {vector["id"]: Connection(vector) for vector in vectors}

    def replay(self, vector: Mapping[str, Any]) -> Iterator[str]:
        """The mismatches of one vector."""
        yield from self._connections[vector["id"]].lines

    def begin(self) -> None:
        try:
            self._play()
        except Exception as error:
            for connection in self._connections.values():
                connection.lines.append(wire.described(error))

    def _play(self) -> None:
        node, connections = self.bench.node, list(self._connections.values())
        manage: dict[bytes, bytes] = {}
        config: dict[str, list[Mapping[str, str]]] = defaultdict(list)
        for vector in self.vectors:
            manage |= managed_rows(self.bench, vector)
            for name, rows in vector["config"].items():
                config[name] += rows
        node.reset(config, manage)
        node.configure(periodic=int(self.vectors[0]["enable_periodic_report"]))
        waited = False
        for number, step in enumerate(self.vectors[0]["steps"]):
            waited |= self._pause(step["step"], waited)
            for connection in connections:
                if _UNDER in step["step"]:
                    self._not_too_late(connection)
                connection.play(number, self._outside)
            time.sleep(SETTLE)
            self._report(number)
        for connection in connections:
            connection.finish()

    def _pause(self, name: str, waited: bool) -> bool:
        """Let the time pass that a step's name says; true if that was a real pause long enough for a report."""
        match = _PAUSE.match(name)
        if not match:
            if not name.startswith(_AT_ONCE):
                raise wire.Unknown(f"step {name!r}: this harness does not know how long to wait")
            return False
        seconds, how = float(match[1]), match[2]
        if how == "later" or not waited:
            time.sleep(seconds)
            return seconds > _REPORT_EVERY
        for connection in self._living():
            for clock in self._clocks(connection):
                clock.put_back(int(seconds * _NANO))
        return False

    def _not_too_late(self, connection: Connection) -> None:
        """On a machine that stood still for a moment, "under 5 s since the last report" would no longer be true."""
        for clock in self._clocks(connection) if connection.alive else ():
            late = clock.age() - int(_NOT_YET * _NANO)
            if 0 < late < _STALLED * _NANO:
                clock.put_back(-late)

    def _clocks(self, connection: Connection) -> list[Clock]:
        clocks = [Clock(self.bench.node, sock) for sock in (connection.pair.client, connection.pair.server)]
        return [clock for clock in clocks if clock.reported]

    def _living(self) -> list[Connection]:
        return [connection for connection in self._connections.values() if connection.alive]

    def _report(self, number: int) -> None:
        """Give each record to its connection."""
        events: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for event in self.bench.node.probes():
            key = (event["saddr"], event["sport"], event["daddr"], event["dport"])
            events[tuple(map(wire.canonical, key))].append(event)
        for connection in self._living():
            mine = events.pop(tuple(map(wire.canonical, connection.key)), [])
            connection.compare(connection.vector["steps"][number], mine)
        for key, strays in events.items():
            next(iter(self._connections.values())).lines.append(f"{len(strays)} records of no connection: {key}")
