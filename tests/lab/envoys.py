"""What tests of the Envoy lane share."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

import kmesh_lab as km
from kmesh_lab.traffic.envoy import Counters

__all__ = ["all_of", "ended", "kill_envoy", "total"]


def total(pods: Sequence[km.Pod]) -> Counters:
    """The sums of what the Envoys of these pods have counted."""
    counts = [pod.proxy.counters for pod in pods if pod.proxy]
    return Counters(*(sum(each) for each in zip(*counts, strict=True)))


def kill_envoy(pod: km.Pod) -> None:
    """Kill the Envoy of a pod and wait until it is gone."""
    assert pod.proxy
    process = os.pidfd_open(pod.proxy.pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], 5)
    finally:
        os.close(process)


def ended(connection: km.Connection) -> bool:
    """Whether the other side ends or resets a connection within the 5 s that a read waits."""
    try:
        return connection.recv() == b""
    except ConnectionError:
        return True


def all_of(wire: socket.socket) -> Iterator[bytes]:
    """What comes to a socket until it is silent for as long as its timeout."""
    with suppress(TimeoutError):
        while True:
            yield wire.recv(65536)
