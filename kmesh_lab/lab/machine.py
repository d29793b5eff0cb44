"""Can this machine run a lab, and if not, what is missing and what to do?"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from kmesh_lab.datapath.datapath import TRACED
from kmesh_lab.display import html_table, one_line, text_table
from kmesh_lab.errors import LabError
from kmesh_lab.kernel.compiler import BPF_DIR, compile_c
from kmesh_lab.kernel.features import ALL, Feature, numbers, probe_all
from kmesh_lab.kernel.platform import Platform, detect

__all__ = ["HEADER", "PROGRAMS", "Check", "check"]

_PRESENT = {True: "yes", False: "NO", None: "unknown"}
_STILL_READABLE = "The notebooks can be read without a lab: their outputs are those of an earlier run."
HEADER = ("feature", "here", "how it was probed", "what to do")


class Check:
    """What a lab needs, and what of it this machine has; `kmesh_lab.check` makes one. True when a lab can run."""

    def __init__(self, features: Sequence[Feature], platform: Platform | None = None) -> None:
        self.features = tuple(features)
        self.platform = platform or detect()

    @property
    def missing(self) -> list[Feature]:
        """What is absent or could not be tried, be it needed by every notebook or by some."""
        return [feature for feature in self.features if not feature.present]

    def __bool__(self) -> bool:
        return not any(feature.needed_by == ALL for feature in self.missing)

    def advice(self) -> list[str]:
        """What to do about what is missing on a platform like this one, in lines; empty if nothing is missing."""
        if not self.missing:
            return []
        return [f"This is {self.platform.name}.", *self.platform.advice, *([] if self else [_STILL_READABLE])]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """One row of text for each feature: its name, whether it is here, how it was probed, what to do."""
        return [(each.name, _PRESENT[each.present], each.how, _advice(each)) for each in self.features]

    def __repr__(self) -> str:
        verdict = "a lab can run here" if self else "no lab can run here"
        missing = ", ".join(feature.name for feature in self.missing)
        found = f"missing: {missing}" if missing else f"all {len(self.features)} features are present"
        return one_line(f"<Check: {verdict}, {found}>")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("\n".join([repr(self), text_table([HEADER, *self.rows()]), *self.advice()]))

    def _repr_html_(self) -> str:
        advice = "<br>".join(html.escape(line) for line in self.advice())
        return html_table(repr(self)[1:-1], self.rows(), header=HEADER) + (advice and f"<p>{advice}</p>")


def check() -> Check:
    """Try everything a lab needs of this machine, at last its own programs; leaves nothing behind.

    The first time it takes a second, because it compiles the programs, which the first lab then need not.

    >>> check()
    <Check: a lab can run here, all 35 features are present>
    """
    machine = Check(probe_all())
    return Check([*machine.features, PROGRAMS.probed()], machine.platform) if machine else machine


def _compile() -> tuple[bool, str]:
    try:
        compile_c(BPF_DIR / "kmesh.c", TRACED)
    except LabError as error:
        return False, f"{type(error).__name__}: {error}"
    return True, "compiling them; the verifier takes each"


PROGRAMS = Feature(
    "the lab's programs",
    ALL,
    _compile,
    remedy="report it, with the whole message of `kmesh_lab.Lab()`; until then use another kernel",
)


def _advice(feature: Feature) -> str:
    if feature.present is not False:
        return ""
    return f"{feature.remedy} (for {'every notebook' if feature.needed_by == ALL else numbers(feature.needed_by)})"
