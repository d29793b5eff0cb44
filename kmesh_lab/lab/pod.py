"""A pod: a process in its own network namespace, inside its node's cgroup."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kmesh_lab.datapath.decision import Decision
from kmesh_lab.datapath.plan import Publication
from kmesh_lab.datapath.rows import Address, address_text
from kmesh_lab.display import html_table, one_line
from kmesh_lab.errors import LabError, MapFull
from kmesh_lab.lab.addresses import check_choice, check_flag, check_port
from kmesh_lab.lab.connection import Connection, Connects
from kmesh_lab.lab.sidecar import Proxy, Sidecar
from kmesh_lab.mesh import IPAddress, Service, Workload
from kmesh_lab.traffic.agent import ENROL_PORT, UNENROL_PORT
from kmesh_lab.traffic.pod_process import PodProcess, Reply
from kmesh_lab.traffic.sockets import disconnect

if TYPE_CHECKING:
    from kmesh_lab.lab.lab import Lab
    from kmesh_lab.lab.node import Node
    from kmesh_lab.traffic.capture import Capture

__all__ = ["Pod", "Target"]


class Pod:
    """A pod of the lab; `kmesh_lab.Lab.pod` makes one.

    ``name``, ``node``, ``address`` (one, IPv4 or IPv6), ``workload`` (what the control plane knows about it),
    ``netns_cookie`` (the number by which km_manage knows the network namespace), ``pid``,
    ``proxy`` (the Envoy in this pod, or None).
    """

    def __init__(self, lab: Lab, node: Node, workload: Workload, process: PodProcess, listen: int | None) -> None:
        self.lab, self.node, self.workload, self.process, self.listen = lab, node, workload, process, listen
        self.proxy: Proxy | None = None
        self.heard = 0  # connections of the lab's pods to this one that have sent something, or ended
        self.netns_cookie = int(process.request("netns_cookie")["cookie"])

    @property
    def name(self) -> str:
        """The name, unique in the lab."""
        return self.workload.name

    @property
    def address(self) -> IPAddress:
        """The address of eth0."""
        return self.workload.address

    @property
    def pid(self) -> int:
        """The process of the pod, for ``nsenter -t PID -n``."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """False when the pod's process has ended."""
        return self.process.alive

    @property
    def sidecar(self) -> Sidecar | None:
        """The Envoy through which this pod's traffic goes, if it has one."""
        return self.proxy if isinstance(self.proxy, Sidecar) else None

    # ---- in the mesh or not

    @property
    def enrolled(self) -> bool:
        """True when the programs handle the pod's connections: its network namespace is in km_manage."""
        return self.netns_cookie in self.node.maps.manage

    def enroll(self, enrolled: bool = True) -> None:
        """Take the pod into the mesh, or out, the way Kmesh's CNI plugin does: by a connect to a control address.

        Raises `MapFull`, and leaves the pod as it was, if km_manage has no room for its two rows: the connect itself
        gets no answer, so nobody would notice.
        """
        check_flag(f"enrolled of pod {self.name!r}", enrolled)
        manage, rows = self.node.maps.manage, (self.netns_cookie, self.address)
        new = [row for row in rows if row not in manage]
        self._ask("control", port=ENROL_PORT if enrolled else UNENROL_PORT, family=self.address.version)
        if enrolled and any(row not in manage for row in rows):
            for row in new:
                manage.pop(row, None)
            raise MapFull(f"map km_manage has no room for pod {self.name!r}; delete some of its rows first")

    def leave(self) -> None:
        """Take the pod's rows out of km_manage without asking the pod, which may be dead."""
        for who in (self.netns_cookie, self.address):
            self.node.maps.manage.pop(who, None)

    # ---- traffic

    def learn(self, publications: Sequence[Publication]) -> None:
        """Take over what is published, if this pod has a proxy to tell."""
        if self.sidecar:
            self.sidecar.learn(publications)

    def connect(
        self, target: Target, port: int | None = None, *, protocol: str = "tcp", timeout: float = 5
    ) -> Connection:
        """A real connect(2), made by the pod's process.

        ``target`` is a service, a pod, an address, or the name of a service or pod; ``port`` may be left out when it
        has only one. ``protocol`` is "tcp" or "udp". An address ``::ffff:a.b.c.d`` uses an IPv6 socket for IPv4.
        Raises the `OSError` of connect(2), whose ``decision`` says what the programs did, and `PodGone`.
        """
        asked = self._destination(target, port)
        check_choice("protocol", protocol, ("tcp", "udp"))
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 3600:
            raise ValueError(f"timeout {timeout!r}: expected seconds, more than 0 and at most 3600")
        self.node.datapath.collect_trace()  # a ring full of old steps has no room for new ones
        reply = self._ask("connect", address=str(asked[0]), port=asked[1], protocol=protocol, timeout=timeout)
        code = reply["connect_errno"]
        if code:
            raise self._failed(code, asked, reply["cookie"])
        decide, peer = self.node.datapath.decision, _address(reply["peer"])
        connection = Connection(self, reply.socket(), reply["cookie"], peer, self.lab.pod_at, decide)
        self.lab.remember(connection, self)
        return connection

    def reconnect(self, connection: Connection, target: Target, port: int | None = None) -> Connection:
        """Connect the socket of a connection of this pod to something else, as a program that keeps its sockets does.

        The connection that there was ends, without goodbye. The socket stays, and with it what the maps know of it.
        Raises the `OSError` of connect(2), as `connect` does.
        """
        if connection.closed or connection.pod is not self:
            raise LabError(f"{connection!r} is not an open connection of pod {self.name!r}; connect one")
        asked, sock, steps = self._destination(target, port), connection.socket, len(connection.decision.steps)
        if asked[0].version != (4 if sock.family == socket.AF_INET else 6):
            raise ValueError(f"{address_text(asked)} is no address for a socket of {sock.family.name}")

        def decide(cookie: int) -> Decision:
            return Decision(self.node.datapath.decision(cookie).steps[steps:])

        disconnect(sock)
        try:
            sock.connect((str(asked[0]), asked[1]))
        except OSError as error:
            code = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or errno.EIO
            raise self._failed(code, asked, connection.cookie) from None
        again = Connection(self, sock, connection.cookie, _address(sock.getpeername()), self.lab.pod_at, decide)
        self.lab.remember(again, self)
        return again

    def connect_many(
        self, target: Target, port: int | None = None, *, count: int = 100, protocol: str = "tcp"
    ) -> Connects:
        """``count`` real connects in a row, each closed at once; says how many reached which pod."""
        address, port = self._destination(target, port)
        check_choice("protocol", protocol, ("tcp", "udp"))
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"count {count!r}: expected an int of at least 1")
        return self.tally(self._ask("connect_many", address=str(address), port=port, count=count, protocol=protocol))

    def capture(self, port: int | None = None) -> Capture:
        """The packets that pass the pod's interface while a ``with`` block runs, as Scapy packets.

        ``port`` keeps only TCP and UDP from or to this port; without it, ARP is there too.

        >>> with waypoint.capture(port=15019) as capture:
        ...     shop.connect(inventory, 80).get("/stock/42")
        'inventory-a: item 42: 7 in stock'
        >>> capture.payloads[0].hex(" ")
        '01 00 00 00 06 0a 60 00 0a 00 50 fe 00 00 00 00'
        """
        from kmesh_lab.traffic.capture import Capture  # Scapy's IP layers: a fifth of the time of `import kmesh_lab`

        self.lab.require_open()
        capture = Capture(self.process, port=None if port is None else check_port(port), name_at=self.lab.name_at)
        self.lab.remember(capture, self)
        return capture

    def tally(self, reply: Any) -> Connects:
        """The answer of the pod's process to many connects, with names instead of addresses."""
        reached: Counter[str] = Counter()
        for peer in reply["peers"]:
            address = _address(peer)
            pod = self.lab.pod_at(address)
            reached[pod.name if pod else address_text(address)] += peer[2]
            if pod is not None:
                pod.heard += peer[2]
        refused = Counter(errno.errorcode.get(code, str(code)) for _, code in reply["errors"])
        return Connects(reached, refused)

    def _ask(self, op: str, **fields: Any) -> Reply:
        self.lab.require_open()
        return self.process.request(op, **fields)

    def _destination(self, target: Target, port: int | None) -> Address:
        self.lab.require_open()
        if isinstance(target, str):
            target = self.lab.named(target)
        if isinstance(target, Service):
            address, ports = target.vips[0], list(target.ports)
        elif isinstance(target, Pod):
            if self.lab.pods.get(target.name) is not target:
                raise LabError(f"pod {target.name!r} is not a pod of this lab (any more)")
            address, ports = target.address, [target.listen] if target.listen else []
        elif type(target) in (ipaddress.IPv4Address, ipaddress.IPv6Address):  # an interface is one, too
            address, ports = target, []
        else:
            raise ValueError(f"connect to {target!r}? expected a service, a pod, an address or a name")
        if port is None:
            if len(ports) != 1:
                raise ValueError(f"which port of {target!r}? {f'it has {ports}' if ports else 'give one'}")
            port = ports[0]
        return address, check_port(port)

    def _failed(self, code: int, asked: Address, cookie: int) -> OSError:
        error = OSError(code, f"pod {self.name!r} could not connect to {address_text(asked)}: {errno_text(code)}")
        error.decision = self.node.datapath.decision(cookie)  # type: ignore[attr-defined]
        error.add_note(repr(error.decision))  # type: ignore[attr-defined]
        if self.sidecar and not self.sidecar.alive:
            error.add_note(f"the way leads through {self.sidecar!r}; .sidecar.restart() starts it again")
        return error

    def __repr__(self) -> str:
        where = str(self.workload.locality) or "no locality"
        return one_line(f"<Pod {self.name} {self.address} {where} on {self.node.name}>")

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [
            ("node", self.node.name),
            ("address", self.address),
            ("locality", str(self.workload.locality) or "none"),
            ("listens on", self.listen or "nothing"),
            ("process", "running" if self.alive else "ended"),
        ]
        return html_table(f"Pod {self.name}", rows)


Target = Service | Pod | IPAddress | str


def errno_text(code: int) -> str:
    """``EHOSTUNREACH, No route to host``."""
    return f"{errno.errorcode.get(code, code)}, {os.strerror(code)}"


def _address(pair: Any) -> Address:
    ip = ipaddress.ip_address(pair[0])
    return ip, int(pair[1])
