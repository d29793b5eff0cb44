"""Every connect of a lab as its programs report it, for those who look at all of them together."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from kmesh_lab.datapath.decision import Step
from kmesh_lab.datapath.rows import Address

__all__ = ["Connect", "Story"]

Choice = tuple[str, str, str, str, int | None]
"""Client, service, endpoint, node and priority."""

_OUTBOUND = 2
_LISTED = 8


@dataclass(eq=False)
class Connect:
    """One connect(2), as far as its steps tell.

    ``client`` is the pod, ``chosen`` the workload that the program took at priority ``prio``, ``went`` where connect(2)
    goes on to, and ``words`` what the program said when it left the destination alone. ``state`` is "asked", "open",
    "closed" or "outside": let through without a look at the maps.
    """

    node: str
    client: str
    asked: Address | None
    changed: float
    service: str = ""
    chosen: str = ""
    prio: int | None = None
    went: Address | None = None
    words: str = ""
    state: str = "asked"
    again: bool = False  # the program starts again: the next CONNECT belongs to this one

    @property
    def choice(self) -> Choice:
        """Who was chosen for whom, and by which node."""
        return self.client, self.service, self.chosen, self.node, self.prio

    def take(self, step: Step) -> None:
        """One more step."""
        self.again = step.kind == "TAIL_CALL"
        match step.kind:
            case "SERVICE" if step.ret == 0:
                self.service = self.service or step.name(step.id)
            case "ENDPOINT" if step.ret == 0:
                self.chosen, self.prio = step.name(step.found), step.prio
            case "BACKEND" if step.ret == 0:
                self.chosen = self.chosen or step.name(step.id)
            case "VERDICT":
                self.went, self.words = step.address, step.story if step.ret else ""
            case "NOT_MANAGED" | "NOT_TCP" | "DNS":
                self.state, self.went, self.words = "outside", step.address or self.asked, step.story
            case "ESTABLISHED" if step.found == _OUTBOUND:
                self.state = "open"
            case "CLOSED":
                self.state = "closed"


@dataclass
class Story:
    """What the steps of all nodes tell: the connects that matter for the picture, the last ones, and who was chosen."""

    sockets: dict[tuple[str, int], Connect] = field(default_factory=dict)
    last: deque[Connect] = field(default_factory=lambda: deque(maxlen=_LISTED))
    chosen: Counter[Choice] = field(default_factory=Counter)

    def take(self, node: str, steps: Iterable[Step], who: Callable[[int], str], now: float) -> None:
        """Steps of a node, in order; ``who`` turns the cookie of a network namespace into the name of a pod."""
        for step in steps:
            key = node, step.cookie
            connect = self.sockets.get(key)
            if step.kind == "CONTROL":  # joining or leaving the mesh is no traffic
                if connect and connect in self.last:
                    self.last.remove(connect)
                self.sockets.pop(key, None)
            elif step.kind == "CONNECT" and not (connect and connect.again):
                connect = self.sockets[key] = Connect(node, who(step.netns), step.address, now)
                self.last.append(connect)
            elif connect:  # else the accepting side, or a socket that is forgotten
                connect.take(step)
                connect.changed = now
                if step.kind == "VERDICT" and connect.service and (connect.chosen or step.ret):
                    self.chosen[connect.choice] += 1

    def begin(self, before: float) -> None:
        """Count from what is open: leave out what is over since then, and count who was chosen for the rest."""
        self.forget(before)
        self.last.clear()
        self.chosen = Counter(each.choice for each in self.sockets.values() if each.service and each.chosen)

    def end(self, names: Collection[str], now: float) -> None:
        """Close what is open to workloads of these names: a pod that is gone does not report the end."""
        for each in self.sockets.values():
            if each.state == "open" and each.chosen in names:
                each.state, each.changed = "closed", now

    def forget(self, before: float) -> None:
        """Leave out what is over since then."""
        over = [key for key, each in self.sockets.items() if each.state != "open" and each.changed < before]
        for key in over:
            del self.sockets[key]
