"""What a comparison came to: counts, medians, and ratios to direct with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from kmesh_lab.comparison.counting import Counts
from kmesh_lab.comparison.load import How
from kmesh_lab.comparison.memory import Memory
from kmesh_lab.comparison.paths import Path
from kmesh_lab.comparison.timing import HOWS, Times, Window
from kmesh_lab.display import counted, one_line

__all__ = ["WORDS", "Comparison", "Figure", "Measured", "Ratio"]

Figure = Literal["cpu", "p50"]

WORDS: Mapping[How, str] = {"keep": "over a kept connection", "new": "with a new connection"}

_FEWEST, _MANY = 3, 6  # pairs, below which nothing is said; from which it is no chance that all are on one side
_MARGIN = 0.05  # what two runs of the same path can differ by here
_VALUES: Mapping[Figure, Callable[[Window], float]] = {"cpu": lambda at: at.whole, "p50": lambda at: at.p50}


@dataclass(frozen=True)
class Ratio:
    """A path divided by direct, round by round, so that what is compared was seconds apart.

    ``shown`` says whether there is a difference: every single pair is on the same side of 1, and the median is more
    than 5 % away from it. Fewer than six pairs are on one side by chance too often, so each of them must be that far
    away. With fewer than three nothing is shown, and ``str`` says that it was too noisy.
    """

    pairs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The ratio."""
        return statistics.median(self.pairs) if self.pairs else float("nan")

    @property
    def shown(self) -> bool:
        """Whether the path differs from direct."""
        if len(self.pairs) < _FEWEST:
            return False
        below, above = max(self.pairs), min(self.pairs)
        if len(self.pairs) >= _MANY:
            return (above > 1 or below < 1) and abs(self.median - 1) > _MARGIN
        return above > 1 + _MARGIN or below < 1 - _MARGIN

    def __str__(self) -> str:
        if len(self.pairs) < _FEWEST:
            return "too noisy"
        return f"{self.median:.2f}\xa0[{min(self.pairs):.2f}\xa0–\xa0{max(self.pairs):.2f}]"


@dataclass(frozen=True)
class Measured:
    """One path in a comparison. ``how`` is "keep", one connection for all requests, or "new", one for each.

    ``counts`` is empty where the kernel does not let us count; times are in µs.
    """

    name: str
    path: Path
    counts: Mapping[How, Counts]
    times: Times
    memory: Memory | None
    base: Times

    def syscalls(self, how: How) -> float:
        """System calls per request, of everybody on the path."""
        return sum(self.counts[how].syscalls.values())

    def switches(self, how: How) -> float:
        """Context switches per request, of everybody on the path."""
        return sum(self.counts[how].switches.values())

    def connections(self, how: How) -> float:
        """TCP connections opened per request, anywhere on the path."""
        return self.counts[how].connections

    def segments(self, how: How) -> float:
        """TCP segments sent per request, by anybody on the path."""
        return self.counts[how].segments

    def passed(self, how: How) -> Mapping[str, float]:
        """What the proxies themselves say to have forwarded, per request."""
        return self.counts[how].passed

    def cpu(self, how: How) -> float:
        """CPU time per request of the whole path, softirqs included; the median of the windows, in µs."""
        return self._median(how, lambda at: at.whole)

    def cpu_of(self, how: How, process: str) -> float:
        """The share of one process."""
        return self._median(how, lambda at: at.cpu.get(process, 0.0))

    def processes(self, how: How) -> list[str]:
        """Who spent CPU time: the processes of the path, and the kernel's thread for softirqs."""
        return list(dict.fromkeys(name for window in self.times.windows[how].values() for name in window.cpu))

    def p50(self, how: How) -> float:
        """Until the first byte of the answer: from connect(2) on, or over a kept connection from send(2) on."""
        return self._median(how, lambda at: at.p50)

    def connect(self) -> float:
        """connect(2) alone, which with a sidecar ends at the sidecar."""
        return self._median("new", lambda at: at.connect)

    def ratio(self, figure: Figure, how: How) -> Ratio:
        """CPU time ("cpu") or time to the first byte ("p50") divided by that of direct in the same round."""
        mine, base, value = self.times.windows[how], self.base.windows[how], _VALUES[figure]
        return Ratio(tuple(value(mine[round_]) / value(base[round_]) for round_ in mine if round_ in base))

    def ratios(self) -> Iterator[tuple[Figure, How, Ratio]]:
        """All four."""
        for figure in _VALUES:
            for how in HOWS:
                yield figure, how, self.ratio(figure, how)

    @property
    def dropped(self) -> int:
        """Windows that were too noisy."""
        return sum(self.times.dropped.values())

    @property
    def verdict(self) -> str:
        """What the four ratios show, in words."""
        if not any(len(ratio.pairs) >= _FEWEST for _, _, ratio in self.ratios()):
            return "too noisy to say"
        said = []
        for name, figure in (("CPU time", "cpu"), ("time to the first byte", "p50")):
            shown = [
                f"{ratio.median:.2f} × {WORDS[how]}" for of, how, ratio in self.ratios() if of == figure and ratio.shown
            ]
            said += [f"{name} {' and '.join(shown)}"] if shown else []
        return "; ".join(said) or "no difference shown"

    def _median(self, how: How, value: Callable[[Window], float]) -> float:
        windows = self.times.windows[how].values()
        return statistics.median(value(window) for window in windows) / 1000 if windows else float("nan")

    def __repr__(self) -> str:
        return one_line(f"<Measured {self.name}: {self.verdict}>")


@dataclass(frozen=True, repr=False)
class Comparison(Mapping[str, Measured]):
    """Paths that took turns in one run: a mapping from the name of a path to what was measured of it.

    ``failed`` says which of the paths that were asked for did not run, and why; ``not_counted`` why nothing could be
    counted, if so; ``seconds`` is how long it all took.
    """

    paths: Mapping[str, Measured]
    failed: Mapping[str, str]
    not_counted: str
    rounds: int
    milliseconds: int
    seconds: float

    def __getitem__(self, name: str) -> Measured:
        if name in self.failed:
            raise KeyError(f"{name} could not run: {self.failed[name]}")
        return self.paths[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def dropped(self) -> int:
        """Windows of all paths that were too noisy and were measured again, or given up."""
        return sum(each.dropped for each in self.values())

    @property
    def kept(self) -> int:
        """Windows of all paths that count."""
        return sum(len(each.times.windows[how]) for each in self.values() for how in HOWS)

    @property
    def verdict(self) -> str:
        """What was shown of each path but the first, which is direct."""
        _, *others = self.values()
        return "; ".join(f"{each.name}: {each.verdict}" for each in others) or "nothing to compare with"

    @property
    def noise(self) -> str:
        """How many windows there were, how many were dropped, and which paths could not run."""
        gone = "".join(f"; {name} could not run: {why}" for name, why in self.failed.items())
        return (
            f"{counted(self.rounds, 'round')}, {counted(self.kept, 'window')} of {self.milliseconds} ms kept, "
            f"{counted(self.dropped, 'window')} dropped as too noisy{gone}"
        )

    def __repr__(self) -> str:
        _, *others = self.values()
        said = ", ".join(f"{each.name} {each.ratio('cpu', 'keep').median:.2f} ×" for each in others)
        if not any(ratio.shown for each in others for _, _, ratio in each.ratios()):
            said = f"{', '.join(each.name for each in others)}: no difference shown"
        gone = f"; could not run: {', '.join(self.failed)}" if self.failed else ""
        noise = f"{self.dropped} of {self.kept + self.dropped} windows dropped"
        return one_line(f"<Comparison with direct, CPU: {said or 'nothing'}{gone}; {noise}>")

    def _repr_html_(self) -> str:
        from kmesh_lab.comparison import report

        return report.html(self)
