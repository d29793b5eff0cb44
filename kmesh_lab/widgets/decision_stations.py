"""The stations of a connection's way: from the steps that the programs reported to what is drawn where."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kmesh_lab.datapath.decision import Step
from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.mesh import Policy

__all__ = ["MAIN", "Visit", "group_of", "groups", "place", "visits", "words"]

MAIN = ("CONNECT", "FRONTEND", "SERVICE", "ENDPOINT", "BACKEND", "DNAT", "VERDICT")
_EXITS = ("NOT_MANAGED", "CONTROL", "DNS", "NOT_TCP")  # the hook looks no further
_LATER = ("ESTABLISHED", "SOCKHASH", "TLV", "CLOSED")  # sockops and sk_msg


@dataclass(frozen=True)
class Visit:
    """A step with what is around it: the kind of the next step, and what this pass was asked for."""

    step: Step
    after: str
    asked: Address | None

    @property
    def found(self) -> bool:
        return self.step.ret == 0

    def went(self, kind: str) -> bool:
        return self.found and self.after == kind

    def policy(self, policy: Policy) -> bool:
        return self.found and self.after != "WAYPOINT" and self.step.found == policy


_Tell = Callable[[Visit], bool]

# What can happen at a station, how the reported steps tell, and other words for when it did not.
_BRANCHES: dict[str, tuple[tuple[str, _Tell, str], ...]] = {
    "CONNECT": (
        ("on to frontend", lambda at: at.went("FRONTEND"), ""),
        ("not in the mesh", lambda at: at.went("NOT_MANAGED"), ""),
        ("not TCP", lambda at: at.went("NOT_TCP"), ""),
        ("DNS query", lambda at: at.went("DNS"), ""),
        ("control address", lambda at: at.went("CONTROL"), ""),
    ),
    "FRONTEND": (
        ("row found", lambda at: at.found, ""),
        ("no row", lambda at: not at.found, "no row: outside"),
    ),
    "SERVICE": (
        ("waypoint first", lambda at: at.went("WAYPOINT"), "waypoint: none"),
        ("RANDOM", lambda at: at.policy(Policy.RANDOM), ""),
        ("STRICT", lambda at: at.policy(Policy.STRICT), ""),
        ("FAILOVER", lambda at: at.policy(Policy.FAILOVER), ""),
        ("nobody to pick", lambda at: at.went("VERDICT"), ""),
        ("no service: a pod", lambda at: not at.found, "no service: would be a pod"),
    ),
    "ENDPOINT": (
        ("row found", lambda at: at.found, ""),
        ("no row: gives up", lambda at: not at.found, "no row"),
    ),
    "BACKEND": (
        ("waypoint first", lambda at: at.went("WAYPOINT"), "waypoint: none"),
        ("on to dnat", lambda at: at.went("DNAT"), ""),
        ("address stays", lambda at: at.went("VERDICT"), ""),
        ("no row", lambda at: not at.found, ""),
    ),
    "DNAT": (
        ("port found", lambda at: at.found, ""),
        ("no such port", lambda at: not at.found, ""),
    ),
    "VERDICT": (
        ("rewritten", lambda at: at.found and at.step.address != at.asked, ""),
        ("unchanged", lambda at: not at.found or at.step.address == at.asked, ""),
        ("runs again", lambda at: at.went("TAIL_CALL"), ""),
    ),
    "DNS": (
        ("to the DNS proxy", lambda at: at.found, ""),
        ("no DNS proxy", lambda at: not at.found, ""),
    ),
}


def visits(steps: Sequence[Step]) -> Iterator[Visit]:
    asked: Address | None = None
    for number, step in enumerate(steps):
        asked = step.address if step.kind == "CONNECT" else asked
        yield Visit(step, steps[number + 1].kind if number + 1 < len(steps) else "", asked)


def groups(visits: Sequence[Visit]) -> Iterator[list[Visit]]:
    """One list for each run of the connect hook, and one for what sockops and sk_msg did afterwards."""
    group: list[Visit] = []
    for at in visits:
        if group and _begins(at.step, group[-1].step):
            yield group
            group = []
        group.append(at)
    if group:
        yield group


def _begins(step: Step, before: Step) -> bool:
    if _is_later(step) or _is_later(before):
        return _is_later(step) != _is_later(before)
    if before.kind == "TAIL_CALL":  # leads to the CONNECT of the same pass
        return step.kind != "CONNECT"
    return step.kind in ("CONNECT", "TAIL_CALL") or before.kind in ("VERDICT", *_EXITS)


def _is_later(step: Step) -> bool:
    return step.kind in _LATER or (step.kind == "CONTROL" and step.id == 1)  # sockops adds the row of the address


def group_of(group: Sequence[Visit]) -> dict[str, Any]:
    first = group[0].step
    if _is_later(first):
        return {"kind": "later", "title": "Later, on the same socket"}
    hooks = [at.step.location.function for at in group if at.step.location]
    again = first.kind == "TAIL_CALL"
    return {"kind": "pass", "title": f"{hooks[0] if hooks else 'the hook'}() runs{' again' if again else ''}"}


def place(group: Sequence[Visit], number: int) -> dict[str, Any]:
    step = group[number].step
    if _is_later(step):
        return {"lane": "later", "column": number}
    if step.kind == "TAIL_CALL":
        return {"lane": "entry", "column": 0}
    if step.kind in MAIN:
        return {"lane": "main", "column": MAIN.index(step.kind)}
    before = group[number - 1].step.kind if number else "CONNECT"
    return {"lane": "side", "column": (MAIN.index(before) if before in MAIN else 0) + 1}


def words(at: Visit) -> dict[str, Any]:
    step = at.step
    branches = [(tell(at), yes, no) for yes, tell, no in _BRANCHES.get(step.kind, ())]
    return {
        "label": step.kind.lower().replace("_", " "),
        "short": _short(step),
        "story": step.story,
        "ret": "" if step.ret == 0 else f"-{errno.errorcode.get(-step.ret, -step.ret)}",
        "branches": [{"text": yes if taken else no or yes, "taken": taken} for taken, yes, no in branches],
    }


def _short(step: Step) -> str:
    """The result in a word or two, to stand under the station."""
    if step.ret:
        return "stays" if step.kind in ("VERDICT", "DNS") else "none"
    if step.kind in ("FRONTEND", "ENDPOINT"):
        return step.name(step.found)
    if step.kind in ("SERVICE", "BACKEND"):
        return step.name(step.id)
    if step.kind == "TLV":
        return f"{step.id} bytes"
    if step.kind == "SOCKHASH":
        return "km_socket"
    return address_text(step.address) if step.address else ""
