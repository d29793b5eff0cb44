"""The C that was compiled, for a notebook to show."""

from __future__ import annotations

from kmesh_lab.kernel.compiler import BPF_DIR
from kmesh_lab.kernel.source import Source, find_source, function_source

__all__ = ["source"]


def source(file: str, function: str | None = None) -> Source:
    """The C that was compiled: a function of ``bpf/`` with its comment, or a whole file.

    >>> source("service.h", "lb_locality_failover_handle")
    <Source service.h lines 25–33>
    """
    return function_source(find_source(BPF_DIR, file), function)
