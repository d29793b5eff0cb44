"""C as a learner writes it, and a way to run it without traffic."""

import ctypes
import textwrap

from kmesh_lab.kernel.libbpf import call

# What bpf/include/maps.h gives to the real programs.
PRELUDE = """\
#define SEC(name)
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
"""

REFUSING = """
SEC("cgroup/connect4")
int refuse(struct bpf_sock_addr *ctx)
{
	return 0;
}
"""


class Learner:
    """A C file that a learner wrote: ``text`` with the usual beginning."""

    def __init__(self, path, text):
        self.path = path
        path.write_text(PRELUDE + textwrap.dedent(text).lstrip("\n"))

    def line(self, mark):
        """The number of the only line that has this in it."""
        (number,) = [number for number, line in enumerate(self.path.read_text().splitlines(), 1) if mark in line]
        return number


class _TestRun(ctypes.Structure):
    """The beginning of ``struct bpf_test_run_opts`` of libbpf's bpf.h."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
    ]


def run(program, times=1):
    """Have the kernel run a program of the kind ``socket`` so many times, on a packet of 64 zero bytes."""
    options = _TestRun(sz=ctypes.sizeof(_TestRun), data_in=bytes(64), data_size_in=64, repeat=times)
    call("bpf_prog_test_run_opts", program.fd, ctypes.byref(options))
