"""What a learner should look at again: a small local file, fed by predictions and by the mock interview.

The file is ``kmesh-lab/weak-spots.json`` in the user's data folder ($XDG_DATA_HOME, else ``~/.local/share``), so it
outlives notebooks and kernels and is never part of a repository. It holds questions and counts, no names and no times.
"""

from __future__ import annotations

import fcntl
import html
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from kmesh_lab.display import counted, text_table

__all__ = ["WeakSpot", "WeakSpots", "weak_spots"]

_LEFT = 'style="text-align:left"'
_HEADER = ("question", "from", "weight", "last answer", "what is so")


@dataclass(frozen=True, slots=True)
class WeakSpot:
    """One question that went wrong.

    ``weight`` goes up with every miss and down with every hit; at 0 the question is off the list. ``said`` is the last
    answer, ``so`` is what was right.
    """

    question: str
    source: str
    weight: int
    said: str
    so: str


class WeakSpots(Sequence[WeakSpot]):
    """The list, heaviest first: reads the file anew each time, so all kernels of a user share it."""

    @property
    def path(self) -> Path:
        """The file; it need not exist."""
        folder = os.environ.get("XDG_DATA_HOME", "")
        base = Path(folder) if os.path.isabs(folder) else Path.home() / ".local" / "share"  # a relative one is invalid
        return base / "kmesh-lab" / "weak-spots.json"

    def record(self, question: str, source: str, *, right: bool, said: str, so: str) -> None:
        """Count an answer. Raises ``OSError`` when the file cannot be written; then it is as before."""
        with self._locked():
            spots = {spot.question: spot for spot in self._read()}
            weight = max(0, (spots[question].weight if question in spots else 0) + (-1 if right else 1))
            if weight:
                spots[question] = WeakSpot(question, source, weight, said, so)
            else:
                spots.pop(question, None)
            self._write(list(spots.values()))

    def weight(self, question: str) -> int:
        """How weak the learner is there; 0 for what is not on the list."""
        return next((spot.weight for spot in self if spot.question == question), 0)

    def forget(self, question: str | None = None) -> None:
        """Take one question off the list, or all."""
        with self._locked():
            self._write([spot for spot in self._read() if question is not None and spot.question != question])

    def export(self) -> str:
        """The list as Markdown, to paste into one's notes."""
        lines = (f"- [ ] {each.question} ({each.source}; said: {each.said}; so: {each.so})" for each in self)
        return "\n".join(line.replace("\n", " / ") for line in lines)

    # ---- a sequence that shows itself

    def __getitem__(self, index: Any) -> Any:
        return self._sorted()[index]

    def __len__(self) -> int:
        return len(self._sorted())

    def __repr__(self) -> str:
        return f"<WeakSpots: {counted(len(self), 'question')} to look at again>"

    def _rows(self) -> list[tuple[str, ...]]:
        return [(each.question, each.source, str(each.weight), each.said, each.so) for each in self]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        rows = self._rows()
        printer.text("\n".join([repr(self), text_table([_HEADER, *rows])] if rows else [repr(self)]))

    def _repr_html_(self) -> str:
        head = "".join(f"<th {_LEFT}>{name}</th>" for name in _HEADER)
        rows = self._rows()
        body = "".join(
            "<tr>" + "".join(f"<td {_LEFT}>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>" if rows else ""
        return f"<table><caption>{html.escape(repr(self)[1:-1])}</caption>{table}</table>"

    # ---- the file

    def _sorted(self) -> list[WeakSpot]:
        return sorted(self._read(), key=lambda spot: (-spot.weight, spot.question))

    def _read(self) -> list[WeakSpot]:
        try:
            return [_checked(WeakSpot(**each)) for each in json.loads(self.path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):  # not ours any more: kept beside, never overwritten
            names = (self.path.with_suffix(f".unreadable-{number}") for number in count(1))
            self.path.replace(next(name for name in names if not name.exists()))
            return []

    def _write(self, spots: Sequence[WeakSpot]) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps([asdict(spot) for spot in spots], ensure_ascii=False, indent=1), encoding="utf-8")
        new.replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, among all kernels of this user."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _checked(spot: WeakSpot) -> WeakSpot:
    """JSON has other types, and somebody may have edited the file."""
    wrong = [name for name, value in asdict(spot).items() if type(value) is not (int if name == "weight" else str)]
    if wrong:
        raise TypeError(f"{wrong[0]} of a weak spot is {getattr(spot, wrong[0])!r}")
    return spot


weak_spots = WeakSpots()
