"""The rows of an EventStream: an event of a socket in words, for the page, the filter and the static table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from kmesh_lab.datapath.events import Event
from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.mesh import IPAddress

__all__ = ["COLUMNS", "SeenEvent", "cells"]

COLUMNS = ("#", "time", "event", "side", "client", "server", "asked for", "sent", "received", "RTT", "lives")


class SeenEvent:
    """An event and its number; words for it are made when somebody wants to read them, not for every event."""

    def __init__(self, number: int, event: Event, zero: int, names: Mapping[IPAddress, str]) -> None:
        self.number, self.event, self._zero, self._names = number, event, zero, names

    @cached_property
    def row(self) -> dict[str, Any]:
        """What is shown."""
        event = self.event
        asked = event.original if event.original != event.destination else None
        return {
            "n": self.number,
            "time": f"{(event.last_report_ns - self._zero) / 1e9:.3f}",
            "kind": event.kind,
            "side": event.direction,
            "client": self._who(event.source),
            "server": self._who(event.destination),
            "asked": self._who(asked) if asked else ["", ""],
            "sent": event.sent_bytes,
            "received": event.received_bytes,
            "rtt": f"{event.rtt_us:.0f}",
            "lives": _duration(event.duration_ns),
        }

    @cached_property
    def text(self) -> str:
        """What the filter looks through."""
        return " ".join(part for column in ("client", "server", "asked") for part in self.row[column]).lower()

    def _who(self, address: Address) -> list[str]:
        return [self._names.get(address[0], ""), address_text(address)]


def cells(row: dict[str, Any]) -> Sequence[str]:
    """The row as texts, in the order of `COLUMNS`."""
    return [
        *(str(row["n"]), f"{row['time']} s", row["kind"], row["side"]),
        *(" ".join(filter(None, row[column])) for column in ("client", "server", "asked")),
        *(str(row["sent"]), str(row["received"]), f"{row['rtt']} µs", row["lives"]),
    ]


def _duration(ns: int) -> str:
    for unit, size, digits in (("s", 1e9, 2), ("ms", 1e6, 1)):
        if ns >= size:
            return f"{ns / size:.{digits}f} {unit}"
    return f"{ns / 1e3:.0f} µs"
