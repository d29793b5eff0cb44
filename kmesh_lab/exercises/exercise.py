"""An exercise: a task, and a check that tries the answer on the real kernel."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kmesh_lab.display import counted, one_line
from kmesh_lab.errors import CgroupUnavailable, CompileError, KernelNotSupported, NotPrivileged, VerifierError
from kmesh_lab.exercises.verdict import Finding, Mistake, Outcome, Verdict, told

__all__ = ["Exercise", "Kind"]

Kind = Literal["predict", "change", "build"]

_OF_THE_MACHINE = (NotPrivileged, CgroupUnavailable, KernelNotSupported, CompileError, VerifierError)


@dataclass(frozen=True, repr=False)
class Exercise:
    """One exercise of a notebook; ``task`` is the text that stands above its cell.

    ``examine`` tries an answer, returns what it found, case by case, and raises `Mistake` when it cannot go on.
    ``proven`` is what a right answer has shown. ``tried`` stands above what happened in each case, and ``beside`` above
    what it is held against: the learner's answer, or what was wanted.
    """

    id: str
    kind: Kind
    task: str
    proven: str
    examine: Callable[[Any], list[Finding]]
    beside: str = "you say"
    tried: str = "the kernel"

    def check(self, answer: Any) -> Verdict:
        """Try the answer in a lab of its own, which is gone afterwards.

        A wrong answer never raises, and neither does code of yours that does: the verdict shows the error. Only a
        machine that cannot run a lab raises, with an error of `kmesh_lab.errors`.
        """
        try:
            if self.kind == "predict" and not isinstance(answer, Mapping):
                raise Mistake(f"The answer is {answer!r}: expected a dict with a guess for each case.")
            findings = tuple(self.examine(answer))
        except Mistake as mistake:
            return self._verdict("wrong", str(mistake))
        except _OF_THE_MACHINE:
            raise
        except (Exception, SystemExit) as error:
            return self._verdict("wrong", f"Trying it raised {told(error)}")
        outcomes = [finding.outcome for finding in findings]
        if all(outcome == "right" for outcome in outcomes):
            return self._verdict("right", self.proven, findings)
        if all(outcome == "open" for outcome in outcomes):
            return self._verdict("open", "Write your guess for each case, then run the cell again.", findings)
        wrong, missing = outcomes.count("wrong"), outcomes.count("open")
        said = [f"{wrong} of {counted(len(outcomes), 'case')}; the last column says why."] if wrong else []
        left = [f"{counted(missing, 'case')} without an answer."] if missing else []
        return self._verdict("wrong" if wrong else "open", " ".join([*said, *left]), findings)

    def _verdict(self, outcome: Outcome, why: str, findings: tuple[Finding, ...] = ()) -> Verdict:
        return Verdict(self.id, self.kind, outcome, why, findings, self.beside, self.tried)

    def __repr__(self) -> str:
        return one_line(f"<Exercise {self.id} {self.kind}: {' '.join(self.task.split())}>")

    def _repr_html_(self) -> str:
        return f"<p><b>{html.escape(self.id)} {html.escape(self.kind)}.</b> {html.escape(self.task)}</p>"
