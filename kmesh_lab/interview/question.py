"""A question of the interview: three depths of an answer, claims, follow-ups and a rubric, all in two languages."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kmesh_lab.display import choices, one_line
from kmesh_lab.errors import LabError
from kmesh_lab.interview.claim import Claim, Proof
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, both_cells

__all__ = ["Answer", "FollowUp", "Proofs", "Question"]

Found = TypeVar("Found")

DEPTHS = (
    (Text("30 seconds", "30 秒"), "short"),
    (Text("2 minutes", "2 分钟"), "long"),
    (Text("Whiteboard", "白板"), "whiteboard"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The same answer in three depths: said in 30 seconds, in two minutes, drawn on a whiteboard."""

    short: Text
    long: Text
    whiteboard: Text


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What an interviewer asks next, and a good answer."""

    asks: Text
    answer: Text


@dataclass(frozen=True)
class Question:
    """A card. ``rubric`` are the points a good answer makes, by which one marks oneself."""

    number: int
    asks: Text
    answer: Answer
    follow_ups: tuple[FollowUp, ...]
    rubric: tuple[Text, ...]
    claims: tuple[Claim, ...] = field(repr=False)

    def prove(self, stage: Stage) -> Proofs:
        """Prove every claim on the lab."""
        return Proofs(self, tuple(claim.prove(stage) for claim in self.claims))

    def claim(self, id: str) -> Claim:
        """The claim with this id, for example "6.2"; `LabError` if there is none."""
        return _of(self, "claim", id, {each.id: each for each in self.claims})

    def texts(self) -> Iterator[Text]:
        """Every text of the card."""
        yield self.asks
        yield from (getattr(self.answer, name) for _, name in DEPTHS)
        for follow_up in self.follow_ups:
            yield from (follow_up.asks, follow_up.answer)
        yield from self.rubric
        for claim in self.claims:
            yield from (claim.says, claim.because, claim.verdict.value)

    def __repr__(self) -> str:
        return one_line(f"<Question {self.number}: {self.asks.en}>")

    def _repr_html_(self) -> str:
        asks = Text(f"{self.number}. {self.asks.en}", f"{self.number}. {self.asks.zh}")
        parts = [_table(f"<tr style='font-weight:bold'>{both_cells(asks)}</tr>")]
        for title, name in DEPTHS:
            text = getattr(self.answer, name)
            parts.append(_folded(title, _drawn(text) if name == "whiteboard" else _table(_row(text))))
        for follow_up in self.follow_ups:
            parts.append(_folded(Text("Follow-up", "追问"), _table(_row(follow_up.asks) + _row(follow_up.answer))))
        points = _table("".join(map(_row, self.rubric)))
        return "".join([*parts, _folded(Text("Rubric: a good answer says", "评分要点"), points)])


def _of(question: Question, what: str, id: str, there: Mapping[str, Found]) -> Found:
    if id not in there:
        raise LabError(f"no {what} {id!r} in question {question.number}; there is {choices(there or ['none yet'])}")
    return there[id]


def _row(text: Text) -> str:
    return f"<tr>{both_cells(text)}</tr>"


def _table(rows: str) -> str:
    return f'<table style="width:100%;table-layout:auto"><tbody>{rows}</tbody></table>'


def _drawn(text: Text) -> str:
    """A drawing keeps its columns, so the languages stand one below the other."""
    each = (("en", text.en), ("zh", text.zh))
    return "".join(f'<pre lang="{name}" style="margin:6px">{html.escape(drawing)}</pre>' for name, drawing in each)


def _folded(title: Text, content: str) -> str:
    return f"<details><summary>{html.escape(title.en)} / {html.escape(title.zh)}</summary>{content}</details>"


@dataclass(frozen=True, repr=False)
class Proofs:
    """The claims of one question, proven."""

    question: Question
    proofs: tuple[Proof, ...]

    @property
    def agree(self) -> bool:
        """Every claim got the verdict that is on its card."""
        return all(proof.agrees for proof in self.proofs)

    def __getitem__(self, id: str) -> Proof:
        return _of(self.question, "proof", id, {proof.claim.id: proof for proof in self.proofs})

    def __iter__(self) -> Iterator[Proof]:
        return iter(self.proofs)

    def __len__(self) -> int:
        return len(self.proofs)

    def __repr__(self) -> str:
        marks = " ".join(f"{proof.claim.id} {proof.verdict.mark}" for proof in self.proofs)
        return f"<Proofs of question {self.question.number}: {marks}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        for number, proof in enumerate(self.proofs):
            if number:
                printer.text("\n")
            proof._repr_pretty_(printer, cycle)

    def _repr_html_(self) -> str:
        return "".join(proof._repr_html_() for proof in self.proofs)
