"""What km_tcp_probe and km_auth_req say: a connection was established, is still there, is closed.

Layouts: bpf/include/records.h, which are Kmesh's (bpf/kmesh/probes/tcp_probe.h).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kmesh_lab.datapath.rows import Address, address_text, words_to_ip
from kmesh_lab.display import one_line
from kmesh_lab.kernel.maps import Layout

__all__ = ["DIRECTIONS", "AuthRequest", "Event", "Events", "RecordParser"]

DIRECTIONS = {0: "INVALID", 1: "INBOUND", 2: "OUTBOUND"}
_STATES = {1: "ESTABLISHED", 7: "CLOSE"}
_LONG_NS = 5_000_000_000  # bpf/include/probe.h, LONG_CONN_THRESHOLD_NS


@dataclass(frozen=True, slots=True)
class Event:
    """One record of km_tcp_probe.

    ``source`` is the client and ``destination`` the server in both directions. ``original`` is where the client wanted
    to go, None on the accepting side and when it was not kept. ``sent_bytes`` counts what the peer acknowledged: the
    SYN and the FIN count as one byte each, and the TLV as 16 or 28. ``rtt_us`` is the smoothed round-trip time.
    """

    state: str
    direction: str
    source: Address
    destination: Address
    original: Address | None
    sent_bytes: int
    received_bytes: int
    duration_ns: int
    start_ns: int
    last_report_ns: int
    rtt_us: float
    rtt_min_us: int
    retransmitted: int
    lost: int
    success: bool

    @property
    def kind(self) -> str:
        """``established``, ``periodic`` (still there, at least 5 s after its connect) or ``closed``.

        A record has no field for "periodic". One of a handshake that took longer than 5 s looks the same.
        """
        if self.state == "ESTABLISHED":
            return "periodic" if self.duration_ns > _LONG_NS else "established"
        return "closed" if self.state == "CLOSE" else self.state

    def __repr__(self) -> str:
        return one_line(
            f"<Event {self.state} {self.direction} {address_text(self.source)} → {address_text(self.destination)}"
            f" sent {self.sent_bytes} received {self.received_bytes}>"
        )


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """One record of km_auth_req: a managed pod accepted a connection; source is the client."""

    source: Address
    destination: Address


class Events(Sequence[Event]):
    """The events of one observation, and how many records the ring buffer had no room for."""

    def __init__(self, name: Callable[[Address], str] = lambda address: "") -> None:
        self._events: list[Event] = []
        self._name = name
        self.lost = 0

    def extend(self, events: Sequence[Event], lost: int = 0) -> None:
        """Add events that came."""
        self._events += events
        self.lost += lost

    def __getitem__(self, index: Any) -> Any:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __repr__(self) -> str:
        return f"<Events: {len(self._events)} records, {self.lost} lost>"

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                event.direction,
                event.state,
                self._who(event.source),
                self._who(event.destination),
                address_text(event.original) if event.original else "",
                str(event.sent_bytes),
                str(event.received_bytes),
            )
            for event in self._events
        ]

    def _who(self, address: Address) -> str:
        return self._name(address) or address_text(address)

    def _repr_html_(self) -> str:
        names = ("direction", "state", "client", "server", "original destination", "sent bytes", "received bytes")
        head = "".join(f"<th>{name}</th>" for name in names)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows()
        )
        caption = html.escape(repr(self)[1:-1])
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        printer.text("\n".join([repr(self), *lines]))


class RecordParser:
    """Turns records into objects with the layouts of the compiled programs (the leaf types of the two ring buffers)."""

    def __init__(self, tcp_probe: Layout, auth_req: Layout) -> None:
        self._tcp_probe, self._auth_req = tcp_probe, auth_req
        self._tuples = [tcp_probe.variant("tuple.__anon0", member) for member in ("ipv4", "ipv6")]
        self._originals = [tcp_probe.variant("orig_dst.__anon0", member) for member in ("ipv4", "ipv6")]

    def event(self, record: bytes) -> Event:
        """A record of km_tcp_probe."""
        fields = self._tcp_probe.unpack(record)
        source, destination = self._ends(fields)
        original = self._originals[fields["type"]].unpack(fields["orig_dst.__anon0"])
        address = (words_to_ip(original["addr"]), original["port"])
        return Event(
            state=_STATES.get(fields["state"], str(fields["state"])),
            direction=DIRECTIONS.get(fields["direction"], str(fields["direction"])),
            source=source,
            destination=destination,
            original=address if any(map(int, address)) else None,
            sent_bytes=fields["sent_bytes"],
            received_bytes=fields["received_bytes"],
            duration_ns=fields["duration"],
            start_ns=fields["start_ns"],
            last_report_ns=fields["last_report_ns"],
            rtt_us=fields["srtt_us"] / 8,
            rtt_min_us=fields["rtt_min"],
            retransmitted=fields["total_retrans"],
            lost=fields["lost_out"],
            success=bool(fields["conn_success"]),
        )

    def auth_request(self, record: bytes) -> AuthRequest:
        """A record of km_auth_req."""
        return AuthRequest(*self._ends(self._auth_req.unpack(record)))

    def _ends(self, fields: dict[str, Any]) -> tuple[Address, Address]:
        ends = self._tuples[fields["type"]].unpack(fields["tuple.__anon0"])
        return (words_to_ip(ends["saddr"]), ends["sport"]), (words_to_ip(ends["daddr"]), ends["dport"])
