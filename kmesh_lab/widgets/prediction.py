"""A prediction, held against what the kernel did: `kmesh_lab.predict` makes one."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any, ClassVar

from IPython.lib.pretty import pretty

from kmesh_lab.display import choices as listed
from kmesh_lab.display import one_line
from kmesh_lab.widgets.view import View
from kmesh_lab.widgets.weak_spots import weak_spots

__all__ = ["Prediction"]

_FORMS = ("_repr_html_", "_repr_svg_")


class Prediction(View):
    """A question with choices; what was observed stays hidden until the learner has committed to one of them.

    The cell has run when this is shown, so later cells never wait for an answer, and without a browser nobody is
    asked. ``choices`` are texts, or a mapping text → the value, or the collection of values, that it stands for.
    ``observed`` is a value of the run; ``shown`` are its results, which appear with it. A miss goes to `weak_spots`.
    """

    name: ClassVar[str] = "prediction"

    def __init__(
        self, question: str, choices: Sequence[str] | Mapping[str, Any], observed: Any, shown: Sequence[Any] = ()
    ) -> None:
        meant = dict(choices) if isinstance(choices, Mapping) else {str(text): text for text in choices}
        if len(meant) < 2:
            raise ValueError(f"a prediction needs two choices or more, {question!r} has {len(meant)}")
        self._shown = tuple(shown)
        value = getattr(observed, "name", observed)
        happened = [text for text, means in meant.items() if _is(observed, means) or _is(value, means)]
        super().__init__(
            question=question,
            choices=list(meant),
            observed=happened[0] if happened else one_line(f"none of these: {value}"),
            shown=[_form(each) for each in shown],
            committed="",
            skipped=False,
            note="",
        )

    @property
    def observed(self) -> str:
        """The choice that came true; ``none of these: …`` when the run did something else."""
        return str(self.frame["observed"])

    @property
    def committed(self) -> str:
        """The choice that the learner has committed to, "" before."""
        return str(self.frame["committed"])

    def commit(self, choice: str) -> None:
        """Commit to a choice, once: a second one is ignored, since what happened is known by then."""
        if choice not in self.frame["choices"]:
            raise ValueError(f"no choice {choice!r}; there is {listed(self.frame['choices'])}")
        if self.committed or self.frame["skipped"]:
            return
        note = ""
        try:
            right = choice == self.observed
            weak_spots.record(self.frame["question"], "prediction", right=right, said=choice, so=self.observed)
        except OSError as error:
            note = f"not remembered among the weak spots: {error}"
        self.frame = {**self.frame, "committed": choice, "note": note}

    def on_commit(self, choice: object = "", **_: object) -> None:
        """The page says that the learner has committed."""
        if choice in self.frame["choices"]:
            self.commit(str(choice))

    def on_skip(self, **_: object) -> None:
        """The page says that the learner wants to see it without a prediction."""
        if not self.committed:
            self.frame = {**self.frame, "skipped": True}

    def __repr__(self) -> str:
        said = f"predicted {self.committed}, " if self.committed else ""
        return one_line(f"<Prediction {said}observed {self.observed}: {self.frame['question']}>")

    def html(self) -> str:
        """The question and its choices; predicted and observed are folded, so that a reader can guess first."""
        frame = self.frame
        items = "".join(f"<li>{escape(text)}</li>" for text in frame["choices"])
        predicted = f"<p>Predicted: <b>{escape(self.committed)}</b></p>" if self.committed else ""
        return (
            f"<p><b>Predict:</b> {escape(frame['question'])}</p><ul>{items}</ul><details><summary>What happened"
            f"</summary>{predicted}<p>Observed: <b>{escape(self.observed)}</b></p>{''.join(frame['shown'])}</details>"
        )


def _is(value: Any, stands_for: Any) -> bool:
    """A choice stands for one value or for each of several; a text is one value."""
    if isinstance(stands_for, Collection) and not isinstance(stands_for, (str, bytes)):
        return value in stands_for or value == stands_for
    if isinstance(value, float) and isinstance(stands_for, (int, float)):
        return math.isclose(value, stands_for)
    return bool(value == stands_for or str(value) == str(stands_for))


def _form(result: Any) -> str:
    """A result as HTML, as JupyterLab would show it."""
    for form in _FORMS:
        if hasattr(result, form):
            return str(getattr(result, form)())
    return f"<pre>{escape(pretty(result))}</pre>"  # type: ignore[no-untyped-call]
