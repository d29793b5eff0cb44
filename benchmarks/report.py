"""Figures, the table they are printed as, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmesh_lab.display import text_table

__all__ = ["Figure", "machine", "paired", "table"]

_SCALES = {  # unit of the samples → (unit that is shown, factor, from how much on)
    "s": [("s", 1, 1.0), ("ms", 1e3, 1e-3), ("µs", 1e6, 1e-6), ("ns", 1e9, 0.0)],
    "B": [("MB", 1e-6, 1e6), ("kB", 1e-3, 1e3), ("B", 1, 0.0)],
}


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    ``samples`` are in ``unit``: "s", "B", "/s", "×" or anything else, which is printed as it is. With ``at_most`` or
    ``at_least`` the median has a target. ``ratios`` compare this with another thing, sample by sample, in the same run;
    ``ratio_of`` says which, and the median ratio can have a target, too.
    """

    name: str
    samples: Sequence[float]
    unit: str = "s"
    at_most: float | None = None
    at_least: float | None = None
    ratios: Sequence[float] = ()
    ratio_of: str = ""
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether every target of this line is met; None without a target."""
        verdicts = [_within(self.median, self.at_most, self.at_least)]
        if self.ratios:
            verdicts.append(_within(statistics.median(self.ratios), self.ratio_at_most, self.ratio_at_least))
        known = [verdict for verdict in verdicts if verdict is not None]
        return all(known) if known else None

    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        low, high = min(self.samples), max(self.samples)
        spread = f"{_text(low, self.unit)} – {_text(high, self.unit)}" if len(self.samples) > 1 else ""
        ratio = f"{statistics.median(self.ratios):.2f} × {self.ratio_of}" if self.ratios else ""
        targets = [_limit(self.at_most, self.at_least, self.unit), _limit(self.ratio_at_most, self.ratio_at_least, "×")]
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return self.name, _text(self.median, self.unit), spread, ", ".join(filter(None, targets)), verdict, ratio

    def json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {**self.__dict__, "median": self.median, "met": self.met}


def paired(samples: Sequence[float], others: Sequence[float]) -> list[float]:
    """Ratios of what was measured in the same round."""
    return [one / other for one, other in zip(samples, others, strict=True)]


def table(figures: Sequence[Figure]) -> str:
    """An aligned table."""
    return text_table([("figure", "median", "min – max", "target", "", "ratio"), *(figure.row() for figure in figures)])


def machine() -> dict[str, str]:
    """Where and when: no name of the machine, nothing of its network."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": f"Linux {platform.release()}",
        "cpu": f"{os.cpu_count()} × {model or platform.machine()}",
        "memory": f"{memory / 2**30:.0f} GiB",
        "python": f"Python {platform.python_version()}",
        "load": f"load average {os.getloadavg()[0]:.1f}",
    }


def _within(value: float, at_most: float | None, at_least: float | None) -> bool | None:
    if at_most is None and at_least is None:
        return None
    return (at_most is None or value <= at_most) and (at_least is None or value >= at_least)


def _limit(at_most: float | None, at_least: float | None, unit: str) -> str:
    if at_most is not None:
        return f"≤ {_text(at_most, unit)}"
    return "" if at_least is None else f"≥ {_text(at_least, unit)}"


def _text(value: float, unit: str) -> str:
    scales = _SCALES.get(unit, [(unit, 1, 0.0)])
    shown, factor, _ = next(scale for scale in scales if abs(value) >= scale[2])
    scaled = value * factor
    digits = 0 if abs(scaled) >= 100 or scaled == int(scaled) else 1 if abs(scaled) >= 10 else 2
    return f"{scaled:,.{digits}f} {shown}".rstrip()
