"""One real socket of a pod, and what the programs decided about it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kmesh_lab.datapath.decision import Decision
from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.display import counted, html_table, one_line
from kmesh_lab.errors import LabError

if TYPE_CHECKING:
    from kmesh_lab.lab.pod import Pod

__all__ = ["Connection", "Connects"]

_PATIENCE = 5.0  # seconds that a read waits
_GOODBYE = 1.0  # seconds that close() waits for the other side


class Connection:
    """A connection that a pod made; `Pod.connect` returns it.

    The socket belongs to the pod's network namespace and cgroup; its descriptor was passed to this process, so `send`
    and `recv` here act inside the pod. It is closed with the pod and with the lab, at the latest.
    """

    def __init__(
        self,
        pod: Pod,
        sock: socket.socket,
        cookie: int,
        peer: Address,
        find_pod: Callable[[Address], Pod | None],
        decide: Callable[[int], Decision],
    ) -> None:
        self.pod, self.socket, self.cookie, self.peer = pod, sock, cookie, peer
        self._find_pod, self._decide = find_pod, decide
        self._heard = False
        sock.settimeout(_PATIENCE)

    @property
    def backend(self) -> Pod | None:
        """The pod at the other end, found by the address that getpeername(2) gave; None if it is none of the lab's."""
        return self._find_pod(self.peer)

    @property
    def decision(self) -> Decision:
        """What the programs have reported about this socket so far."""
        return self._decide(self.cookie)

    @property
    def closed(self) -> bool:
        """True after `close`, and when the pod or the lab is gone."""
        return self.socket.fileno() < 0

    def send(self, data: bytes) -> int:
        """Send all of ``data``; returns its length, without the TLV that sk_msg may have put in front."""
        self._open().sendall(data)
        self._count()
        return len(data)

    def recv(self, size: int = 65536) -> bytes:
        """What has come, at most ``size`` bytes; ``b""`` at the end. Waits 5 s, then raises TimeoutError."""
        return self._open().recv(size)

    def get(self, path: str) -> str:
        """Ask with ``GET`` and return the body of the answer. Waits 5 s, then raises TimeoutError.

        >>> shop.connect(inventory, 80).get("/stock/42")
        'inventory-a: item 42: 7 in stock'
        """
        if self._open().type != socket.SOCK_STREAM:
            raise LabError("GET is a question for TCP; this connection is UDP: use send() and recv()")
        client = http.client.HTTPConnection(str(self.peer[0]), self.peer[1])
        client.sock = self.socket
        client.request("GET", path, headers={"Host": "shop"})
        self._count()
        return client.getresponse().read().decode(errors="replace").rstrip("\n")

    def close(self) -> None:
        """Say goodbye, wait up to 1 s until the other side has done the same, and close; a second time, do nothing."""
        if self.closed:
            return
        with contextlib.suppress(OSError):
            if self.socket.type == socket.SOCK_STREAM:
                self.socket.shutdown(socket.SHUT_WR)
                deadline = time.monotonic() + _GOODBYE  # also for a peer that goes on talking
                while (left := deadline - time.monotonic()) > 0:
                    self.socket.settimeout(left)
                    if not self.socket.recv(65536):
                        break
        self.socket.close()
        self._count()

    def release(self) -> None:
        """Close at once, without goodbye."""
        self.socket.close()

    def _count(self) -> None:
        """Tell the other end that there is something to hear from this connection, once."""
        backend = self.backend
        if backend is not None and not self._heard:
            backend.heard += 1
        self._heard = True

    def _open(self) -> socket.socket:
        if self.closed:
            raise LabError(f"this connection of pod {self.pod.name!r} is closed; connect again")
        return self.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        backend = self.backend
        who = f"{backend.name} " if backend else ""
        asked = self.decision.original
        via = f" (asked for {address_text(asked)})" if asked and asked != self.peer else ""
        state = ", closed" if self.closed else ""
        return one_line(f"<Connection {self.pod.name} → {who}{address_text(self.peer)}{via}{state}>")

    def _repr_html_(self) -> str:
        decision = self.decision
        rows = [
            ("client", self.pod.name),
            ("asked for", address_text(decision.original or self.peer)),
            ("connected to", address_text(self.peer)),
            ("backend", self.backend or "no pod of the lab"),
            ("decision", decision),
        ]
        return html_table("Connection", rows)


class Connects(Mapping[str, int]):
    """How many of a series of real connects reached which pod: a mapping name → count.

    ``refused`` counts the connects that failed, by errno name.
    """

    def __init__(self, counts: Mapping[str, int], refused: Mapping[str, int]) -> None:
        self._counts, self.refused = Counter(counts), dict(refused)

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._counts

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def total(self) -> int:
        """All connects, those that failed included."""
        return sum(self._counts.values()) + sum(self.refused.values())

    def __repr__(self) -> str:
        reached = ", ".join(f"{name} {count}" for name, count in sorted(self.items()))
        failed = "".join(f", {name} {count}" for name, count in sorted(self.refused.items()))
        return one_line(f"<Connects {self.total}: {reached or 'none succeeded'}{failed}>")

    def _repr_html_(self) -> str:
        rows = [*sorted(self.items()), *sorted(self.refused.items())]
        shares = [(name, count, f"{100 * count / self.total:.0f} %") for name, count in rows]
        return html_table(counted(self.total, "connect"), shares, header=("reached", "connects", "share"))
