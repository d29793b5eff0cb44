"""The load of connect_load.c in Python, for machines without a C compiler: `python -m benchmarks.connect_load …`.

A connect costs some 0.3 µs more than in C, with the hook and without it.
"""

from __future__ import annotations

import ctypes
import os
import random
import socket
import sys
import time
from ipaddress import IPv4Address

_CLONE_NEWNET = 0x40000000


def _enter(cgroup_procs: str, netns: str, cpu: int) -> None:
    with open(cgroup_procs, "w") as procs, open(netns) as namespace:
        procs.write(str(os.getpid()))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    os.sched_setaffinity(0, {cpu})


def _connects(how: str, first: str, count: int, times: int) -> float:
    kind = socket.SOCK_DGRAM if how == "udp" else socket.SOCK_STREAM
    choose = random.Random(1)
    addresses = [(str(IPv4Address(first) + choose.randrange(count)), 80) for _ in range(times)]
    sock = socket.socket(socket.AF_INET, kind)
    start = time.thread_time_ns()
    for address in addresses:
        if how == "new":
            sock.close()
            sock = socket.socket(socket.AF_INET, kind)
        sock.connect_ex(address)
    spent = time.thread_time_ns() - start
    sock.close()
    return spent / times


if __name__ == "__main__":
    _enter(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    for line in sys.stdin:
        asked_how, asked_first, asked_count, asked_times = line.split()
        print(f"{_connects(asked_how, asked_first, int(asked_count), int(asked_times)):.1f}", flush=True)
