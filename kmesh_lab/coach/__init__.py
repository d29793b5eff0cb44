"""The verifier coach: a cell of C, and in plain words what the kernel thinks of it.

    %load_ext kmesh_lab.coach

    %%bpf
    SEC("cgroup/connect4")
    int learn(struct bpf_sock_addr *ctx)
    …

rule       Rule: how the verifier says it, what it means, the smallest fix
rules, memory_rules    all of them
advice     advise(): the rule for an error, and the line of C
verdict    Verdict: what is shown
cell       coach(): the same without a notebook
magic      %%bpf
"""

from typing import Any

from kmesh_lab.coach.cell import coach
from kmesh_lab.coach.verdict import Verdict

__all__ = ["Verdict", "coach", "load_ipython_extension"]


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext kmesh_lab.coach`` registers ``%%bpf``."""
    from kmesh_lab.coach.magic import BpfMagics

    shell.register_magics(BpfMagics)
