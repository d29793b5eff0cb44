"""The warden of a lab: a process that outlives its owner for a moment, to put everything away.

It holds the fabric's network namespace by living in it, and waits. The byte ``BYE`` on its input: the owner has closed
the lab itself, and the warden goes. Anything else, be it the end of input or the end of the owner's process (by
``kill -9`` too): it kills what still runs in the lab's cgroup and removes the cgroup. Namespaces need no removing, they
end with the last process in them.

It is started as a script by ``python -I -S``, in 30 ms, so it imports the standard library only and nothing of ours;
`kmesh_lab.kernel.cgroup` takes `remove_tree` from here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import sys
import time

__all__ = ["BYE", "CLONE_NEWNET", "READY", "processes", "remove_tree"]

READY = b"ready\n"
BYE = b"x"
CLONE_NEWNET = 0x40000000

KILL_FILE = "cgroup.kill"
"""Kills a cgroup and all below at once, so that nothing can fork away; since Linux 5.14."""

PATIENCE = 5.0
"""Seconds in which what was killed must be gone; a process in uninterruptible sleep may need longer."""


def processes(top: str) -> set[int]:
    """Return the pids in a cgroup and below it; those that this pid namespace does not know are left out."""
    pids: set[int] = set()
    for directory, _, _ in os.walk(top):
        try:
            with open(os.path.join(directory, "cgroup.procs"), encoding="ascii") as file:
                pids.update(map(int, file))
        except OSError:  # removed meanwhile
            continue
    return pids - {0}  # a process of an outer pid namespace; to kill(2), 0 would be our own process group


def remove_tree(top: str, patience: float = PATIENCE) -> int:
    """Kill what runs in a cgroup and below, remove it, and return how many processes there were.

    A cgroup that is gone already is no error. Raises `OSError`: EDEADLK if this process itself is inside, EBUSY if a
    process has not died after ``patience`` seconds.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + patience
    while os.path.isdir(top):
        inside = processes(top)
        if os.getpid() in inside:
            raise OSError(errno.EDEADLK, "this process itself runs inside", top)
        killed |= inside
        _kill(top, inside)
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
        time.sleep(0.001)
    return len(killed)


def _kill(top: str, pids: set[int]) -> None:
    try:
        fd = os.open(os.path.join(top, KILL_FILE), os.O_WRONLY)
    except FileNotFoundError:  # older kernel, or the cgroup is gone; the caller comes back until nobody is left
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return
    try:
        os.write(fd, b"1")
    except OSError as error:
        if error.errno != errno.ENODEV:  # removed meanwhile
            raise
    finally:
        os.close(fd)


def _wait_for_end(control: int, owner: int) -> bytes:
    """Wait until the owner says something, closes its end or dies; return what it said."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(owner, select.POLLIN)  # a pidfd: a child that the owner forked may still hold the pipe open
    ready = {fd for fd, _ in poll.poll()}
    return os.read(control, len(BYE)) if control in ready else b""


def main(lab: str, owner: int) -> None:
    """Live in a new network namespace until the owner is done; ``owner`` is a pidfd."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the owner decides when it ends, or its death does
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        os.write(1, os.strerror(ctypes.get_errno()).encode() + b"\n")
        return
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write("kmesh-warden")
    os.write(1, READY)
    if _wait_for_end(0, owner) != BYE:
        remove_tree(lab)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
