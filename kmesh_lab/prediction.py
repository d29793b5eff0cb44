"""``km.predict(…)``: guess before you see, in one line of a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmesh_lab.widgets.prediction import Prediction

__all__ = ["predict"]


def predict(question: str, choices: Sequence[str] | Mapping[str, Any], observed: Any, *shown: Any) -> Prediction:
    """Ask for a prediction, and show ``observed`` beside it once the learner has committed; then ``shown``, too.

    >>> c = shop.connect(inventory, 80)
    >>> km.predict("Who answers?", ["inventory-a", "inventory-b", "nobody"], c.backend, c)

    ``choices`` are texts, or text → the value, or the collection of values, that it stands for. A pod counts as its
    name. Without a browser nobody is asked. What was predicted wrongly goes to `kmesh_lab.widgets.weak_spots`.
    Raises ``ValueError`` for fewer than two choices.
    """
    from kmesh_lab.widgets.prediction import Prediction  # here: `import kmesh_lab` must not load the widgets

    return Prediction(question, choices, observed, shown)
