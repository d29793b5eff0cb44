"""Maps: bytes in, bytes out, one row or many at a time.

A `Map` works on any map whose descriptor we hold, whichever toolchain made it. What the bytes mean is a `Layout`, which
is taken over from the C headers (bcc hands key and value types over as ctypes), so no struct is written down twice.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kmesh_lab.errors import MapFull
from kmesh_lab.kernel.libbpf import call

__all__ = ["Layout", "Map", "Row", "value_bytes"]

Row = tuple[bytes, bytes]  # key, value

BPF_ANY = 0
_TOKEN = re.compile(r"(\d+)([a-zA-Z?])")  # of the format of a struct
# BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH, _PERCPU_CGROUP_STORAGE
_PER_CPU = (5, 6, 10, 21)
_HASH, _NO_PREALLOC = 1, 1  # BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC
_WANTED = ("map_type", "map_flags", "memlock")
_BUCKET, _ELEMENT = 16, 56  # bytes: a struct bucket, and a struct htab_elem with the llist_node of its allocator


class Layout:
    """Where each field of a C struct lies.

    Integers are in the CPU's order, as the kernel's are; an array of integers is a tuple; anything else is its raw
    bytes: text, an array of structs, a union, of which only the reader knows which member counts. Padding is zero.

        >>> layout.pack(service_id=7, prio=0, backend_index=1).hex()
        '070000000000000001000000'
    """

    def __init__(self, ctype: Any) -> None:
        self.fields: list[tuple[str, int]] = []  # name, number of integers (0: raw bytes)
        self._unions: dict[str, Any] = {}
        self.struct = struct.Struct("=" + "".join(self._formats(ctype, "")))
        self.size = self.struct.size
        if self.size != ctypes.sizeof(ctype):
            raise TypeError(f"{ctype.__name__} has {ctypes.sizeof(ctype)} bytes, its fields make {self.size}")

    def _formats(self, ctype: Any, prefix: str) -> Iterator[str]:
        for name, field, *_ in ctype._fields_ if issubclass(ctype, ctypes.Structure) else [("", ctype)]:
            size = ctypes.sizeof(field)
            path = f"{prefix}{name}"
            if name.startswith("__pad"):
                yield f"{size}x"
            elif issubclass(field, ctypes.Structure):
                yield from self._formats(field, f"{path}.")
            elif issubclass(field, ctypes.Union):
                self.fields.append((path, 0))
                self._unions[path] = field
                yield f"{size}s"
            elif code := _code(field._type_ if issubclass(field, ctypes.Array) else field):
                count = field._length_ if issubclass(field, ctypes.Array) else 1
                self.fields.append((path, count))
                yield f"{count}{code}"
            else:
                self.fields.append((path, 0))
                yield f"{size}s"

    def slots(self) -> list[tuple[int, int]]:
        """Offset and size of each of the ``fields``; padding is skipped."""
        slots, at = [], 0
        for count, code in _TOKEN.findall(self.struct.format):
            size = struct.calcsize(f"={count}{code}")
            if code != "x":
                slots.append((at, size))
            at += size
        return slots

    def variant(self, union: str, member: str) -> Layout:
        """The layout of one member of a union field, for example ``("tuple.__anon0", "ipv4")``."""
        return Layout(dict(self._unions[union]._fields_)[member])

    def pack(self, **values: Any) -> bytes:
        """The bytes of a row; fields not named are zero."""
        flat: list[Any] = []
        for name, count in self.fields:
            if count == 0:
                flat.append(values.pop(name, b""))
            elif count == 1:
                flat.append(values.pop(name, 0))
            else:
                given = tuple(values.pop(name, ()))
                flat += given + (0,) * (count - len(given))
        if values:
            raise TypeError(f"no such field: {', '.join(values)}")
        return self.struct.pack(*flat)

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Field name → value."""
        flat = iter(self.struct.unpack_from(data))
        return {
            name: next(flat) if count < 2 else tuple(next(flat) for _ in range(count)) for name, count in self.fields
        }


def value_bytes(map_type: int, size: int) -> int:
    """How many bytes a value of ``size`` has for us: in a per-CPU map, as many values as CPUs, each in whole words."""
    return -(-size // 8) * 8 * call("libbpf_num_possible_cpus") if map_type in _PER_CPU else size


def _code(ctype: Any) -> str:
    """The letter of an integer for `struct`; empty for every other type."""
    kind = ctype._type_ if issubclass(ctype, ctypes._SimpleCData) else ""
    if not kind or kind not in "?bBhHiIlLqQP":
        return ""
    code = {1: "b", 2: "h", 4: "i", 8: "q"}[ctypes.sizeof(ctype)]
    return code if kind in "bhilq" else code.upper()


@dataclass(frozen=True)
class Map:
    """One map of the kernel.

    ``fd`` stays the property of whoever made the map. Keys and values are bytes of exactly the map's sizes. A value of
    a per-CPU map is the values of all CPUs, one after the other.
    """

    name: str
    fd: int
    key_size: int
    value_size: int
    max_entries: int

    def __repr__(self) -> str:
        return f"<Map {self.name} key {self.key_size} B, value {self.value_size} B, at most {self.max_entries} rows>"

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        value = ctypes.create_string_buffer(max(self.value_size, 8))
        try:
            call("bpf_map_lookup_elem", self.fd, self._key(key), value)
        except FileNotFoundError:
            return None
        return value.raw[: self.value_size]

    def update(self, key: bytes, value: bytes) -> None:
        """Write one row.

        A row that exists is replaced in one step: a program sees the old value or the new one, never a mixture.
        Raises `MapFull` when there is no room.
        """
        if len(value) != self.value_size:
            raise ValueError(f"map {self.name}: a value has {self.value_size} bytes, not {len(value)}")
        try:
            call("bpf_map_update_elem", self.fd, self._key(key), value, BPF_ANY)
        except OSError as error:
            raise self._explain(error) from None

    def delete(self, key: bytes) -> bool:
        """Delete one row; False if there was none."""
        try:
            call("bpf_map_delete_elem", self.fd, self._key(key))
        except FileNotFoundError:
            return False
        return True

    def keys(self) -> Iterator[bytes]:
        """All keys; rows that come or go meanwhile may be missed or seen."""
        key: bytes | None = None
        while True:
            following = ctypes.create_string_buffer(self.key_size)
            try:
                call("bpf_map_get_next_key", self.fd, key, following)
            except FileNotFoundError:
                return
            key = following.raw
            yield key

    def rows(self) -> list[Row]:
        """All rows, read in batches."""
        rows: list[Row] = []
        step = min(self.max_entries, 65536) or 1
        keys = ctypes.create_string_buffer(step * self.key_size)
        values = ctypes.create_string_buffer(step * self.value_size)
        cursor = ctypes.create_string_buffer(max(self.key_size, 4))
        place, done = None, False
        while not done:
            count = ctypes.c_uint32(step)
            try:
                call("bpf_map_lookup_batch", self.fd, place, cursor, keys, values, ctypes.byref(count), None)
            except FileNotFoundError:
                done = True
            place = cursor
            came = _slices(keys, self.key_size, count.value), _slices(values, self.value_size, count.value)
            rows += zip(*came, strict=True)
        return rows

    def update_many(self, rows: Sequence[Row]) -> None:
        """Write many rows in as few system calls as possible; raises `MapFull`, and then some rows may be written."""
        if not rows:
            return
        keys = b"".join([key for key, _ in rows])
        values = b"".join([value for _, value in rows])
        count = ctypes.c_uint32(len(rows))
        if len(keys) != len(rows) * self.key_size or len(values) != len(rows) * self.value_size:
            raise ValueError(f"map {self.name}: a key has {self.key_size} bytes and a value {self.value_size}")
        try:
            call("bpf_map_update_batch", self.fd, keys, values, ctypes.byref(count), None)
        except OSError as error:
            raise self._explain(error) from None

    def delete_many(self, keys: Iterable[bytes]) -> None:
        """Delete rows; those that are not there are skipped."""
        wanted = [self._key(key) for key in keys]
        data = ctypes.create_string_buffer(b"".join(wanted), len(wanted) * self.key_size)
        start = 0
        while start < len(wanted):
            count = ctypes.c_uint32(len(wanted) - start)
            rest = ctypes.byref(data, start * self.key_size)
            try:
                call("bpf_map_delete_batch", self.fd, rest, ctypes.byref(count), None)
                return
            except FileNotFoundError:
                start += count.value + 1  # the kernel stops at the first missing key

    def memory(self) -> int:
        """Bytes of kernel memory, as the kernel accounts them (``memlock`` of the descriptor's fdinfo).

        Before Linux 6.4 the kernel says there what a full map would take. Then a hash map that takes memory row by row
        is counted as newer kernels count it (htab_map_mem_usage in kernel/bpf/hashtab.c).
        """
        info = _fdinfo(self.fd)
        full = _rounded(self.max_entries * _rounded(self.key_size + self.value_size, 8), mmap.PAGESIZE)
        grows = info["map_type"] == _HASH and info["map_flags"] & _NO_PREALLOC
        if not grows or info["memlock"] != full:
            return info["memlock"]
        buckets = 1 << (self.max_entries - 1).bit_length()
        row = _ELEMENT + _rounded(self.key_size, 8) + _rounded(self.value_size, 8)
        return buckets * _BUCKET + len(self.rows()) * row

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.key_size:
            raise ValueError(f"map {self.name}: a key has {self.key_size} bytes, not {len(key)}")
        return key

    def _explain(self, error: OSError) -> OSError | MapFull:
        if error.errno in (errno.E2BIG, errno.ENOSPC):
            return MapFull(f"map {self.name} is full: it holds {self.max_entries:,} rows; delete some first")
        return OSError(error.errno, f"map {self.name}: {os.strerror(error.errno or 0)}")


def _fdinfo(fd: int) -> dict[str, int]:
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        return {name: int(value, 0) for name, _, value in (line.partition(":") for line in lines) if name in _WANTED}


def _rounded(number: int, unit: int) -> int:
    return -(-number // unit) * unit


def _slices(data: Any, size: int, count: int) -> list[bytes]:
    filled = ctypes.string_at(data, size * count)
    return [filled[at : at + size] for at in range(0, size * count, size)]
