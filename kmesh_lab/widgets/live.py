"""A view that looks ten times a second while a page shows it: what `MapInspector` and `Topology` share.

Of all views of one thing only one is live: the one before pauses and says so. Who looks rests four times as long as
the look took, so a page that nobody watches costs a fifth of a core at most.
"""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

from kmesh_lab.widgets.view import Feed, View

__all__ = ["LiveView"]

_IDLE = 4  # times as long as a look took, at least, before the next one


class LiveView(View):
    """A view with a switch. A subclass says what it looks at (`_subject`), looks (`_read`) and composes `_frame`.

    `_read` writes into ``_state`` why there is nothing more to look at, for example that the lab is closed. A subclass
    calls `View.__init__` with its first frame, so it makes ``_lock`` itself before that.
    """

    _live: ClassVar[dict[str, LiveView]] = {}
    _lock: threading.RLock  # the feed and the main thread draw; a picture is made and set in one piece
    _feed: Feed | None = None
    _wanted = True  # live, as soon as a page shows it
    _state = _paused = ""
    _message, _next = 0, 0.0

    @property
    def _subject(self) -> str:
        """What this view is of, such as "MapInspector of n1"."""
        raise NotImplementedError

    def _read(self) -> None:
        raise NotImplementedError

    def _frame(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def _running(self) -> bool:
        return self._feed is not None and self._feed.running

    def _switches(self) -> dict[str, Any]:
        """What the page of every live view wants to know."""
        return {
            "heard": self._message,
            "state": self._state or self._paused,
            "closed": bool(self._state),
            "live": self._running and not self._state,
        }

    # ---- what a cell and the page can do

    def refresh(self) -> None:
        """Look once."""
        with self._lock:
            self._read()
            self._draw()

    def start(self) -> None:
        """Look ten times a second from now on; another view of the same pauses."""
        other = self._live.get(self._subject)
        if other is not None and other is not self:
            other.stop()
            other._pause(f"Paused: another {self._subject} is live now.")
        self.stop()
        self._wanted, self._paused = True, ""
        self._live[self._subject] = self
        self._feed = Feed(self._subject, self, self._tick)
        self._feed.start()
        self.refresh()

    def stop(self) -> None:
        """Look no more; what is shown stays."""
        if self._feed:
            self._feed.stop()
        if self._live.get(self._subject) is self:
            del self._live[self._subject]
        self._draw()

    def close(self) -> None:
        """End the view and its thread."""
        if self._feed:
            self.stop()
        super().close()

    def on_open(self) -> None:
        """A page shows the view."""
        if self._wanted and not self._paused and not self._running:
            self.start()

    def on_live(self, on: bool) -> None:
        """The switch."""
        self._wanted = bool(on)
        if on:
            self.start()
        else:
            self.stop()

    # ---- inside

    def _tick(self) -> None:
        """For the feed: look, and draw if there is something new; ends with the lab."""
        begin = time.monotonic()
        if begin < self._next:
            return
        with self._lock:
            self._read()
            if self._state and self._feed:
                self._feed.stop()
            self._draw()
        self._next = time.monotonic() + _IDLE * (time.monotonic() - begin)

    def _pause(self, why: str) -> None:
        with self._lock:
            self._paused = why
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            frame = self._frame()
            if frame != self.frame:
                self.frame = frame
