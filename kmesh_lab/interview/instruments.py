"""What the proofs look at beside the lab's own views: processes, interfaces, and programs in the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kmesh_lab.errors import VerifierError
from kmesh_lab.kernel.compiler import compile_text
from kmesh_lab.kernel.libbpf import MapInfo, call, object_info
from kmesh_lab.kernel.maps import Map
from kmesh_lab.kernel.program import Module, Program

__all__ = ["MAP_TYPES", "counting_runs", "map_type", "packets", "program_info", "refusal", "switches"]

MAP_TYPES = {1: "hash", 2: "array", 3: "prog_array", 18: "sockhash", 24: "sk_storage", 27: "ringbuf"}  # linux/bpf.h
_RUN_TIME = 0  # BPF_STATS_RUN_TIME
_PRELUDE = "#define SEC(name)\n"  # the loader finds the word, C need not: bpf/include/maps.h


@contextmanager
def counting_runs(program: Program) -> Iterator[dict[str, int]]:
    """How often a program ran in the block, and for how many nanoseconds: ``{"run_cnt": …, "run_time_ns": …}``."""
    counted: dict[str, int] = {}
    switch = call("bpf_enable_stats", _RUN_TIME)
    try:
        before = _counts(program)
        yield counted
        counted.update({name: value - before[name] for name, value in _counts(program).items()})
    finally:
        os.close(switch)


def _counts(program: Program) -> dict[str, int]:
    lines = Path(f"/proc/self/fdinfo/{program.fd}").read_text().splitlines()
    info = dict(line.split(":", 1) for line in lines)
    return {name: int(info[name]) for name in ("run_cnt", "run_time_ns")}


def program_info(program: Program) -> dict[str, str]:
    """What the kernel says about a program: prog_id, prog_type, prog_jited, verified_insns …"""
    lines = Path(f"/proc/self/fdinfo/{program.fd}").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def map_type(of: Map) -> str:
    """The type of a map, from the kernel."""
    number = object_info(of.fd, MapInfo).type
    return MAP_TYPES.get(number, str(number))


def refusal(c: str) -> str:
    """Compile one C function and load it: "" when the verifier takes it, else its reason."""
    try:
        Module(compile_text(f'#line 1 "claim.c"\n{_PRELUDE}{c}', {}, hurry=True)).close()
    except VerifierError as error:
        return str(error).partition(". The whole log")[0]
    return ""


def packets(pid: int) -> dict[str, int]:
    """Interface → packets received, in the network namespace of a process."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    split = [line.replace(":", " ").split() for line in lines]
    return {fields[0]: int(fields[2]) for fields in split}


def switches(pid: int) -> int:
    """How often the threads of a process have slept: each time the kernel had to switch back to it."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        total += int(fields["voluntary_ctxt_switches"])
    return total
