"""The few functions of libbpf.so.1 that the lab calls, with their types.

bcc loads programs but knows neither links, nor sockhash, nor object files, nor more than one ring buffer per module;
Debian's libbpf does, and bcc depends on it anyway. Every function returns a value >= 0 or raises `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

__all__ = [
    "RING_SAMPLE",
    "BtfInfo",
    "MapCreateOptions",
    "MapInfo",
    "ProgramLoadOptions",
    "TestRunOptions",
    "btf_of",
    "call",
    "libbpf",
    "object_info",
    "pointer",
]

Info = TypeVar("Info", bound=ctypes.Structure)

RING_SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

_INT, _UINT, _PTR, _STR, _U64 = ctypes.c_int, ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64

_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_map_lookup_elem": (_INT, [_INT, _PTR, _PTR]),
    "bpf_map_update_elem": (_INT, [_INT, _PTR, _PTR, _U64]),
    "bpf_map_delete_elem": (_INT, [_INT, _PTR]),
    "bpf_map_get_next_key": (_INT, [_INT, _PTR, _PTR]),
    "bpf_map_update_batch": (_INT, [_INT, _PTR, _PTR, _PTR, _PTR]),
    "bpf_map_delete_batch": (_INT, [_INT, _PTR, _PTR, _PTR]),
    "bpf_map_lookup_batch": (_INT, [_INT, _PTR, _PTR, _PTR, _PTR, _PTR, _PTR]),
    "bpf_link_create": (_INT, [_INT, _INT, _INT, _PTR]),
    "bpf_raw_tracepoint_open": (_INT, [_STR, _INT]),
    "bpf_prog_test_run_opts": (_INT, [_INT, _PTR]),
    "bpf_prog_attach": (_INT, [_INT, _INT, _INT, _UINT]),
    "bpf_obj_get_info_by_fd": (_INT, [_INT, _PTR, _PTR]),
    "bpf_btf_get_fd_by_id": (_INT, [_UINT]),
    "bpf_btf_load": (_INT, [_PTR, ctypes.c_size_t, _PTR]),
    "bpf_map_create": (_INT, [_INT, _STR, _UINT, _UINT, _UINT, _PTR]),
    "ring_buffer__new": (_PTR, [_INT, RING_SAMPLE, _PTR, _PTR]),
    "ring_buffer__consume": (_INT, [_PTR]),
    "ring_buffer__poll": (_INT, [_PTR, _INT]),
    "ring_buffer__free": (None, [_PTR]),
    "libbpf_prog_type_by_name": (_INT, [_STR, _PTR, _PTR]),
    "libbpf_probe_bpf_prog_type": (_INT, [_INT, _PTR]),
    "libbpf_probe_bpf_map_type": (_INT, [_INT, _PTR]),
    "libbpf_set_print": (_PTR, [_PTR]),
    "libbpf_num_possible_cpus": (_INT, []),
    "libbpf_strerror": (_INT, [_INT, _STR, ctypes.c_size_t]),
    "bpf_prog_load": (_INT, [_INT, _STR, _STR, _PTR, ctypes.c_size_t, _PTR]),
    "bpf_object__open_file": (_PTR, [_STR, _PTR]),
    "bpf_object__load": (_INT, [_PTR]),
    "bpf_object__close": (None, [_PTR]),
    "bpf_object__next_program": (_PTR, [_PTR, _PTR]),
    "bpf_object__next_map": (_PTR, [_PTR, _PTR]),
    "bpf_program__name": (_STR, [_PTR]),
    "bpf_program__section_name": (_STR, [_PTR]),
    "bpf_program__fd": (_INT, [_PTR]),
    "bpf_program__set_log_buf": (_INT, [_PTR, _PTR, ctypes.c_size_t]),
    "bpf_map__name": (_STR, [_PTR]),
    "bpf_map__fd": (_INT, [_PTR]),
    "bpf_map__type": (_INT, [_PTR]),
    "bpf_map__key_size": (_UINT, [_PTR]),
    "bpf_map__value_size": (_UINT, [_PTR]),
    "bpf_map__max_entries": (_UINT, [_PTR]),
    "bpf_map__reuse_fd": (_INT, [_PTR, _INT]),
}


class _Options(ctypes.Structure):
    """An options struct of libbpf: its first member is its own size, so that old and new libraries understand it."""

    def __init__(self, **values: int | bytes) -> None:
        super().__init__(sz=ctypes.sizeof(self), **values)


class MapCreateOptions(_Options):
    """``struct bpf_map_create_opts`` of libbpf's bpf.h."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("btf_fd", _UINT),
        ("btf_key_type_id", _UINT),
        ("btf_value_type_id", _UINT),
        ("btf_vmlinux_value_type_id", _UINT),
        ("inner_map_fd", _UINT),
        ("map_flags", _UINT),
    ]


class ProgramLoadOptions(_Options):
    """``struct bpf_prog_load_opts`` of libbpf's bpf.h, as far as it is used here."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", _INT),
        ("expected_attach_type", _INT),
        ("unused", _UINT * 7),
        ("unused_too", _U64 * 5),
        ("log_level", _UINT),
        ("log_size", _UINT),
        ("log_buf", ctypes.c_void_p),
    ]


class TestRunOptions(_Options):
    """``struct bpf_test_run_opts`` of libbpf's bpf.h, without its last members."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        *(("data_in", _STR), ("data_out", _PTR), ("data_size_in", _UINT), ("data_size_out", _UINT)),
        *(("ctx_in", _PTR), ("ctx_out", _PTR), ("ctx_size_in", _UINT), ("ctx_size_out", _UINT)),
        *(("retval", _UINT), ("repeat", _INT), ("duration", _UINT)),
    ]


class MapInfo(ctypes.Structure):
    """``struct bpf_map_info`` of linux/bpf.h."""

    _fields_ = [
        *((name, _UINT) for name in ("type", "id", "key_size", "value_size", "max_entries", "map_flags")),
        ("name", ctypes.c_char * 16),
        *((name, _UINT) for name in ("ifindex", "btf_vmlinux_value_type_id")),
        *((name, _U64) for name in ("netns_dev", "netns_ino")),
        *((name, _UINT) for name in ("btf_id", "btf_key_type_id", "btf_value_type_id", "pad")),
        ("map_extra", _U64),
    ]


class BtfInfo(ctypes.Structure):
    """The beginning of ``struct bpf_btf_info`` of linux/bpf.h."""

    _fields_ = [("btf", _U64), ("btf_size", _UINT), ("id", _UINT)]


@cache
def libbpf() -> ctypes.CDLL:
    """The loaded library.

    Raises `OSError` when Debian's package ``libbpf1`` is missing.
    """
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(None)  # its messages would go to the terminal; ours say more
    return library


def call(name: str, *arguments: object) -> int:
    """Call an integer function of libbpf; a negative result becomes an `OSError` with the errno libbpf reports."""
    function: Callable[..., int] = getattr(libbpf(), name)
    result = function(*arguments)
    if result < 0:
        code = -result if result != -1 else ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def pointer(name: str, *arguments: object) -> int:
    """Call a function of libbpf that makes an object; NULL becomes an `OSError`."""
    function: Callable[..., int | None] = getattr(libbpf(), name)
    result = function(*arguments)
    if not result:
        code = ctypes.get_errno() or errno.EINVAL
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def object_info(descriptor: int, kind: type[Info], **values: int) -> Info:
    """What the kernel says about a map (`MapInfo`) or about types (`BtfInfo`)."""
    info = kind(**values)
    size = ctypes.c_uint32(ctypes.sizeof(info))
    call("bpf_obj_get_info_by_fd", descriptor, ctypes.byref(info), ctypes.byref(size))
    return info


def btf_of(info: MapInfo) -> bytes:
    """The type information that a map was made with; empty if there is none."""
    if not info.btf_id:
        return b""
    descriptor = call("bpf_btf_get_fd_by_id", info.btf_id)
    try:
        size = object_info(descriptor, BtfInfo).btf_size
        data = ctypes.create_string_buffer(size)
        object_info(descriptor, BtfInfo, btf=ctypes.addressof(data), btf_size=size)
    finally:
        os.close(descriptor)
    return data.raw
