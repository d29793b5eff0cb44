"""The view from outside: processes of other users, owners of labs that die, and what is left of them on the machine."""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import kmesh_lab as km
from kmesh_lab.kernel.cgroup import abandoned
from kmesh_lab.kernel.libbpf import libbpf

__all__ = ["NOBODY", "Machine", "bpf_objects", "descriptors", "kill", "run_as_nobody", "run_owner"]

NOBODY = 65534
_ONLY_READING = "-all,+dac_read_search"  # the checkout may be in a folder that only root may enter
_MARK = "KMESH_LAB_TEST"  # in the environment of an owner, from where its pods and its warden inherit it
_BPF_ID = re.compile(r"^(prog|map|link)_id:\s*(\d+)$", re.MULTILINE)


def run_as_nobody(code: str) -> str:
    """Run Python code as a user without privileges; return what it prints."""
    caps = (f"--inh-caps={_ONLY_READING}", f"--ambient-caps={_ONLY_READING}", f"--bounding-set={_ONLY_READING}")
    nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *caps)
    done = subprocess.run([*nobody, sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def kill(pod: km.Pod) -> None:
    """Kill the process of a pod, as the kernel does when memory is short, and wait until it is gone."""
    process = os.pidfd_open(pod.pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], 5)
    finally:
        os.close(process)


@contextmanager
def run_owner(code: str, mark: str) -> Iterator[subprocess.Popen[str]]:
    """Run the code of a lab's owner in a process of its own; it, its pods and its warden carry ``mark``."""
    pipe, marked = subprocess.PIPE, os.environ | {_MARK: mark}
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=marked) as owner:
        try:
            yield owner
        finally:
            owner.kill()


@dataclass
class Machine:
    """What was on the machine before: programs, maps and links by id, the cgroups of dead labs.

    Labs of others may come and go meanwhile: what a process that is not ours holds is not counted.
    """

    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    objects: set[tuple[str, int]] = field(default_factory=lambda: bpf_objects())
    cgroups: set[Path] = field(default_factory=lambda: set(abandoned()))

    def processes(self) -> set[int]:
        """The processes that carry our mark: owners, wardens, pods."""
        return {pid for pid in _pids() if f"{_MARK}={self.mark}".encode() in _read(f"/proc/{pid}/environ").split(b"\0")}

    def left(self, seconds: float) -> list[str]:
        """What is still there, and was all the time, of what was not there before; empty as soon as nothing is."""
        end = time.monotonic() + seconds
        left = self._new()
        while left and time.monotonic() < end:
            time.sleep(0.02)
            left &= self._new()
        return sorted(left)

    def _new(self) -> set[str]:
        processes = self.processes()
        objects = bpf_objects() - self.objects
        if objects:
            objects -= _held(_pids() - processes - {os.getpid()})
            objects = {each for each in objects if not _is_of_a_container(*each)}
        return {
            *(f"process {pid} {_read(f'/proc/{pid}/cmdline')!r}" for pid in processes),
            *(f"network namespace {inode}" for inode, pid in _network_namespaces() if pid in processes),
            *(f"{kind} {number}" for kind, number in objects),
            *(f"cgroup {path}" for path in set(abandoned()) - self.cgroups),
        }


def descriptors() -> list[str]:
    """What the open descriptors of this process are, without the one that reads their list."""
    opened = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            opened.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return sorted(opened)


def bpf_objects() -> set[tuple[str, int]]:
    """Every program, map and link of the kernel: ("prog", 17).

    Only the ids are asked for. `bpftool map show` opens each map as well, and a prog_array that is opened in the moment
    between its last close and its end is never freed (Linux 6.18: prog_array_map_clear takes a reference for each
    last close, but its work item, still pending, runs once).
    """
    found, number = set(), ctypes.c_uint32()
    for kind in ("prog", "map", "link"):
        number.value = 0
        next_id = getattr(libbpf(), f"bpf_{kind}_get_next_id")
        while next_id(number, ctypes.byref(number)) == 0:
            found.add((kind, number.value))
    return found


def _held(pids: set[int]) -> set[tuple[str, int]]:
    """The programs, maps and links of which these processes have a descriptor."""
    held = set()
    for pid in pids:
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fdinfo"):
                text = _read(f"/proc/{pid}/fdinfo/{descriptor}").decode(errors="replace")
                held |= {(kind, int(number)) for kind, number in _BPF_ID.findall(text)}
    return held


def _is_of_a_container(kind: str, number: int) -> bool:
    """Whether it is what runc and systemd attach to a cgroup, and no lab: nobody has a descriptor of such a program."""
    if kind != "prog":
        return False
    shown = subprocess.run(["bpftool", "prog", "show", "id", str(number)], capture_output=True, text=True, check=False)
    return " cgroup_device " in shown.stdout


def _network_namespaces() -> list[tuple[int, int]]:
    """Inode and one process of every network namespace, as lsns(8) knows them."""
    command = ["lsns", "-J", "-t", "net", "-o", "NS,PID"]
    for tries_left in reversed(range(5)):  # it fails when a process ends while it looks at it
        shown = subprocess.run(command, capture_output=True, text=True, check=tries_left == 0)
        if shown.returncode == 0:
            break
    return [(int(each["ns"]), int(each["pid"])) for each in json.loads(shown.stdout)["namespaces"]]


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _read(path: str) -> bytes:
    with suppress(OSError):
        return Path(path).read_bytes()
    return b""
