"""One series of real connects, beside what was predicted for each endpoint."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from kmesh_lab.datapath.rows import address_text
from kmesh_lab.display import one_line
from kmesh_lab.lab import Connects
from kmesh_lab.mesh import Policy, Service

__all__ = ["Guess", "LocalityRun", "check_guesses"]

Guess = str | int
"""What is expected at an endpoint: "none", "some" or "all" of the connects, or how many."""

_WORDS = ("none", "some", "all")

_RULE = {
    Policy.RANDOM: "RANDOM stores every endpoint at priority 0 and picks any of them; nobody looks at the preference",
    Policy.STRICT: "STRICT looks at priority 0 only: the endpoints that match the whole preference",
    Policy.FAILOVER: "FAILOVER takes the lowest priority that has an endpoint, and no other",
}


@dataclass(frozen=True)
class LocalityRun:
    """One series of real connects, beside what was predicted.

    ``level`` is the priority that the program reported for the first connect, None if it reported none; ``row`` is
    what the kernel's km_service row counted at each priority, ``story`` how the program ended.
    """

    setting: str
    client: str
    node: str
    service: Service
    asked: int
    predicted: Mapping[str, Guess]
    priorities: Mapping[str, int]
    row: tuple[int, ...]
    waypoint: bool = False
    note: str = ""
    level: int | None = None
    story: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """The connects made so far."""
        return sum(self.counts.values()) + sum(self.refused.values())

    def right(self, name: str) -> bool:
        """Whether the prediction for this endpoint came true; a number may be off by what chance allows."""
        guess, seen = self.predicted[name], self.counts[name]
        if isinstance(guess, str):
            return {"none": seen == 0, "some": 0 < seen < self.total, "all": 0 < seen == self.total}[guess]
        share = min(1.0, guess / max(1, self.asked))
        return abs(seen - guess) <= 4 * math.sqrt(self.asked * share * (1 - share))

    @property
    def why(self) -> list[str]:
        """What happened, in sentences, the surprising part last."""
        at = ", ".join(f"{name} at {prio}" for name, prio in self.priorities.items()) or "no endpoint at all"
        lines = [f"Node {self.node} stores by priority: {at}.", f"{_RULE[self.service.load_balancing.policy]}."]
        if self.level is not None:
            lines.append(f"The program on {self.node} reported priority {self.level}.")
        if self.waypoint:
            lines.append(
                "The service has a waypoint, which chooses the endpoint; the program does not read the policy."
            )
        if self.refused and not self.counts and not any(self._looked_at):
            vip = address_text((self.service.vips[0], next(iter(self.service.ports))))
            lines.append(
                f"No endpoint was left to choose, and still the mesh blocked nothing: the program let connect(2) go on "
                f"to the VIP, {vip}. Here nobody has that address, so the kernel answers {', '.join(self.refused)}; "
                "in a cluster kube-proxy could still answer."
            )
        elif self.refused:
            seen = ", ".join(f"{number} × {name}" for name, number in self.refused.items())
            lines.append(f"Connects that failed: {seen}. Nothing tried them again at another endpoint.")
        return lines

    @property
    def _looked_at(self) -> tuple[int, ...]:
        return self.row if self.service.load_balancing.policy is Policy.FAILOVER else self.row[:1]

    @property
    def verdict(self) -> str:
        """Right or wrong, in one line."""
        wrong = [name for name in self.predicted if not self.right(name)]
        if not wrong:
            return "Your prediction was right."
        seen = "; ".join(f"{name}: you said {self.predicted[name]}, it was {self.counts[name]}" for name in wrong)
        return f"Not as predicted. {seen}."

    @property
    def others(self) -> list[tuple[str, int]]:
        """What became of connects that reached none of the endpoints."""
        reached = [(name, number) for name, number in self.counts.items() if name not in self.predicted]
        return [*reached, *self.refused.items()]

    @property
    def summary(self) -> str:
        """``500 from shop: inventory-a 500, inventory-b 0``."""
        seen = [*((name, self.counts[name]) for name in self.predicted), *self.others]
        return f"{self.total} from {self.client}: {', '.join(f'{name} {number}' for name, number in seen)}"

    def __repr__(self) -> str:
        return one_line(f"<LocalityRun {self.summary}>")

    def add(self, seen: Connects) -> LocalityRun:
        """Count more connects; returns itself."""
        self.counts.update(seen)
        self.refused.update(seen.refused)
        return self

    def expected(self, name: str) -> int:
        """How many connects were predicted: "some" is an even share among those of which some was said."""
        guess, evenly = self.predicted.get(name, 0), max(1, list(self.predicted.values()).count("some"))
        return guess if isinstance(guess, int) else {"none": 0, "all": self.asked, "some": self.asked // evenly}[guess]


def check_guesses(guesses: Mapping[str, Guess], names: Collection[str]) -> None:
    """Raise ``ValueError`` unless there is one prediction for each endpoint, and they can all come true."""
    for name, guess in guesses.items():
        if name not in names:
            raise ValueError(f"no endpoint {name!r}: there is {', '.join(names) or 'none'}")
        if not (guess in _WORDS if isinstance(guess, str) else type(guess) is int and guess >= 0):
            raise ValueError(f"prediction {guess!r} for {name}: expected none, some, all or a number of connects")
    wanted = [name for name in names if name not in guesses]
    if wanted:
        raise ValueError(f"predict {wanted[0]} too: none, some, all or a number of connects")
    if "all" in guesses.values() and any(guess not in ("none", 0) for guess in guesses.values() if guess != "all"):
        raise ValueError("if all connects reach one endpoint, the others get none")
    if sum(guess == "all" for guess in guesses.values()) > 1:
        raise ValueError("all connects cannot reach two endpoints at once: did you mean some and some?")
