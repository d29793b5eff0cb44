"""Waiting until no program can still see what was just replaced."""

from __future__ import annotations

import ctypes
import os

from kmesh_lab.kernel.libbpf import MapCreateOptions, call

__all__ = ["wait_for_programs"]

_ARRAY, _ARRAY_OF_MAPS = 2, 12  # BPF_MAP_TYPE_*


def wait_for_programs() -> None:
    """Return when every BPF program that was running at the call has ended (about 10 ms).

    That is what the kernel does for whoever replaces a map inside a map: "so that userspace, when we return to it,
    knows that all programs that could be running use the new map value" (maybe_wait_bpf_programs() in
    kernel/bpf/syscall.c, Linux 4.20). membarrier(2) waits too, but not on a machine with one CPU or with nohz_full.
    """
    key, inner = ctypes.c_uint32(0), _make(_ARRAY, MapCreateOptions())
    try:
        outer = _make(_ARRAY_OF_MAPS, MapCreateOptions(inner_map_fd=inner.value))
        try:
            call("bpf_map_update_elem", outer.value, ctypes.byref(key), ctypes.byref(inner), 0)
        finally:
            os.close(outer.value)
    finally:
        os.close(inner.value)


def _make(kind: int, options: MapCreateOptions) -> ctypes.c_uint32:
    """A map of one number; its descriptor, as the value of a row."""
    return ctypes.c_uint32(call("bpf_map_create", kind, b"kl_grace", 4, 4, 1, ctypes.byref(options)))
