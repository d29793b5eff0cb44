"""probe: what do km_tcp_probe and km_auth_req say when a connection is established and when it is closed?"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import wire
from .bench import FAMILY, PATIENCE, Bench, client_socket, linger, listen_on, patient, peer_of, pending, wait_until
from .wire import names

_KNOWN = names("""
    id category path note cookie_managed managed_ips server server_in_cgroup close data config client_ip target connect
    enable_monitoring phases
""")
_PHASE = names("phase tcp_probe auth_req tcp_probe_event_count auth_req_event_count")
_EVENT = names("fields sample all_runs_duration_consistent")
_NEVER_COMPARED = names("duration start_ns last_report_ns protocol srtt_us rtt_min total_retrans lost_out")
_PORTS = ("sport", "dport")
SETTLE = 0.01  # seconds in which nothing more may be reported
_CLOSES = ("client", "server", "client-rst", "server-rst")


def managed_rows(bench: Bench, vector: Mapping[str, Any]) -> dict[bytes, bytes]:
    """km_manage as a probe or periodic vector describes it."""
    rows = bench.cookie_row() if vector["cookie_managed"] else {}
    return rows | {wire.packed(ip): value.to_bytes(4, "little") for ip, value in vector["managed_ips"]}


def outside_sockets(vectors: Sequence[Mapping[str, Any]]) -> dict[str, socket.socket]:
    """Sockets of the servers that shall not be in the cgroup, by id: made while the process is not in it yet."""
    return {v["id"]: socket.socket(FAMILY[v["server"]["family"]]) for v in vectors if not v["server_in_cgroup"]}


@dataclass
class Pair:
    """Both ends of one connection, made as a vector says."""

    client: socket.socket
    server: socket.socket
    port: int = field(init=False)
    received: dict[socket.socket, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = self.client.getsockname()[1]

    @classmethod
    def make(cls, vector: Mapping[str, Any], outside: Mapping[str, socket.socket]) -> Pair:
        family = FAMILY[vector["server"]["family"]]
        with outside.get(vector["id"]) or socket.socket(family) as listener:
            listen_on(listener, vector["server"]["bind"], vector["server"]["port"])
            client = client_socket(FAMILY[vector["connect"]["family"]])
            client.connect((vector["connect"]["ip"], vector["connect"]["port"]))
            server, _ = listener.accept()
        patient(server)
        return cls(client, server)

    def exchange(self, client_sends: int, server_sends: int) -> None:
        """Send so many bytes and wait until they are acknowledged, so that no counter lags behind."""
        self._send(self.client, self.server, client_sends)
        self._send(self.server, self.client, server_sends)

    def _send(self, sender: socket.socket, receiver: socket.socket, length: int) -> None:
        if length:
            _quick(receiver)
            sender.sendall(bytes(length))
            wait_until(lambda: self._arrived(sender, receiver))

    def _arrived(self, sender: socket.socket, receiver: socket.socket) -> bool:
        """Read what is there; true when the sender has an acknowledgement for all of it."""
        try:
            while data := receiver.recv(1 << 20, socket.MSG_DONTWAIT):
                self.received[receiver] = self.received.get(receiver, 0) + len(data)
        except BlockingIOError:
            pass
        return not pending(sender)

    def end(self, how: str) -> None:
        """Close both ends; ``how`` says which first, and whether with a reset."""
        if how not in _CLOSES:
            raise wire.Unknown(f"close {how}: this harness does not know the way")
        who, _, reset = how.partition("-")
        first, second = (self.client, self.server) if who == "client" else (self.server, self.client)
        for sock in (first, second):
            linger(sock, reset=bool(reset))
        first.close()
        wait_until(lambda: _ended(second))
        _quick(second)  # acknowledges the FIN now and by itself: the first end is done before the second one begins
        second.close()


def _quick(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _ended(sock: socket.socket) -> bool:
    """The other end's FIN or reset is here."""
    try:
        return sock.recv(1 << 20, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def compare_probe(expected: Mapping[str, Any], seen: Mapping[str, Any], port: int, server_port: int) -> Iterator[str]:
    """One km_tcp_probe or km_auth_req record; ports that differ from run to run are named by whose they are."""
    ends = {"client_ephemeral": port, "server": server_port}
    for name, value in expected.items():
        if name.removesuffix("_is") in _PORTS and name.endswith("_is"):
            if value not in ends:
                yield f"{name}: recorded as {value}, but this harness does not know whose port that is"
            elif seen[name.removesuffix("_is")] != ends[value]:
                yield f"{name.removesuffix('_is')} {seen[name.removesuffix('_is')]}, recorded the port of {value}"
        elif name not in _NEVER_COMPARED and value != "varies":
            yield from wire.differences({name: value}, seen)
    if "duration" in seen:
        span = seen["last_report_ns"] - seen["start_ns"]
        yield from wire.differences({"duration": span}, seen)


def in_order(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the vectors list them: outbound first, and otherwise as they came."""
    return sorted(events, key=lambda event: -int(event["direction"]))


class Probe:
    """One process' share of a probe file."""

    def __init__(self, bench: Bench, vectors: Sequence[Mapping[str, Any]], trials: int | None) -> None:
        self.bench = bench
        self._outside = outside_sockets(vectors)

    def begin(self) -> None:
        """Nothing to steer: each vector has a server of its own."""

    def replay(self, vector: Mapping[str, Any]) -> Iterator[str]:
        """The mismatches of one vector."""
        yield from wire.unknown_fields(vector, _KNOWN)
        yield from wire.unknown_connect(vector)
        node = self.bench.node
        node.reset(vector["config"], managed_rows(self.bench, vector))
        node.configure(monitoring=vector["enable_monitoring"])
        phases = {phase["phase"]: phase for phase in vector["phases"]}
        for name in set(phases) - {"established", "after data", "closed"}:
            yield f"phase {name!r}: this harness does not know what happens in it"
        pair = Pair.make(vector, self._outside)
        yield from wire.differences({"target": vector["target"]}, {"target": _target(pair)})
        yield from self._phase(vector, phases.get("established"), pair.port)
        for client_sends, server_sends in vector["data"]:
            pair.exchange(client_sends, server_sends)
        yield from self._phase(vector, phases.get("after data"), pair.port)
        pair.end(vector["close"])
        yield from self._phase(vector, phases.get("closed"), pair.port)

    def _phase(self, vector: Mapping[str, Any], phase: Mapping[str, Any] | None, port: int) -> Iterator[str]:
        """Compare what was reported in a phase."""
        if phase is None:
            return
        where = f"{phase['phase']}: "
        yield from wire.unknown_fields(phase, _PHASE, where)
        probes, auths = self._collect(max(phase["tcp_probe_event_count"]), max(phase["auth_req_event_count"]))
        for name, found in (("tcp_probe", in_order(probes)), ("auth_req", auths)):
            if len(found) not in phase[f"{name}_event_count"]:
                counts = " or ".join(map(str, phase[f"{name}_event_count"]))
                yield f"{where}{len(found)} records of km_{name}, recorded {counts}: {wire.text(found)}"
                continue
            for number, (expected, seen) in enumerate(zip(phase[name], found, strict=True), 1):
                yield from wire.unknown_fields(expected, _EVENT, where)
                for line in compare_probe(expected["fields"], seen, port, vector["server"]["port"]):
                    yield f"{where}km_{name} record {number}: {line}"

    def _collect(self, probes_due: int, auths_due: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Wait for as many records as are due, and then a moment for one too many."""
        node, probes, auths = self.bench.node, list[dict[str, Any]](), list[dict[str, Any]]()
        deadline = time.monotonic() + PATIENCE
        while True:
            probes += node.probes()
            auths += node.auths()
            missing = len(probes) < probes_due or len(auths) < auths_due
            if not missing or time.monotonic() > deadline:
                break
            time.sleep(0.001)
        time.sleep(0 if missing else SETTLE)
        return probes + node.probes(), auths + node.auths()


def _target(pair: Pair) -> dict[str, Any] | None:
    """Where the client is connected to; a mapped address counts as IPv4, as in the vectors."""
    found = wire.sockaddr(peer_of(pair.client))
    return {**found, "ip": wire.unmapped(found["ip"])} if found else None
