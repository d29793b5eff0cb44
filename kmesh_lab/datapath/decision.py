"""What the programs decided about one connection, as they reported it themselves.

Compiled with the trace switch, every manager writes the step it took to ``kl_trace`` together with the socket's cookie.
Here the steps of one cookie become a `Decision`. Nothing is worked out again in Python: what is not in the ring buffer
did not happen.
"""

from __future__ import annotations

import errno
import html
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kmesh_lab.datapath.rows import Address, address_text, unpack_ip, words_to_bytes
from kmesh_lab.display import one_line
from kmesh_lab.mesh import Policy

__all__ = ["Decision", "Location", "Step", "Trail", "step_address"]

_SILENT = ("CONNECT", "VERDICT", "ESTABLISHED", "CLOSED")  # not part of the way through the maps
_OUTBOUND = 2
_KEPT = 50_000  # steps that nobody has taken


@dataclass(frozen=True, slots=True)
class Location:
    """The line of C that reported a step; ``file`` is relative to ``bpf/``."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}()"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one connection.

    ``kind`` is an enumerator of ``kl_step_kind`` in bpf/include/trace.h without its prefix; that header says what
    ``id`` and ``found`` mean for each. ``ret`` is 0 or a negative errno. ``address`` is (IP, port in host order).
    ``name`` turns an id into the name that people know. ``netns`` says on CONNECT whose connect it is.
    """

    kind: str
    time_ns: int
    cookie: int
    ret: int
    id: int
    found: int
    prio: int
    index: int
    address: Address | None
    location: Location | None
    name: Callable[[int], str]
    netns: int = 0

    @property
    def map_row(self) -> str:
        """The map and the key that were looked up; empty for a step that reads no map."""
        if self.kind == "FRONTEND":
            return "km_frontend[destination]"
        if self.kind == "SERVICE":
            return f"km_service[{self.id}]"
        if self.kind == "ENDPOINT":
            return f"km_endpoint[{self.id}, {self.prio}, {self.index}]"
        if self.kind == "BACKEND":
            return f"km_backend[{self.id}]"
        if self.kind == "NOT_MANAGED":
            return "km_manage[network namespace]"
        return ""

    @property
    def story(self) -> str:
        """What happened, in words."""
        missing = self.ret != 0
        at = address_text(self.address)
        match self.kind:
            case "CONNECT":
                return f"connect(2) to {at}"
            case "NOT_MANAGED":
                return "the pod is not in the mesh: the destination stays"
            case "CONTROL":
                who = "the address" if self.id else "the network namespace"
                if missing:
                    code = errno.errorcode.get(-self.ret, self.ret)
                    return f"{who} cannot {'join' if self.found else 'leave'} the mesh: {code}"
                return f"{who} {'joins' if self.found else 'leaves'} the mesh"
            case "NOT_TCP":
                return f"protocol {self.id} is not TCP: the destination stays"
            case "DNS":
                return "no DNS proxy: the destination stays" if missing else f"a DNS query: goes to the proxy {at}"
            case "FRONTEND":
                return "no row: an address outside the mesh" if missing else f"leads to {self.name(self.found)}"
            case "SERVICE":
                return (
                    f"{self.name(self.id)} is no service"
                    if missing
                    else f"{self.name(self.id)}, policy {_policy(self.found)}"
                )
            case "ENDPOINT":
                row = f"priority {self.prio}, index {self.index}"
                return f"{row}: no row" if missing else f"{row}: {self.name(self.found)}"
            case "BACKEND":
                waypoint = f", behind waypoint {at}" if self.address and self.address[1] else ""
                return "no row: this workload is unknown" if missing else f"{self.name(self.id)}{waypoint}"
            case "WAYPOINT":
                return f"goes to the waypoint {at}"
            case "DNAT":
                return "the service has no such port" if missing else f"service port becomes {at}"
            case "VERDICT":
                reason = f", because a manager returned -{errno.errorcode.get(-self.ret, self.ret)}" if missing else ""
                return f"connect(2) goes on to {at}{reason}"
            case "TAIL_CALL":
                return "the program starts again, with the waypoint as destination"
            case "ESTABLISHED":
                return "connected" if self.found == _OUTBOUND else "accepted"
            case "SOCKHASH":
                return (
                    f"not put into km_socket: {errno.errorcode.get(-self.ret, self.ret)}"
                    if missing
                    else "put into km_socket"
                )
            case "TLV":
                return "the TLV could not be pushed" if missing else f"{self.id} bytes in front of the payload: {at}"
            case "CLOSED":
                return "closed"
        return self.kind

    def __repr__(self) -> str:
        return one_line(f"<Step {self.kind} {self.story}>")


@dataclass(frozen=True)
class Decision:
    """The steps of one connection, oldest first."""

    steps: tuple[Step, ...]

    @property
    def original(self) -> Address | None:
        """The destination that the program asked for."""
        return next((step.address for step in self.steps if step.kind == "CONNECT"), None)

    @property
    def final(self) -> Address | None:
        """The destination that connect(2) went on with."""
        verdicts = [step.address for step in self.steps if step.kind in ("VERDICT", "DNS") and step.address]
        return verdicts[-1] if verdicts else self.original

    @property
    def rewritten(self) -> bool:
        """True when the programs changed the destination."""
        return self.final != self.original

    def __repr__(self) -> str:
        if not self.steps:
            return "<Decision: no program reported a step>"
        return one_line(f"<Decision {address_text(self.original)} → {address_text(self.final)}: {self._chain()}>")

    def _chain(self) -> str:
        """``frontend → service → endpoint → backend → dnat``."""
        return " → ".join(s.kind.lower().replace("_", " ") for s in self.steps if s.kind not in _SILENT)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        lines = [repr(self)]
        width = max((len(step.map_row) for step in self.steps), default=0)
        lines += [f"  {n:2} {step.map_row:{width}}  {step.story}" for n, step in enumerate(self.steps, 1)]
        printer.text("\n".join(lines))

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th style="text-align:left">{name}</th>' for name in ("", "looked up", "what happened", "reported by")
        )
        rows = "".join(
            f"<tr><td>{n}</td>{_cell(_code(step.map_row))}{_cell(html.escape(step.story))}"
            f"{_cell(_code(str(step.location or '')))}</tr>"
            for n, step in enumerate(self.steps, 1)
        )
        caption = html.escape(repr(self)[1:-1])
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


class Trail:
    """The steps of all sockets of a node as they come: each `take` returns those since the last.

    At first that is what is still remembered. Several trails of one node take nothing from each other. Steps that
    nobody takes are kept, the newest 50,000.
    """

    def __init__(self, read: Callable[[], None], past: Iterable[Step]) -> None:
        self._read = read
        self._steps = deque(past, maxlen=_KEPT)

    def add(self, step: Step) -> None:
        """Called by the data path for every step that it reads."""
        self._steps.append(step)

    def take(self) -> list[Step]:
        """The steps since the last call, in the order of the ring buffer."""
        self._read()
        return [self._steps.popleft() for _ in range(len(self._steps))]


def _cell(content: str) -> str:
    return f'<td style="text-align:left">{content}</td>'


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>" if text else ""


def _policy(number: int) -> str:
    return Policy(number).name if number in Policy._value2member_map_ else str(number)


def step_address(family: int, words: Iterable[int], port: int) -> Address | None:
    """The address of a ``kl_step``: family 0 means that the step has none."""
    if not family:
        return None
    data = words_to_bytes(words)
    return unpack_ip(data if family == socket.AF_INET6 else data[:4].ljust(16, b"\0")), socket.ntohs(port & 0xFFFF)
