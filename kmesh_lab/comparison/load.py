"""The client and the server of a comparison: a small C program of our own, compiled when it is first needed."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Self

from kmesh_lab.errors import CompileError, LabError
from kmesh_lab.kernel.proxying import c_compiler, first_error
from kmesh_lab.lab import Pod

__all__ = [
    "ANSWER",
    "SERVER_PORT",
    "Client",
    "How",
    "Run",
    "Server",
    "keep_on_path",
    "path_cpu",
    "reserved_cpu",
    "system_calls",
]

How = Literal["keep", "new"]
"""Ask over one connection, or make a new one for each request."""

ANSWER = "inventory: item 42: 7 in stock\n"
SERVER_PORT = 8080

_SOURCE = Path(__file__).with_name("load.c")
_NICE = -15  # as in load.c
_reserved: list[int] = []  # at most one
_PATIENCE = 70.0  # seconds beyond those of a run; the client itself gives up after 60


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the client came to; times in ns, those of connect(2) and of the first byte are medians.

    ``first_byte`` counts from the start of connect(2), or, over a kept connection, from that of send(2).
    """

    requests: int
    wrong: int
    wall: int
    cpu: int
    connect: int
    first_byte: int


class Program:
    """The load program at work in the network namespace of a pod, on the CPU of the path.

    With ``programs`` it is in the cgroup of the pod, where the programs of the node see its sockets; without, in the
    one of the lab, which has none.
    """

    def __init__(self, pod: Pod, arguments: Sequence[str], *, programs: bool) -> None:
        self.pod = pod
        cgroup = pod.process.cgroup
        procs = (cgroup if programs else cgroup.parent.parent) / "cgroup.procs"
        program = _compiled()
        self._process = subprocess.Popen(
            [f"/proc/self/fd/{program}", str(procs), f"/proc/{pod.pid}/ns/net", str(path_cpu()), *arguments],
            pass_fds=[program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is for the notebook
        )
        self.answer(_PATIENCE)  # "ready"

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """Write a line to it."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def answer(self, seconds: float) -> str:
        """The next line that it writes."""
        out = self._process.stdout
        if out is None or not select.select([out], [], [], seconds)[0]:
            raise LabError(f"the load in pod {self.pod.name!r} did not answer within {seconds:.0f} s")
        line = out.readline()
        if not line:
            raise self._gone()
        return line.strip()

    def _gone(self) -> LabError:
        self._process.kill()
        said = (self._process.communicate()[1] or "").strip()
        return LabError(f"the load in pod {self.pod.name!r} has ended: {said or self._process.returncode}")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Server(Program):
    """Answers ``GET /stock/42`` on port 8080 of a pod, in the name of inventory."""

    def __init__(self, pod: Pod, *, programs: bool) -> None:
        super().__init__(pod, ("server", "inventory", str(SERVER_PORT)), programs=programs)


class Client(Program):
    """Asks, one request after the other."""

    def __init__(self, pod: Pod, *, programs: bool) -> None:
        super().__init__(pod, ("client", ANSWER), programs=programs)

    def run(
        self,
        how: How,
        address: object,
        port: int,
        *,
        count: int = 0,
        milliseconds: int = 0,
        pause: int = 0,
    ) -> Run:
        """Ask ``count`` times, or for some milliseconds, whichever is over first; 0 means no limit.

        ``pause`` is in ms, between the last answer and the second mark. Raises `LabError` when there was no answer.
        """
        self.tell(f"{how} {address} {port} {count} {milliseconds} {pause}")
        outcome, _, said = self.answer(_PATIENCE + milliseconds / 1000).partition(" ")
        if outcome != "ok":
            raise LabError(f"the client in pod {self.pod.name!r} asked {address} port {port} and failed: {said}")
        return Run(*map(int, said.split()))


def path_cpu() -> int:
    """The CPU that a whole path runs on: what is spread over several is faster or slower as the scheduler likes it."""
    return _reserved[-1] if _reserved else max(os.sched_getaffinity(0))


@contextmanager
def reserved_cpu(patience: float = 60.0) -> Iterator[int]:
    """A CPU on which no other comparison of this machine runs meanwhile; waits for one, if there is none.

    After ``patience`` seconds it goes on with one that another has. The lock is an abstract socket, which goes with the
    process.
    """
    if _reserved:
        yield _reserved[-1]
        return
    cpus = sorted(os.sched_getaffinity(0), reverse=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        end = time.monotonic() + patience
        cpu = next((cpu for cpu in cpus if _locks(lock, cpu)), None)
        while cpu is None and time.monotonic() < end:
            time.sleep(0.05)
            cpu = next((cpu for cpu in cpus if _locks(lock, cpu)), None)
        _reserved.append(cpus[0] if cpu is None else cpu)
        try:
            yield _reserved[-1]
        finally:
            _reserved.clear()


def _locks(lock: socket.socket, cpu: int) -> bool:
    try:
        lock.bind(f"\0kmesh-lab-cpu-{cpu}")
    except OSError:
        return False
    return True


def keep_on_path(pid: int) -> None:
    """Have all threads of a proxy run where the client and the server run, and before other work of the machine."""
    owner = os.stat(f"/proc/{pid}").st_uid  # who may do it also in a container without SYS_NICE
    command = ["taskset", "--all-tasks", "--cpu-list", "--pid", str(path_cpu()), str(pid)]
    done = subprocess.run(command, user=owner, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"process {pid} was not moved to CPU {path_cpu()}: {done.stderr.strip()}")
    with suppress(PermissionError):  # the ratios hold without it
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), _NICE)
    with suppress(OSError):  # a kernel without autogroups; a session is one
        Path(f"/proc/{pid}/autogroup").write_text(str(_NICE))


@cache
def system_calls() -> Mapping[int, str]:
    """Number → name of the system calls that a path may make, on this machine."""
    program = _compiled()
    path = f"/proc/self/fd/{program}"
    said = subprocess.run([path, "numbers"], pass_fds=[program], capture_output=True, text=True, check=True).stdout
    return {int(number): name for name, number in (line.split() for line in said.splitlines())}


@cache
def _compiled() -> int:
    """A descriptor of the program, in memory: nothing of it can stay on the disk."""
    compiler = c_compiler()
    descriptor = os.memfd_create("load")
    target = f"/proc/{os.getpid()}/fd/{descriptor}"
    done = subprocess.run([compiler, "-O2", "-o", target, str(_SOURCE)], capture_output=True, text=True, check=False)
    if done.returncode:
        os.close(descriptor)
        missing = " (tcc and cc need Debian's package libc6-dev)" if ".h" in done.stderr else ""
        raise CompileError(f"load.c did not compile with {compiler}: {first_error(done)}{missing}", done.stderr)
    os.chmod(target, 0o700)
    # A file that is open for writing is not executed.
    readable = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    os.close(descriptor)
    return readable
