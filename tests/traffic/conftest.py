"""Pods in a cgroup of their own, with loopback up; the cgroup can be removed only if no process is left in it."""

import fcntl
import os
import select
import socket
import struct
import uuid
from pathlib import Path

import pytest

from kmesh_lab.traffic import PodProcess

SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


@pytest.fixture
def cgroup():
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    root = next(Path(fields[1]) for fields in mounts if fields[2] == "cgroup2")
    path = root / f"test-traffic-{uuid.uuid4().hex[:8]}"
    path.mkdir()
    yield path
    left = (path / "cgroup.procs").read_text().split()
    assert left == [], "a test left processes behind"
    path.rmdir()


@pytest.fixture
def start(cgroup):
    """Start a pod that has loopback addresses: ``start("shop")``."""
    started = []

    def start_one(name, script="agent"):
        pod = PodProcess(name, cgroup, script)
        started.append(pod)
        pod.start().wait_ready()
        # An ioctl acts in the namespace of its socket, wherever the caller is.
        with pod.request("socket", family=socket.AF_INET, type=socket.SOCK_DGRAM).socket() as sock:
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
        return pod

    yield start_one
    for pod in started:
        pod.close()


@pytest.fixture
def pod(start):
    return start("inventory-a")


@pytest.fixture
def connect():
    """Connect inside a pod: ``with connect(pod, "127.0.0.1", 8080) as sock:``."""

    def connect_one(pod, address, port, **fields):
        reply = pod.request("connect", address=address, port=port, **fields)
        assert reply["connect_errno"] == 0, os.strerror(reply["connect_errno"])
        sock = reply.socket()
        sock.settimeout(10)
        return sock

    return connect_one


@pytest.fixture
def unanswered(pod):
    """A port of the pod on which connects get no answer: the queue of its listener is full."""
    with pod.request("socket", family=socket.AF_INET, type=socket.SOCK_STREAM).socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with pod.request("connect", address="127.0.0.1", port=port).socket():
            yield port


@pytest.fixture
def receive_all():
    """Return all bytes of a socket until the end of the stream."""
    return lambda sock: b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.fixture
def ends():
    """Tell whether a process ends within so many seconds."""

    def ends_within(pid, seconds):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return bool(select.select([descriptor], [], [], seconds)[0])
        finally:
            os.close(descriptor)

    return ends_within
