"""All claims with their verdicts, and which of them were proven here."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import Any

from kmesh_lab.display import counted
from kmesh_lab.interview.claim import Claim, Proof
from kmesh_lab.interview.question import Question
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import LEFT, Verdict, both_cells

__all__ = ["Ledger"]


class Ledger(Sequence[Claim]):
    """The claims of all questions, beside what a stage has found."""

    def __init__(self, questions: Sequence[Question], stage: Stage) -> None:
        self._claims = [claim for question in questions for claim in question.claims]
        self._proofs: dict[str, Proof] = dict(stage.proofs)

    def __getitem__(self, index: Any) -> Any:
        return self._claims[index]

    def __len__(self) -> int:
        return len(self._claims)

    @property
    def open(self) -> list[str]:
        """Claims that were not proven."""
        return [claim.id for claim in self if claim.id not in self._proofs]

    @property
    def disputed(self) -> list[str]:
        """Claims to which the lab gave another verdict than the card."""
        return [proof.claim.id for proof in self._proofs.values() if not proof.agrees]

    @property
    def verdicts(self) -> Counter[Verdict]:
        """How many claims hold, need a correction, are wrong."""
        return Counter(claim.verdict for claim in self)

    def __repr__(self) -> str:
        parts = ", ".join(f"{self.verdicts[verdict]} {verdict.name.lower()}" for verdict in Verdict)
        return f"<Ledger of {counted(len(self), 'claim')}: {parts}; {len(self) - len(self.open)} proven here>"

    def _outcome(self, claim: Claim) -> str:
        proof = self._proofs.get(claim.id)
        if proof is None:
            return "not run / 未运行"
        return "proven / 已验证" if proof.agrees else f"the lab says {proof.verdict}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        lines = [f"  {claim.id:5} {claim.verdict.mark} {claim.says.en} ({self._outcome(claim)})" for claim in self]
        printer.text("\n".join([repr(self), *lines]))

    def _repr_html_(self) -> str:
        names = ("", "claim", "说法", "verdict 结论", "on this lab 本机")
        head = "".join(f"<th {LEFT}>{name}</th>" for name in names)
        rows = "".join(
            f"<tr><th {LEFT}>{claim.id}</th>{both_cells(claim.says, 33)}"
            f"<td {LEFT}>{html.escape(str(claim.verdict))}</td><td {LEFT}>{html.escape(self._outcome(claim))}</td></tr>"
            for claim in self
        )
        caption = html.escape(repr(self)[1:-1])
        body = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
        return f'<table style="width:100%;table-layout:auto">{body}</table>'
