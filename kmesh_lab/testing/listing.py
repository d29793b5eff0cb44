"""The text of a Python function, for showing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Listing", "listing"]


@dataclass(frozen=True)
class Listing:
    """A function as it is written; in a notebook it is shown with colours."""

    name: str
    text: str

    def __repr__(self) -> str:
        return f"<Listing {self.name}, {self.text.count(chr(10)) + 1} lines>"

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


def listing(function: Callable[..., Any]) -> Listing:
    """The source of a function, without the types, which say nothing here."""
    text = inspect.getsource(function).rstrip().replace(": Any", "").replace(" -> None:", ":")
    text = text.replace("  # noqa: PT017", "")
    return Listing(function.__name__, text)
