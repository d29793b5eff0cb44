"""Looking at what the programs report, and at what a closed lab left."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kmesh_lab.datapath.events import Event, Events
from kmesh_lab.display import counted, html_table
from kmesh_lab.errors import LabError
from kmesh_lab.lab.node import Node

__all__ = ["Observatory", "Receipt", "Watch"]

_QUIET_MS = 20  # without a record for so long, nothing more is coming
_PATIENCE = 0.5  # seconds


class Observatory:
    """Shares what the nodes report among all who look at the same time: a record can be read only once.

    ``nodes`` gives the nodes of the lab now, so one that is made while somebody looks is seen too. It must not keep the
    lab: a view that looks may be kept for ever, in a notebook's ``Out``.
    """

    def __init__(self, nodes: Callable[[], Mapping[str, Node]]) -> None:
        self._nodes = nodes
        self._reading = threading.Lock()  # from draining the rings to handing out, so that all see the same order
        self._lock = threading.Lock()
        self._looking: list[Watch] = []

    @contextmanager
    def observe(self, events: Events) -> Iterator[Events]:
        """Fill ``events`` with what the nodes report while the block runs, oldest first.

        What was reported before is left out. At the end of the block records that are still on their way (the other
        side's close) are waited for.
        """
        watch = self.watch()
        try:
            yield events
        finally:
            end, seen = time.monotonic() + _PATIENCE, -1
            while seen < watch.total and time.monotonic() < end:
                seen = watch.total
                self._read(_QUIET_MS)
            found = watch.read()
            watch.close()
            found.sort(key=lambda event: event.last_report_ns)
            events.extend(found, watch.lost)

    def watch(self, keep: int | None = None) -> Watch:
        """Look from now on until the watch is closed; what was reported before is left out.

        A watch that nobody reads keeps the newest ``keep`` events, or all of them.
        """
        self._read()
        watch = Watch(self, keep)
        with self._lock:
            self._looking.append(watch)
        return watch

    def collect(self) -> None:
        """Hand out what waits in the ring buffers, unless somebody is doing so already."""
        if self._reading.acquire(blocking=False):
            try:
                self._drain()
            finally:
                self._reading.release()

    def leave(self, watch: Watch) -> None:
        """Hand nothing more to this watch."""
        with self._lock:
            self._looking = [each for each in self._looking if each is not watch]

    def lost(self) -> int:
        """Records of km_tcp_probe that the nodes had no room for, since they were made."""
        return sum(node.lost.tcp_probe for node in list(self._nodes().values()))

    def _read(self, wait_ms: int = 0) -> None:
        with self._reading:
            self._drain(wait_ms)

    def _drain(self, wait_ms: int = 0) -> None:
        came = [event for node in list(self._nodes().values()) for event in node.datapath.events(wait_ms)]
        with self._lock:
            for watch in self._looking:
                watch.take(came)


class Watch:
    """One who looks at what the nodes report, for as long as it likes; `Observatory.watch` makes one.

    ``total`` counts the events that were handed to it, read or not. Its memory is bounded: of events that nobody reads
    it keeps the newest ``keep``, and ``missed`` counts the others.
    """

    def __init__(self, observatory: Observatory, keep: int | None) -> None:
        self._observatory = observatory
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque(maxlen=keep)
        self._lost_before = observatory.lost()
        self._lost = 0
        self.total = self.missed = 0

    def read(self) -> list[Event]:
        """The events since the last call, in the order in which they were read from each node; waits for nothing."""
        self._observatory.collect()
        with self._lock:
            found = list(self._waiting)
            self._waiting.clear()
        return found

    def take(self, events: Sequence[Event]) -> None:
        """For the observatory: these events came."""
        with self._lock:
            self.total += len(events)
            before = len(self._waiting) + len(events)
            self._waiting.extend(events)
            self.missed += before - len(self._waiting)

    @property
    def lost(self) -> int:
        """Records that found a ring buffer full since the watch was made; the last count when the lab is closed."""
        with suppress(LabError, OSError):
            self._lost = max(self._lost, self._observatory.lost() - self._lost_before)
        return self._lost

    def close(self) -> None:
        """Look no more; a second time, do nothing."""
        _ = self.lost
        self._observatory.leave(self)


@dataclass(frozen=True)
class Receipt:
    """What a closed lab had, and what of it is still there: nothing, unless somebody holds on to it."""

    nodes: int
    pods: int
    services: int
    programs: int
    left: tuple[str, ...]

    @classmethod
    def after(cls, nodes: int, pods: int, pids: Sequence[int], services: int, programs: int, cgroup: Path) -> Receipt:
        """Look for the cgroup and the processes ``pids`` of a lab that was closed."""
        left = [f"process {pid}" for pid in pids if Path(f"/proc/{pid}").exists()]
        left += [f"cgroup {cgroup}"] if cgroup.exists() else []
        return cls(nodes, pods, services, programs, tuple(left))

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
