"""The rows of one map as last read, and which of them have just changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Mark", "Table"]

_MARKED = 3.0  # seconds that a row stays marked as changed, new or deleted


@dataclass(frozen=True)
class Mark:
    """That a row is not as it was, for some seconds."""

    kind: str  # changed, new, deleted
    until: float
    value: bytes  # of a deleted row


@dataclass
class Table:
    """The rows of one map as last read."""

    rows: dict[bytes, bytes] = field(default_factory=dict)
    marks: dict[bytes, Mark] = field(default_factory=dict)
    text: dict[bytes, str] = field(default_factory=dict)  # for the search
    _read: bool = False
    _sorted: list[bytes] | None = None

    def take(self, rows: dict[bytes, bytes], now: float) -> bool:
        """Put what was read now in place of what was; True if it differs."""
        old = {key for key, mark in self.marks.items() if mark.until < now}
        for key in old:
            del self.marks[key]
        if rows == self.rows and self._read:
            self._sorted = None if old else self._sorted
            return False
        if self._read:
            until = now + _MARKED
            for key, value in self.rows.items():
                if key not in rows:
                    self.marks[key] = Mark("deleted", until, value)
            for key, value in rows.items():
                if self.rows.get(key) != value:
                    self.marks[key] = Mark("changed" if key in self.rows else "new", until, value)
        self.rows, self._read, self._sorted = rows, True, None
        return True

    def keys(self, order: Callable[[bytes], Any]) -> list[bytes]:
        """All keys in order, and those of rows that have just been deleted."""
        if self._sorted is None:
            gone = [key for key in self.marks if key not in self.rows]
            self._sorted = sorted([*self.rows, *gone], key=order)
        return self._sorted

    def value(self, key: bytes) -> bytes:
        """The value, also of a row that has just been deleted."""
        return self.rows[key] if key in self.rows else self.marks[key].value
