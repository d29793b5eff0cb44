"""Rows of several maps, changed while programs read them, and put back if the change is not to be.

Since Linux 6.1 the memory of a replaced row goes to the next row of the same map that is written, at once, while a
program may still be reading it: it would take the endpoint count of one service for that of another. So in a
transaction the next row is a *stand-in*: the old bytes once more, under a key that nobody looks up, for a grace period.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from kmesh_lab.errors import MapFull
from kmesh_lab.kernel.grace import wait_for_programs
from kmesh_lab.kernel.maps import Map, Row

__all__ = ["Transaction"]

_MANY = 256  # from here on one batch is cheaper than single system calls
_SHARE = 4  # looking up one row costs as much as reading so many in a batch
_PATIENCE = 64  # without room for stand-ins, so many grace periods (most of a second) are waited; for more rows, none


class Transaction:
    """Changes that are in the maps already, until `undo` or, a grace period later, `delete_stand_ins`."""

    def __init__(self) -> None:
        self._before: list[tuple[Map, list[bytes], dict[bytes, bytes]]] = []  # keys written, rows that were there
        self._stand_ins: list[tuple[Map, list[bytes]]] = []

    @property
    def replaced(self) -> bool:
        """Whether a program may still hold a row that is not there any more."""
        return any(key in rows for _, keys, rows in self._before for key in keys)

    def write(self, target: Map, rows: Mapping[bytes, bytes], size: int, owner: int | None = None) -> None:
        """Write those rows that differ; ``size`` is about how many rows the map has.

        Rows whose keys begin with the same ``owner`` bytes may be taken for each other, as the endpoints of a service.
        """
        current = _current(target, rows, size)
        new = {key: value for key, value in rows.items() if key not in current} if current else rows
        changed = {key: value for key, value in rows.items() if current.get(key, value) != value} if current else {}
        self._before.append((target, [*new, *changed], current))
        _put(target, list(new.items()))
        self._replace(target, changed, current, owner or target.key_size)

    def delete(self, target: Map, keys: Collection[bytes]) -> None:
        """Delete those rows that are there."""
        current = _current(target, keys, 0)
        there = [key for key in keys if key in current]
        self._before.append((target, there, current))
        target.delete_many(there)

    def undo(self) -> None:
        """Take changes back, the last one first; what is new goes when no program can count it any more."""
        new: list[tuple[Map, list[bytes]]] = []
        for target, keys, rows in reversed(self._before):
            added = [key for key in keys if key not in rows]
            if target.name == "km_frontend":  # the way to the others
                target.delete_many(added)
            else:
                new.append((target, added))
            present = {key: value for key in keys if key in rows and (value := target.lookup(key)) is not None}
            self._replace(target, {key: rows[key] for key in present}, present, target.key_size)
            _put(target, [(key, rows[key]) for key in keys if key in rows and key not in present])
        try:
            if any(keys for _, keys, _ in self._before):
                wait_for_programs()
        finally:
            for target, keys in new:
                target.delete_many(keys)
            self.delete_stand_ins()

    def delete_stand_ins(self) -> None:
        """A grace period from the last change no program reads an old row any more."""
        for target, keys in self._stand_ins:
            target.delete_many(keys)

    def _replace(self, target: Map, rows: Mapping[bytes, bytes], current: Mapping[bytes, bytes], owner: int) -> None:
        last = [key for key, after in pairwise(rows) if key[:owner] != after[:owner]]
        stand_ins = dict(zip(last, _unused(target, rows), strict=False))
        self._stand_ins.append((target, list(stand_ins.values())))
        writes: list[Row] = []
        for key, value in rows.items():
            writes.append((key, value))
            if key in stand_ins:
                writes.append((stand_ins[key], current[key]))
        if not last:
            _put(target, writes)
            return
        try:
            target.update_many(writes)  # in one system call, so hardly ever on two CPUs, which have memory of their own
        except MapFull:  # no room for stand-ins
            for key, value in rows.items():
                target.update(key, value)
                if key in stand_ins and len(last) <= _PATIENCE:
                    wait_for_programs()


def _put(target: Map, rows: Sequence[Row]) -> None:
    if len(rows) < _MANY:
        for key, value in rows:
            target.update(key, value)
    else:
        target.update_many(rows)


def _unused(target: Map, rows: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Keys from the upper end, where no priority, no address and hardly an id is."""
    for number in range((1 << 8 * target.key_size) - 1, 0, -1):
        key = number.to_bytes(target.key_size, "little")
        if key not in rows and target.lookup(key) is None:
            yield key


def _current(target: Map, keys: Collection[bytes], size: int) -> dict[bytes, bytes]:
    """The rows of those keys that are there, and perhaps others."""
    if len(keys) < max(_MANY, size // _SHARE):
        found = ((key, target.lookup(key)) for key in keys)
        return {key: value for key, value in found if value is not None}
    return dict(target.rows())
