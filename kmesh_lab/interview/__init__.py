"""The interview: thirteen questions, whose answers are claims, each with a proof that runs on a lab.

    stage = Stage(km.Lab())
    question(6)                      # the card: three depths, follow-ups and rubric, in English and Chinese
    question(6).prove(stage)         # every claim of it, tried on the lab
    Ledger(QUESTIONS, stage)         # all claims and verdicts

text          Text: English and Chinese; Verdict
claim         Claim, Record, Proof: what is said, what was observed, and the verdict that follows
question      Question, Answer, FollowUp: a card
stage         Stage: the lab on which claims are proven
instruments   processes, interfaces and programs, as the kernel counts them
ledger        Ledger: all claims
questions/    one module per question
"""

from kmesh_lab.display import choices
from kmesh_lab.errors import LabError
from kmesh_lab.interview.claim import Claim, Fact, Proof, Record
from kmesh_lab.interview.ledger import Ledger
from kmesh_lab.interview.question import Answer, FollowUp, Proofs, Question
from kmesh_lab.interview.questions import QUESTIONS
from kmesh_lab.interview.stage import Stage
from kmesh_lab.interview.text import Text, Verdict

__all__ = [
    "QUESTIONS",
    "VERDICTS",
    "Answer",
    "Claim",
    "Fact",
    "FollowUp",
    "Ledger",
    "Proof",
    "Proofs",
    "Question",
    "Record",
    "Stage",
    "Text",
    "Verdict",
    "question",
]

VERDICTS = {f"{verdict.value.en} / {verdict.value.zh}": verdict for verdict in Verdict}
"""What a claim can be found to be, as choices for ``km.predict``."""


def question(number: int) -> Question:
    """The question with this number, from 1."""
    found = next((each for each in QUESTIONS if each.number == number), None)
    if found is None:
        raise LabError(f"no question {number!r}; there is {choices(str(each.number) for each in QUESTIONS)}")
    return found
