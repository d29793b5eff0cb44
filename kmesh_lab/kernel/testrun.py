"""BPF_PROG_TEST_RUN: the kernel runs a program once on a packet that we give it, without any traffic.

It needs support by the program type. Those that take a packet have it; those that take a socket or a message have not.
"""

from __future__ import annotations

import ctypes
import errno

from kmesh_lab.kernel.libbpf import TestRunOptions, call
from kmesh_lab.kernel.program import Program

__all__ = ["outcome_on_packet", "run_on_packet"]

_ENOTSUPP = 524  # a program type has no test run; it is not meant for user space: no errno.h has it
_PACKET = bytes(12) + b"\x08\x00" + b"\x45" + bytes(99)  # Ethernet, the first byte of IPv4


def run_on_packet(program: Program, packet: bytes = _PACKET, times: int = 1) -> int:
    """What the program returned for this packet, which begins with its Ethernet header.

    Raises `OSError`, with errno 524 (ENOTSUPP) when programs of its type cannot be run like this.
    """
    options = TestRunOptions(data_in=packet, data_size_in=len(packet), repeat=times)
    call("bpf_prog_test_run_opts", program.fd, ctypes.byref(options))
    return int(options.retval)


def outcome_on_packet(program: Program) -> str:
    """What the kernel says to a run on a made-up packet: ``returned 1``, or the name of an errno, as ``ENOTSUPP``."""
    try:
        return f"returned {run_on_packet(program)}"
    except OSError as error:
        return "ENOTSUPP" if error.errno == _ENOTSUPP else errno.errorcode.get(error.errno or 0, str(error))
