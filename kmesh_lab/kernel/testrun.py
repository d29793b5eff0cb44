"""BPF_PROG_TEST_RUN: the kernel runs a program once on a packet that we give it, without any traffic.

It needs support by the program type. Those that take a packet have it; those that take a socket or a message have not.
"""

from __future__ import annotations

import ctypes

from kmesh_lab.kernel.libbpf import TestRunOptions, call
from kmesh_lab.kernel.program import Program

__all__ = ["ENOTSUPP", "run_on_packet"]

ENOTSUPP = 524
"""What the kernel says when a program type has no test run. It is not meant for user space: no errno.h has it."""


def run_on_packet(program: Program, packet: bytes = bytes(64), times: int = 1) -> int:
    """What the program returned for this packet, which begins with its Ethernet header.

    Raises `OSError`: `ENOTSUPP` when programs of its type cannot be run like this.
    """
    options = TestRunOptions(data_in=packet, data_size_in=len(packet), repeat=times)
    call("bpf_prog_test_run_opts", program.fd, ctypes.byref(options))
    return int(options.retval)
