"""xDS inside a pod: what its Envoy asks for is its configuration, and a change reaches it while it runs.

REST, as Envoy's ``api_type: REST`` speaks it: Envoy posts the version it has, and the answer comes as soon as there is
a newer one. So a question is always open, a change arrives in milliseconds, and the next question says whether the last
answer was accepted. The socket is an abstract one: its name exists in this network namespace only, and no file does.
(Files would be simpler, but Envoy watches each with an inotify instance of its own, and a user may have 128 of those.)

Runs inside the pod's process. Standard library only.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

__all__ = ["ADDRESS", "XdsServer"]

ADDRESS = "@xds"
"""The socket as Envoy writes an abstract address."""

_HEAD_END = b"\r\n\r\n"
_LOOK = 0.05  # seconds between two looks whether Envoy still runs


class XdsServer:
    """Serves ``clusters`` and ``listeners``, each with versions of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._wanted: dict[str, tuple[int, bytes]] = {}  # kind → version, JSON of the resources
        self._sent: dict[str, int] = {}
        self._accepted: dict[str, tuple[int, bool]] = {}
        self._envoy = 0  # counts those that were started: the questions of one that ended are not answered
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(ADDRESS.replace("@", "\0"))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def forget_envoy(self) -> None:
        """A new Envoy comes, which knows nothing."""
        with self._changed:
            self._envoy += 1
            self._sent.clear()
            self._accepted.clear()
            self._changed.notify_all()

    def want(self, resources: Mapping[str, str]) -> list[str]:
        """Put resources (JSON lists, as text) in the place of those of the same kind; returns the kinds that changed.

        They are served in the order given: whoever refers to a cluster must come after it.
        """
        with self._changed:
            kinds = [kind for kind, text in resources.items() if self._wanted.get(kind, (0, b""))[1] != text.encode()]
            for kind in kinds:
                self._wanted[kind] = (self._wanted.get(kind, (0, b""))[0] + 1, resources[kind].encode())
            self._changed.notify_all()
            return kinds

    def wait(self, kind: str, running: Callable[[], bool], timeout: float) -> bool | None:
        """Wait until Envoy has accepted (True) or refused (False) the newest version; None if it does neither."""
        end = time.monotonic() + timeout
        with self._changed:
            version = self._wanted[kind][0]
            while self._accepted.get(kind, (0, False))[0] != version:
                if not running() or time.monotonic() > end:
                    return None
                self._changed.wait(_LOOK)
            return self._accepted[kind][1]

    def _serve(self) -> None:
        while True:
            stream, _ = self._socket.accept()
            threading.Thread(target=self._converse, args=(stream,), daemon=True).start()

    def _converse(self, stream: socket.socket) -> None:
        envoy = self._envoy
        with stream, suppress(OSError, ValueError):
            data = b""
            while True:
                while _HEAD_END not in data:
                    data += _some(stream)
                head, _, data = data.partition(_HEAD_END)
                lines = head.decode("latin-1").lower().splitlines()
                length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
                while len(data) < length:
                    data += _some(stream)
                question, data = json.loads(data[:length]), data[length:]
                answer = self._answer(envoy, lines[0].split()[1].rpartition(":")[2], question.get("version_info", ""))
                if answer is None:
                    return
                reply = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n"
                stream.sendall(reply.encode() + answer)

    def _answer(self, envoy: int, kind: str, has: str) -> bytes | None:
        with self._changed:
            if kind in self._sent and envoy == self._envoy:
                self._accepted[kind] = (self._sent[kind], has == str(self._sent[kind]))
                self._changed.notify_all()
            self._changed.wait_for(lambda: envoy != self._envoy or self._is_new(kind))
            if envoy != self._envoy:
                return None
            version, resources = self._wanted[kind]
            self._sent[kind] = version
            return b'{"version_info": "%d", "resources": %s}' % (version, resources)

    def _is_new(self, kind: str) -> bool:
        return kind in self._wanted and self._wanted[kind][0] != self._sent.get(kind)


def _some(stream: socket.socket) -> bytes:
    data = stream.recv(65536)
    if not data:
        raise ConnectionResetError
    return data
