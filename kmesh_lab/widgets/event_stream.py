"""What the sockets of a lab report, as it comes: established, still there, closed, and what was lost on the way.

Over 300 lines because it is one class: what was read, what is shown, and the pause between them change under one lock.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Any, ClassVar, Self

from kmesh_lab.display import choices, counted, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.lab import Lab
from kmesh_lab.mesh import IPAddress
from kmesh_lab.widgets.event_rows import COLUMNS, SeenEvent, cells
from kmesh_lab.widgets.view import Feed, View

__all__ = ["EventStream"]

_LOOK = 0.02  # seconds between two looks into the ring buffers, which hold 1927 records
_DRAW = 0.1  # seconds between two pictures, at least: each is one message to the page
_SLOT = 0.5  # seconds that one bar of the rate stands for
_BARS = 60
_KEPT = 2000  # events that are kept for the filter
_ROWS = 50  # events in one picture
_KINDS = ("established", "periodic", "closed")
_SIDES = ("OUTBOUND", "INBOUND")


class EventStream(View):
    """The events of all nodes of a lab, newest first, with a filter, a pause, the rate, and the count of lost records.

    >>> stream = EventStream(lab)
    >>> stream.show("inventory-a", kind="closed", side="OUTBOUND")
    >>> with connecting(shop, inventory):
    ...     stream.run(3)

    It looks from the moment it is made until `stop`; a new stream stops the one before. A thread reads and draws only
    while a page shows it, after `start` and during `run`; without one, `refresh` draws what waits in the rings.
    """

    name: ClassVar[str] = "event_stream"
    _latest: ClassVar[EventStream | None] = None
    _feed: Feed | None = None

    def __init__(self, lab: Lab) -> None:
        lab.require_open()
        self._looked_at = weakref.ref(lab)  # a stream on a page does not keep a lab that nobody else holds
        self._lock = threading.RLock()  # the feed and the main thread draw; a picture is made and set in one piece
        self._ended = threading.Event()  # nothing more will come, so run() need not wait
        self._kept: deque[SeenEvent] = deque(maxlen=_KEPT)
        self._held: list[SeenEvent] | None = None  # what is shown while paused
        self._names: dict[IPAddress, str] = {}  # of pods and services, also of those that are gone
        self._filter = {"text": "", "kind": "", "side": ""}
        self._slots: Counter[int] = Counter()
        self._peak = self._number = self._missed = self._lost_before = self._total_then = self._message = 0
        self._state = self._error = ""
        self._ended_pods: list[str] = []
        self._zero = time.monotonic_ns()
        self._drawn = self._checked = 0.0
        self._fresh = False
        self._take_over()
        self._watch = lab.observatory.watch(_KEPT)
        super().__init__(**self._picture())

    # ---- what a cell and the page can do

    def show(self, text: str = "", kind: str = "", side: str = "") -> None:
        """Show only events that have every word of ``text`` in a name, an address or a port.

        ``kind`` is established, periodic or closed, ``side`` OUTBOUND or INBOUND; "" is all of them.
        """
        for what, value, allowed in (("kind", kind, _KINDS), ("side", side, _SIDES)):
            if value and value not in allowed:
                raise ValueError(f"{what} {value!r}: expected {choices(allowed)}, or '' for all")
        with self._lock:
            self._filter = {"text": str(text), "kind": kind, "side": side}
            self._draw()

    def pause(self, at: int | None = None) -> None:
        """Let the rows stand still, at event number ``at`` or now; reading and counting go on, so nothing is lost."""
        with self._lock:
            if self._held is None:
                self._held = [seen for seen in self._kept if at is None or seen.number <= at]
                self._total_then = self._total if at is None else at
            self._draw()

    def resume(self) -> None:
        """Show what comes again, and what came during the pause."""
        with self._lock:
            self._held = None
            self._draw()

    def refresh(self) -> None:
        """Look once."""
        with self._lock:
            self._read()
            self._check()
            self._draw()

    def run(self, seconds: float) -> Self:
        """Look for so many seconds and return with the last picture; earlier if the lab is closed meanwhile."""
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= 3600:
            raise ValueError(f"seconds {seconds!r}: expected a number, more than 0 and at most 3600")
        running = self._running
        if not running:
            self.start()
        try:
            self._ended.wait(seconds)
        finally:
            if not running and self._feed:
                self._feed.stop()
            self.refresh()
        return self

    def start(self) -> None:
        """Look and draw from now on, in a thread; another stream stops."""
        self._lab.require_open()
        if self._running:
            return
        self._take_over()
        with self._lock:
            if self._state:  # stopped before
                self._lost_before, self._missed = self._lost, self._missed + self._watch.missed
                self._watch, self._state = self._lab.observatory.watch(_KEPT), ""
            self._ended.clear()
        self._feed = Feed("EventStream", self, self._tick, _LOOK)
        self._feed.start()
        self.refresh()

    def stop(self, why: str = "Stopped: what the sockets report now is not seen here.") -> None:
        """Look no more; what is shown stays. A second time, do nothing."""
        if self._feed:
            self._feed.stop()
        with self._lock:
            if not self._state:
                self._read()
                self._end(why)
                self._draw()

    def close(self) -> None:
        """End the view and its thread."""
        if EventStream._latest is self:  # else it is stopped already, or was never made: the lab was closed
            self.stop()
        super().close()

    # ---- messages from the page

    def _heard(self, content: Any) -> None:
        if isinstance(content, dict):
            message = content.pop("message", 0)
            self._error = ""
            try:
                super()._heard(content)
            except (LabError, TypeError, ValueError) as error:
                self._error = str(error)
            self._message = message  # not earlier: the feed draws meanwhile, as if nothing had been asked for
            self._draw()  # at least to say that it was heard

    def on_open(self) -> None:
        """A page shows the stream; by then the lab may be closed."""
        self.refresh()
        if not self._state:
            self.start()

    def on_live(self, on: bool) -> None:
        """The switch."""
        if on:
            self.start()
        else:
            self.stop()

    def on_pause(self, at: int | None = None) -> None:
        """The button, when event number ``at`` was the newest on the page."""
        self.pause(at if isinstance(at, int) else None)

    def on_resume(self) -> None:
        """The button again."""
        self.resume()

    def on_show(self, text: str, kind: str, side: str) -> None:
        """The filter."""
        self.show(text, kind, side)

    # ---- the events

    @property
    def _running(self) -> bool:
        return self._feed is not None and self._feed.running

    @property
    def _total(self) -> int:
        return self._number + self._missed + self._watch.missed

    @property
    def _lost(self) -> int:
        return self._lost_before + self._watch.lost

    def _take_over(self) -> None:
        """There is one stream that looks: two would be two threads, and a cell that is run again makes a second one."""
        other = EventStream._latest
        if other is not None and other is not self:
            other.stop("Stopped: another EventStream was started after this one.")
        EventStream._latest = self

    def _tick(self) -> None:
        """For the feed: read often, draw ten times a second if there is something new; ends with the lab."""
        with self._lock:
            self._read()
            now = time.monotonic()
            if now < self._drawn + _DRAW or not (self._fresh or now >= self._checked + _SLOT):
                return
            self._check()
            self._draw()
            if self._state and self._feed:
                self._feed.stop()

    @property
    def _lab(self) -> Lab:
        lab = self._looked_at()
        if lab is None:
            raise LabError("this lab is closed; make another one with Lab()")
        return lab

    @property
    def _closed(self) -> bool:
        lab = self._looked_at()
        return lab is None or lab.closed

    def _read(self) -> None:
        events = [] if self._state else self._watch.read()
        if not events:
            return
        self._fresh = True
        if lab := self._looked_at():
            self._names |= {vip: service.name for service in lab.services.values() for vip in service.vips}
            self._names |= {pod.address: pod.name for pod in list(lab.pods.values())}
        for event in sorted(events, key=lambda each: each.last_report_ns):
            self._number += 1
            self._kept.append(SeenEvent(self._number, event, self._zero, self._names))
            self._slots[int(event.last_report_ns / 1e9 / _SLOT)] += 1

    def _check(self) -> None:
        """What can end while we look: a pod, and the lab."""
        self._checked = time.monotonic()
        if self._closed and not self._state:
            self._end("The lab is closed: these are the last events of it. Make a new lab and run the cell again.")
        lab = self._looked_at()
        pods = list(lab.pods.items()) if lab else []
        self._ended_pods = [name for name, pod in pods if not pod.alive] or self._ended_pods

    def _end(self, why: str) -> None:
        self._state = why
        self._watch.close()
        self._ended.set()

    # ---- the picture

    def _draw(self) -> None:
        with self._lock:
            frame = self._picture()
            self._fresh = False
            if frame != self.frame:
                self.frame = frame
                self._drawn = time.monotonic()

    def _matching(self) -> list[SeenEvent]:
        """Newest first."""
        kind, side, words = self._filter["kind"], self._filter["side"], self._filter["text"].lower().split()
        return [
            seen
            for seen in reversed(self._kept if self._held is None else self._held)
            if (not kind or seen.event.kind == kind)
            and (not side or seen.event.direction == side)
            and (not words or all(word in seen.text for word in words))
        ]

    def _bars(self) -> list[int]:
        now = int(time.monotonic() / _SLOT)
        for slot in [slot for slot in self._slots if slot < now - _BARS]:
            del self._slots[slot]
        bars = [self._slots[now - _BARS + i] for i in range(_BARS)]  # whole slots only
        self._peak = max([self._peak, *(one + other for one, other in pairwise(bars))])
        return bars if any(bars) else []

    def _picture(self) -> dict[str, Any]:
        found, bars = self._matching(), self._bars()
        return {
            "heard": self._message,
            "state": self._state,
            "closed": self._closed,
            "error": self._error,
            "notes": [f"The process of {name} has ended; the kernel closed its sockets." for name in self._ended_pods],
            "live": self._running and not self._state,
            "paused": self._held is not None,
            "held": len(self._held or ()),
            "since": self._total - self._total_then if self._held is not None else 0,
            "total": self._total,
            "kept": len(self._kept),
            "lost": self._lost,
            "rate": sum(bars[-2:]),
            "peak": self._peak,
            "bars": bars,
            "filter": dict(self._filter),
            "found": len(found),
            "rows": [seen.row for seen in found[:_ROWS]],
        }

    def html(self) -> str:
        """The counts, the filter and the newest events, as a table."""
        frame = self.frame
        lines = [frame["state"], *frame["notes"], frame["error"], *self._said(frame)]
        said = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
        head = "".join(f'<th style="text-align:left">{name}</th>' for name in COLUMNS)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in cells(row)) + "</tr>"
            for row in frame["rows"]
        )
        top = f"<caption>{escape(repr(self)[1:-1])}</caption><thead><tr>{head}</tr></thead>"
        return f"{said}<table>{top}<tbody>{body}</tbody></table>"

    def _said(self, frame: dict[str, Any]) -> Iterator[str]:
        wanted = [value for value in frame["filter"].values() if value]
        only = f" with {', '.join(wanted)}" if wanted else ""
        yield f"The newest {len(frame['rows'])} of {counted(frame['found'], 'event')}{only}, newest first."
        if frame["peak"]:
            yield f"At most {counted(frame['peak'], 'event')} in a second."
        if frame["lost"]:
            yield f"{counted(frame['lost'], 'record')} lost: the ring buffer was full, and the kernel does not wait."
        if frame["paused"]:
            yield f"Paused: {counted(frame['since'], 'event')} since."

    def __repr__(self) -> str:
        frame = self.frame
        return one_line(f"<EventStream: {counted(frame['total'], 'event')}, {frame['lost']} lost>")
