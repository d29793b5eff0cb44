"""C as a learner writes it."""

import textwrap

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
