"""Ctrl-C, or Jupyter's stop button, at a moment at which it does no harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["uninterrupted"]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let an interrupt wait until the block has ended; a second one does not wait.

    Python raises KeyboardInterrupt between any two instructions of the main thread: also between the system call that
    makes something and the line that notes what was made, and between two nodes that shall change together.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # nobody is interrupted here, or the process does not want to know of it
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if len(came) == 1:
            signal.raise_signal(signal.SIGINT)
