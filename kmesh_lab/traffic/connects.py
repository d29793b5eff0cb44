"""Many real connects: so many in a row, or a loop of them until told to stop, and what they came to.

Runs inside the pod's process. Standard library only.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections import Counter

from kmesh_lab.traffic.channel import Message
from kmesh_lab.traffic.sockets import Destination, Peer, open_and_connect

__all__ = ["Loop", "Tally"]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Tally:
    """What many connects to one destination came to: connects per peer, and the errors.

    Times are ``time.monotonic()``, which all processes of the machine share.
    """

    def __init__(self, destination: Destination, timeout: float | None, *, log: bool = False) -> None:
        self._destination = destination
        self._timeout = timeout
        self._peers: Counter[Peer] = Counter()
        self._errors: list[tuple[float, int]] = []
        self._log: list[tuple[float, float, Peer | None]] | None = [] if log else None

    def connect(self) -> None:
        """Connect once, note the peer or the errno, and close.

        A TCP connection is closed by a reset: the TIME_WAITs of thirty thousand would use up the ports of the pod.
        """
        start = time.monotonic()
        peer = None
        try:
            sock, peer, code = open_and_connect(self._destination, self._timeout)
            with sock:
                if self._destination.type == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        except OSError as error:  # out of descriptors or memory: an error of this connect, not of the loop
            code = error.errno or errno.EIO
        end = time.monotonic()
        if peer is None:
            self._errors.append((end, code))
        else:
            self._peers[peer] += 1
        if self._log is not None:
            self._log.append((start, end, peer))

    def values(self) -> Message:
        """Return ``peers`` as [address, port, connects] and ``errors`` as [time, errno].

        Where wanted, also ``log`` as [start, end, index of the peer or None].
        """
        values: Message = {
            "peers": [[address, port, count] for (address, port), count in self._peers.items()],
            "errors": self._errors,
        }
        if self._log is not None:
            positions = {peer: position for position, peer in enumerate(self._peers)}
            values["log"] = [(start, end, None if peer is None else positions[peer]) for start, end, peer in self._log]
        return values


class Loop:
    """A thread that connects again and again, with a pause in between, until it is stopped."""

    def __init__(self, tally: Tally, pause: float) -> None:
        self._tally = tally
        self._pause = pause
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._tally.connect()
            if self._pause:
                self._stopping.wait(self._pause)

    def stop(self) -> Tally:
        """Let the connect that is under way end and return what all of them came to."""
        self._stopping.set()
        self._thread.join()
        return self._tally
