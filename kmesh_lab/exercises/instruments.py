"""Ways to connect that a lesson needs: one that may fail, many while something else goes on, one that lasts."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kmesh_lab.datapath.decision import Decision
from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import one_line
from kmesh_lab.lab.connection import Connection, Connects
from kmesh_lab.lab.pod import Pod, Target
from kmesh_lab.mesh import Service

__all__ = ["Attempt", "Meanwhile", "attempt", "connecting", "keep_asking"]

_ASIDE = ("CONNECT", "VERDICT", "ESTABLISHED", "CLOSED")  # steps that read no map
_BETWEEN = 0.2  # seconds between an answer and the next question


@dataclass(frozen=True, repr=False)
class Attempt:
    """One real connect and what became of it.

    ``reached`` is the name of the pod, "" if there is none; ``error`` is the errno name, "" if there is none.
    """

    reached: str
    error: str
    decision: Decision

    @property
    def stopped_at(self) -> str:
        """The map whose row was missing, for example ``km_endpoint``; "" if none was."""
        steps = [step for step in self.decision.steps if step.kind not in _ASIDE]
        return steps[-1].map_row.partition("[")[0] if steps and steps[-1].ret else ""

    def __repr__(self) -> str:
        way = " → ".join(step.kind.lower() for step in self.decision.steps if step.kind not in _ASIDE)
        missing = " (no row)" if self.stopped_at else ""
        return one_line(f"<Attempt {self.reached or self.error}: {way}{missing}>")

    def _repr_html_(self) -> str:
        failed = f"<p><b>{self.error}</b>: {os.strerror(getattr(errno, self.error, 0))}</p>" if self.error else ""
        return failed + self.decision._repr_html_()


def attempt(pod: Pod, target: Target, port: int | None = None) -> Attempt:
    """Connect as `Pod.connect` does, and close; a connect that fails is an answer, too."""
    try:
        with pod.connect(target, port) as connection:
            backend = connection.backend
            return Attempt(backend.name if backend else address_text(connection.peer), "", connection.decision)
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, str(error.errno))
        return Attempt("", code, getattr(error, "decision", Decision(())))


class Meanwhile(Connects):
    """The connects that were made during a ``with`` block; empty until its end."""

    def __init__(self) -> None:
        super().__init__({}, {})

    def end(self, connects: Connects) -> None:
        """Take over what the connects came to."""
        super().__init__(connects, connects.refused)


@contextmanager
def connecting(pod: Pod, service: Service, port: int | None = None, *, pause: float = 0.0) -> Iterator[Meanwhile]:
    """Let the pod connect to the service again and again while the block runs, as fast as it can.

    ``pause`` seconds between two connects make it slower.

    >>> with connecting(shop, inventory) as meanwhile:
    ...     lab.apply(inventory, endpoints=[far])
    >>> meanwhile.refused
    {}
    """
    meanwhile = Meanwhile()
    port = next(iter(service.ports)) if port is None else port
    loop = pod.process.request("loop_start", address=str(service.vips[0]), port=port, pause=pause)["loop"]
    try:
        yield meanwhile
    finally:
        meanwhile.end(pod.tally(pod.process.request("loop_stop", loop=loop)))


def keep_asking(connection: Connection, seconds: float = 6.0, path: str = "/stock/42") -> int:
    """Ask on one connection again and again, for so many seconds; returns how often there was an answer."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= 60:
        raise ValueError(f"seconds {seconds!r}: expected a number, more than 0 and at most 60")
    answers, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        connection.get(path)
        answers += 1
        time.sleep(_BETWEEN)
    return answers
