"""What all views share: one trait from Python to the page, messages back, a static form, and a feed for live data.

Rules that were measured (ipykernel 6.31, ipywidgets 8.1):

* Python → page goes through the one trait ``frame``, which holds the whole, bounded picture: one message a picture.
* page → Python is a message, handled in the main thread between two cells. It never writes a trait.
* A live view has one feed thread, which is the only writer of ``frame``, at most ten times a second.
* A view refers to a lab and its pods weakly: what a notebook displayed is kept for ever in ``Out``.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

__all__ = ["Feed", "View"]

_HERE = Path(__file__).parent


class View(anywidget.AnyWidget):
    """A view of our own. A subclass sets ``name`` (its ``name.js`` and ``name.css``) and writes `html` and `__repr__`.

    The page gets both from the kernel, with ``dom.js`` before the script and ``view.css`` before the style sheet.

    ``frame`` is what the page shows, as plain JSON. Text in it is other people's bytes: the page inserts it with
    ``textContent`` only, and `html` escapes it.
    """

    name: ClassVar[str]

    frame = traitlets.Dict().tag(sync=True)

    def __init_subclass__(cls, **keywords: Any) -> None:
        if "name" in cls.__dict__:  # add_traits() makes a subclass of every object's class, which has them already
            cls._esm = _both("dom.js", f"{cls.name}.js")
            cls._css = _both("view.css", f"{cls.name}.css")
        super().__init_subclass__(**keywords)

    def __init__(self, **frame: Any) -> None:
        super().__init__(frame=frame)
        self.on_msg(lambda _widget, content, _buffers: self._heard(content))

    def _heard(self, content: Any) -> None:
        """Dispatch ``{"do": "step", …}`` from the page to ``on_step(…)``; anything else is ignored."""
        if not isinstance(content, dict):
            return
        what = content.pop("do", "")
        handler: Callable[..., None] | None = getattr(self, f"on_{what}", None)
        if handler:
            handler(**content)
        if what == "open":  # perhaps its cell ran again: the lab of the run before, if nobody holds it, goes now
            gc.collect()

    def html(self) -> str:
        """The static form: the same information as HTML, everything escaped."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **keywords: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**keywords)
        if bundle is None:
            return None
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, "text/html": self.html(), "text/plain": repr(self)}, metadata


def _both(shared: str, own: str) -> str:
    return "".join((_HERE / name).read_text(encoding="utf-8") for name in (shared, own))


class Feed:
    """Calls ``picture`` ten times a second and gives what it returns to ``view.frame``, until stopped.

    Starting a feed under a name stops the one that had it, so running a cell twice leaves one thread. An exception in
    ``picture`` (the lab was closed, a pod was killed) ends the feed and is shown as ``frame["state"]``.
    """

    _running: ClassVar[dict[str, Feed]] = {}

    def __init__(
        self, name: str, view: View, picture: Callable[[], dict[str, Any] | None], seconds: float = 0.1
    ) -> None:
        self.name, self._view, self._picture, self._seconds = name, view, picture, seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Go live; a feed of the same name ends first."""
        previous = self._running.get(self.name)
        if previous:
            previous.stop()
        self._running[self.name] = self
        self._thread = threading.Thread(target=self._run, name=f"kmesh-lab {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a second time, do nothing."""
        self._stop.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
        if self._running.get(self.name) is self:
            del self._running[self.name]

    @property
    def running(self) -> bool:
        """True while the thread feeds the view."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                frame = self._picture()
            except Exception as error:
                self._view.frame = {**self._view.frame, "state": f"ended: {error}"}
                self._stop.set()
            else:
                if frame is not None:  # nothing new: no message
                    self._view.frame = frame
