"""Looking at what the programs report, and at what a closed lab left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kmesh_lab.datapath.events import Event, Events
from kmesh_lab.display import counted, html_table
from kmesh_lab.lab.node import Node

__all__ = ["Observatory", "Receipt"]

_QUIET_MS = 20  # without a record for so long, nothing more is coming
_PATIENCE = 0.5  # seconds


class Observatory:
    """Shares what the nodes report among all who look at the same time: a record can be read only once.

    ``nodes`` is the lab's own dict, so a node that is made while somebody looks is seen too.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._lock = threading.Lock()
        self._looking: list[list[Event]] = []

    @contextmanager
    def observe(self, events: Events) -> Iterator[Events]:
        """Fill ``events`` with what the nodes report while the block runs, oldest first.

        What was reported before is left out. At the end of the block records that are still on their way (the other
        side's close) are waited for.
        """
        self._read()
        found: list[Event] = []
        lost = self._lost()
        with self._lock:
            self._looking.append(found)
        try:
            yield events
        finally:
            end = time.monotonic() + _PATIENCE
            while self._read(_QUIET_MS) and time.monotonic() < end:
                pass
            with self._lock:
                self._looking = [each for each in self._looking if each is not found]
            found.sort(key=lambda event: event.last_report_ns)
            events.extend(found, self._lost() - lost)

    def _read(self, wait_ms: int = 0) -> bool:
        """Hand out what the nodes have reported; False if that was nothing."""
        came = [event for node in list(self._nodes.values()) for event in node.datapath.events(wait_ms)]
        with self._lock:
            for found in self._looking:
                found += came
        return bool(came)

    def _lost(self) -> int:
        return sum(node.lost.tcp_probe for node in list(self._nodes.values()))


@dataclass(frozen=True)
class Receipt:
    """What a closed lab had, and what of it is still there: nothing, unless somebody holds on to it."""

    nodes: int
    pods: int
    services: int
    programs: int
    left: tuple[str, ...]

    @classmethod
    def after(cls, nodes: int, pods: Sequence[int], services: int, programs: int, cgroup: Path) -> Receipt:
        """Look for the cgroup and the processes ``pods`` (by pid) of a lab that was closed."""
        left = [f"process {pid}" for pid in pods if Path(f"/proc/{pid}").exists()]
        left += [f"cgroup {cgroup}"] if cgroup.exists() else []
        return cls(nodes, len(pods), services, programs, tuple(left))

    def __repr__(self) -> str:
        had = ((self.nodes, "node"), (self.pods, "pod"), (self.services, "service"), (self.programs, "program"))
        left = ", ".join(self.left) or "nothing"
        return f"<Receipt: {', '.join(counted(*each) for each in had)} removed; left behind: {left}>"

    def _repr_html_(self) -> str:
        rows = [
            ("nodes", self.nodes),
            ("pods", self.pods),
            ("services", self.services),
            ("programs", self.programs),
            ("left behind", ", ".join(self.left) or "nothing"),
        ]
        return html_table("Removed", rows)
