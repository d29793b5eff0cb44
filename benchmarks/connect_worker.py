"""A process inside a pod that connects when it is told to, and times it; what it runs knows nothing of Kmesh Lab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from kmesh_lab import Pod
from kmesh_lab.kernel.cgroup import cgroup2_mount

__all__ = ["Worker", "built"]

_HERE = Path(__file__).resolve().parent


class Worker:
    """Connects in the network namespace of ``pod``, and in its cgroup, or, without ``hook``, in none with programs."""

    def __init__(self, command: Sequence[str], pod: Pod, *, hook: bool) -> None:
        mount = cgroup2_mount()
        inside = Path(f"/proc/{pod.pid}/cgroup").read_text().rpartition("0::/")[2].strip()
        procs = mount / (inside if hook else "") / "cgroup.procs"
        cpu = max(os.sched_getaffinity(0))
        self._process = subprocess.Popen(
            [*command, str(procs), f"/proc/{pod.pid}/ns/net", str(cpu)],
            cwd=_HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def connect(self, how: str, first: IPv4Address, count: int, times: int) -> float:
        """Seconds per connect: "udp" or "tcp" on one socket, or "new", a TCP socket for each."""
        sent, answers = self._process.stdin, self._process.stdout
        if sent is None or answers is None:
            raise ValueError("the worker has no pipes")
        sent.write(f"{how} {first} {count} {times}\n")
        sent.flush()
        return float(answers.readline()) * 1e-9

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def built() -> Iterator[Sequence[str]]:
    """The command that starts the load: compiled C, or Python where there is no C compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "clang"))), None)
    if compiler is None:
        yield [sys.executable, "-m", "benchmarks.connect_load"]
        return
    with TemporaryDirectory(prefix="kmesh-lab-") as folder:
        program = f"{folder}/connect_load"
        subprocess.run([compiler, "-O2", "-o", program, str(_HERE / "connect_load.c")], check=True)
        yield [program]
