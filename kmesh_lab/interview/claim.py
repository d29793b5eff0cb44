"""A claim that people make in an interview, and the proof that decides about it on the running lab."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kmesh_lab.display import one_line
from kmesh_lab.errors import LabError
from kmesh_lab.interview.text import LEFT, Text, Verdict, both_cells, source_link

if TYPE_CHECKING:
    from kmesh_lab.interview.stage import Stage

__all__ = ["Claim", "Fact", "Proof", "Record"]

_WIDE = 'style="width:100%;table-layout:auto"'
_SHOWN = 160  # characters of one observation


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was observed. ``of_claim``: the claim says so, and ``so`` tells whether it is; else it is a fact
    that the claim leaves out or gets wrong, and it must be so.
    """

    about: Text
    observed: str
    so: bool
    of_claim: bool


class Record:
    """What a proof writes down while it runs; the verdict follows from it and from nothing else."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def claimed(self, en: str, zh: str, observed: object, so: bool) -> None:
        """A part of the claim, what was observed, and whether it is as the claim says."""
        self.facts.append(Fact(Text(en, zh), str(observed)[:_SHOWN], bool(so), of_claim=True))

    def instead(self, en: str, zh: str, observed: object, so: bool) -> None:
        """What is so, though the claim leaves it out or says otherwise; a proof that finds it is not so has failed."""
        self.facts.append(Fact(Text(en, zh), str(observed)[:_SHOWN], bool(so), of_claim=False))

    def verdict(self) -> Verdict:
        """All parts of the claim true and nothing to add: it holds; none true: wrong; else it needs a correction.

        Raises `LabError` when something that must be so was not: then the kernel contradicts the answer itself.
        """
        failed = [fact.about.en for fact in self.facts if not fact.of_claim and not fact.so]
        parts = [fact.so for fact in self.facts if fact.of_claim]
        if failed or not parts:
            raise LabError(f"the proof does not hold on this machine: {'; '.join(failed) or 'nothing was tried'}")
        if not any(parts):
            return Verdict.WRONG
        return Verdict.HOLDS if all(parts) and len(parts) == len(self.facts) else Verdict.CORRECTED


@dataclass(frozen=True, slots=True)
class Claim:
    """What people say, and what is so.

    ``verdict`` is what the answer on the card says; `prove` finds it out anew. ``sources`` are files of Kmesh at the
    commit of `kmesh_lab.interview.text`, or where else the fact can be read. ``varies``: the proof measures, so what
    it observes differs from run to run.
    """

    id: str
    says: Text
    verdict: Verdict
    because: Text
    sources: tuple[str, ...]
    proof: Callable[[Stage, Record], None] = field(repr=False)
    varies: bool = False

    def prove(self, stage: Stage) -> Proof:
        """Run the proof on a lab that is as it was made."""
        stage.reset()
        record = Record()
        self.proof(stage, record)
        proof = stage.proofs[self.id] = Proof(self, record.verdict(), tuple(record.facts))
        return proof

    def _repr_html_(self) -> str:
        links = ", ".join(source_link(source) for source in self.sources)
        return (
            f"<tr><th {LEFT}>{self.id}</th>{both_cells(self.says, 48)}</tr>"
            f"<tr><td {LEFT}><b>{self.verdict.mark}</b></td>{both_cells(_ruling(self), 48)}</tr>"
            f"<tr><td></td><td {LEFT} colspan=2><small>{links}</small></td></tr>"
        )


def _ruling(claim: Claim) -> Text:
    word = claim.verdict.value
    return Text(f"The claim {word.en}: {claim.because.en}", f"此说法{word.zh}：{claim.because.zh}")


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim, proven: the verdict that the lab gave, and what was observed."""

    claim: Claim
    verdict: Verdict
    facts: tuple[Fact, ...]

    @property
    def agrees(self) -> bool:
        """The kernel gave the verdict that is on the card."""
        return self.verdict is self.claim.verdict

    def __repr__(self) -> str:
        return one_line(f"<Proof {self.claim.id} {self.verdict.mark} {self.verdict.value.en}: {self.claim.says.en}>")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        lines = [repr(self), *(f"  {_mark(fact)} {fact.about.en}: {fact.observed}" for fact in self.facts)]
        printer.text("\n".join(lines))

    def _repr_html_(self) -> str:
        head = f"<th {LEFT}></th><th {LEFT}>what was tried</th><th {LEFT}>实验</th><th {LEFT}>observed 观察结果</th>"
        rows = "".join(
            f"<tr><td {LEFT}>{_mark(fact)}</td>{both_cells(fact.about, 33)}"
            f"<td {LEFT}><code>{html.escape(fact.observed)}</code></td></tr>"
            for fact in self.facts
        )
        verdict = f"{self.claim.id} {self.verdict}"
        return (
            f"<table {_WIDE}><caption>{html.escape(verdict)}</caption><tbody>{self.claim._repr_html_()}</tbody></table>"
            f"<table {_WIDE}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )


def _mark(fact: Fact) -> str:
    """✓ and ✗ are about the claim; → is what is so instead."""
    return ("✓" if fact.so else "✗") if fact.of_claim else "→"
