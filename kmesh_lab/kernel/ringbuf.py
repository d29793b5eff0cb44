"""Ring buffers: how a program tells user space what it saw, in order and without waiting for anybody to listen."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from kmesh_lab.kernel.libbpf import RING_SAMPLE, call, libbpf, pointer
from kmesh_lab.kernel.maps import Map

__all__ = ["RingBuffer"]


class RingBuffer:
    """The reading end of one ring buffer map.

    A record that finds the ring full is dropped by the kernel; the programs count those (``kl_lost``). Reading is on
    demand, so nothing runs in the background. One reader at a time: callers that share a ring hold a lock.
    """

    def __init__(self, ring: Map) -> None:
        self.name = ring.name
        self._records: list[bytes] = []
        self._callback = RING_SAMPLE(self._take)  # kept alive for as long as C may call it
        self._ring: int | None = pointer("ring_buffer__new", ring.fd, self._callback, None, None)

    def _take(self, _context: int, data: int, size: int) -> int:
        self._records.append(ctypes.string_at(data, size))
        return 0

    def drain(self, wait_ms: int = 0) -> list[bytes]:
        """The records written since the last call; waits at most ``wait_ms`` for the first one, or until a signal."""
        if self._ring is None:
            return []
        call("ring_buffer__consume", self._ring)
        if wait_ms and not self._records:
            with suppress(InterruptedError):
                call("ring_buffer__poll", self._ring, wait_ms)
        records, self._records = self._records, []
        return records

    def close(self) -> None:
        """Unmap the ring; later calls of `drain` return nothing."""
        if self._ring is not None:
            libbpf().ring_buffer__free(self._ring)
            self._ring = None
