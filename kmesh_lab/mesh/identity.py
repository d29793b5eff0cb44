"""Numbers for names: the maps know a service and a workload by a 32-bit id, and this is how Kmesh picks it.

The id of a name is its FNV-1a hash, or the next free number when another name has that one already. So an id depends
on who came first, and two nodes may know the same service by different ids. Services and workloads share one table
(Kmesh's pkg/utils/hash_name.go).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice

from kmesh_lab.display import html_table

__all__ = ["IdTable", "fnv1a_32"]

_OFFSET_BASIS = 0x811C9DC5
_PRIME = 0x01000193
_MASK = 0xFFFFFFFF
_ROWS_SHOWN = 20


def _absorb(state: int, text: str) -> int:
    for byte in text.encode():
        state = (state ^ byte) * _PRIME & _MASK
    return state


@lru_cache(maxsize=4096)
def _state_after(prefix: str) -> int:
    return _absorb(_OFFSET_BASIS, prefix)


def fnv1a_32(text: str) -> int:
    """Return the 32-bit FNV-1a hash of the UTF-8 bytes of ``text``: 0 to 0xffffffff.

    >>> hex(fnv1a_32("Kubernetes//Pod/default/httpbin-abc"))
    '0xb8897707'
    """
    # FNV reads byte by byte, so names with a common beginning pass through a common state. Workloads of a namespace
    # differ only after the last "/": remembering the state there saves more than half of the work.
    end = text.rfind("/") + 1
    return _absorb(_state_after(text[:end]), text[end:])


class IdTable:
    """The ids of one node: hash, linear probing upward, wrapping at 2**32.

    0 is never given out. Backend uid 0 is Kmesh's DNS proxy, and upstream does not keep a workload whose name hashes
    to 0 from taking its place (pkg/controller/workload/workload_processor.go); here such a name gets the next free id.

    >>> ids = IdTable()
    >>> ids.id_of("default/httpbin.default.svc.cluster.local")
    2454042994
    """

    __slots__ = ("_ids", "_names")

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def id_of(self, key: str) -> int:
        """Return the id of ``key`` (`Service.key` or `Workload.uid`), giving it one the first time: 1 to 0xffffffff."""
        known = self._ids.get(key)
        if known is not None:
            return known
        number = fnv1a_32(key)
        while number == 0 or number in self._names:
            number = (number + 1) & _MASK
        self._ids[key] = number
        self._names[number] = key
        return number

    def name_of(self, number: int) -> str | None:
        """Return the key that has this id, or ``None`` when no key has it (upstream: the empty string)."""
        return self._names.get(number)

    def release(self, key: str) -> None:
        """Give the id of ``key`` back; a key without one is left alone.

        Other keys keep theirs. The number is free for the next key that probes to it, so whoever releases it has
        removed it from the maps first, as Kmesh does.
        """
        number = self._ids.pop(key, None)
        if number is not None:
            del self._names[number]

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, key: object) -> bool:
        return key in self._ids

    def __repr__(self) -> str:
        return f"<IdTable {len(self)} id{'' if len(self) == 1 else 's'}>"

    def _repr_html_(self) -> str:
        rows = [(number, f"0x{number:08x}", key) for key, number in islice(self._ids.items(), _ROWS_SHOWN)]
        more = len(self) - len(rows)
        title = f"IdTable, {len(self)} ids" + (f", the first {len(rows)}" if more else "")
        return html_table(title, rows, header=("id", "hex", "key"))
