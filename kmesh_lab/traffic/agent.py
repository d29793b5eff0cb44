"""The process of a pod: it lives in the pod's network namespace and cgroup and does there what its owner asks.

`launch` starts it, `PodProcess` is its owner. It joins its cgroup before it makes any socket (a socket belongs to the
cgroup in which it was made), makes its network namespace, says that it is ready, and then answers one request after the
other: a JSON object with ``id``, ``op`` and the keyword arguments of the method ``_op_…``. The answer has the same
``id``; if the operation failed, it has ``errno`` and ``text``. Sockets go to the owner as descriptors.

The process ends when the channel does, so it cannot outlive its owner, not even one that was killed by SIGKILL.
Standard library only, and no more of it than needed: a pod is ready some 30 ms after its start.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from typing import NoReturn

from kmesh_lab.traffic import channel
from kmesh_lab.traffic.channel import Message
from kmesh_lab.traffic.connects import Loop, Tally
from kmesh_lab.traffic.sockets import Peer, cookie_of, listening_sockets, netns_cookie, open_and_connect, resolve

__all__ = ["ENROL_PORT", "UNENROL_PORT", "Agent", "Answer", "main", "run"]

Answer = Message | tuple[Message, socket.socket]
"""What an operation returns: values, or values and a socket that is passed on."""

_CLONE_NEWNET = 0x40000000
ENROL_PORT, UNENROL_PORT = 929, 930  # bpf/include/manage.h; Kmesh bpf/include/bpf_common.h
_CONTROL_ADDRESS = {4: "0.0.0.2", 6: "::2"}


class Agent:
    """The operations of a pod, each a method ``_op_NAME``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loops: dict[int, Loop] = {}

    def answer(self, request: Message) -> Answer:
        """Do what was asked; what goes wrong is an answer too."""
        op = request.pop("op", None)
        operation: Callable[..., Answer] | None = getattr(self, f"_op_{op}", None)
        try:
            if operation is None:
                known = sorted(name.removeprefix("_op_") for name in dir(self) if name.startswith("_op_"))
                raise ValueError(f"no such operation: expected one of {', '.join(known)}")
            return operation(**request)
        except OSError as error:
            return {"errno": error.errno or errno.EIO, "text": f"{op}: {error.strerror or error}"}
        except (LookupError, TypeError, ValueError) as error:
            return {"errno": errno.EINVAL, "text": f"{op}: {error}"}
        except Exception as error:  # a defect of ours must not take down what the pod serves
            return {"errno": errno.EIO, "text": f"{op}: {error!r}"}

    def end(self) -> None:
        """End what runs beside this process; called before it ends, unless it is killed."""

    # What the pod is.

    def _op_netns_cookie(self) -> Answer:
        return {"cookie": netns_cookie()}

    def _op_socket(self, family: int, type: int, proto: int = 0) -> Answer:
        """Make a socket of any kind, such as AF_PACKET for a capture."""
        return {}, socket.socket(family, type, proto)

    def _op_control(self, port: int, family: int = 4) -> Answer:
        """Enrol the pod or, by the other port, unenrol it as Kmesh's CNI plugin does, by a connect that nobody answers.

        A handshake under way is a success: the programs have seen it (pkg/nets/nets.go, TriggerControlCommand).
        """
        if port not in (ENROL_PORT, UNENROL_PORT) or family not in _CONTROL_ADDRESS:
            raise ValueError(
                f"port {port!r}, family {family!r}: expected port {ENROL_PORT} or {UNENROL_PORT} and family 4 or 6"
            )
        destination = resolve(_CONTROL_ADDRESS[family], port)
        with socket.socket(destination.family, destination.type) as sock:
            sock.setblocking(False)
            code = sock.connect_ex(destination.sockaddr)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, f"{_CONTROL_ADDRESS[family]} port {port}: {os.strerror(code)}")
        return {}

    # The pod as a client.

    def _op_connect(
        self,
        address: str,
        port: int,
        protocol: str = "tcp",
        timeout: float | None = 5.0,
    ) -> Answer:
        """Connect; ``connect_errno`` says how it went, and the cookie finds the trace also of a connect that failed."""
        sock, peer, code = open_and_connect(resolve(address, port, protocol), timeout)
        values = {"connect_errno": code, "cookie": cookie_of(sock), "peer": peer}
        if code == 0:
            return values, sock
        sock.close()
        return values

    def _op_connect_many(
        self,
        address: str,
        port: int,
        count: int,
        protocol: str = "tcp",
        timeout: float | None = 5.0,
    ) -> Answer:
        """Connect so many times in a row, closing each connection at once."""
        tally = Tally(resolve(address, port, protocol), timeout)
        for _ in range(count):
            tally.connect()
        return tally.values()

    def _op_loop_start(
        self,
        address: str,
        port: int,
        protocol: str = "tcp",
        timeout: float | None = 5.0,
        pause: float = 0.0,
        log: bool = False,
    ) -> Answer:
        """Connect in the background until ``loop_stop``; several loops may run."""
        loop = max(self._loops, default=0) + 1
        self._loops[loop] = Loop(Tally(resolve(address, port, protocol), timeout, log=log), pause)
        return {"loop": loop}

    def _op_loop_stop(self, loop: int) -> Answer:
        if loop not in self._loops:
            raise ValueError(f"no loop {loop!r}: running are {sorted(self._loops)}")
        return self._loops.pop(loop).stop().values()

    # The pod as a server.

    def _op_listen(
        self,
        port: int,
        protocol: str = "tcp",
        name: str | None = None,
        calls: Peer | None = None,
    ) -> Answer:
        """Serve on a port of all addresses, IPv4 and IPv6; port 0 takes a free one.

        ``calls`` is a service (address and port) that is asked for the answer to ``/stock/…``.
        """
        sockets = listening_sockets(port, protocol)
        bound = sockets[0].getsockname()[1]
        threading.Thread(target=_serve, args=(sockets, name or self.name, calls), daemon=True).start()
        return {"port": bound}


def _serve(sockets: list[socket.socket], name: str, calls: Peer | None) -> None:
    # asyncio takes 30 ms, longer than the start of a pod. The sockets listen already: clients wait, none is refused.
    from kmesh_lab.traffic import server

    server.serve(sockets, name, calls)


def main(name: str, control_fd: int, cgroup: str) -> NoReturn:
    """Be a pod."""
    run(Agent, name, control_fd, cgroup)


def run(kind: Callable[[str], Agent], name: str, control_fd: int, cgroup: str) -> NoReturn:
    """Enter the cgroup and a network namespace, make the agent there, and answer requests until the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal of a notebook is not meant for the pods
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    try:
        _enter(cgroup)
        agent = kind(name)
    except OSError as error:
        channel.send(control, {"errno": error.errno or errno.EIO, "text": error.strerror or str(error)})
        os._exit(1)
    threading.Thread(target=_exit_with, args=(control, agent), daemon=True).start()
    try:
        with open("/proc/self/ns/net") as netns:
            channel.send(control, {"pid": os.getpid()}, [netns.fileno()])
        _answer_all(agent, control)
    except ConnectionError:
        pass  # the owner went while we were answering
    agent.end()
    os._exit(0)


def _enter(cgroup: str) -> None:
    channel.allow_descriptors()
    try:
        with open(os.path.join(cgroup, "cgroup.procs"), "w") as procs:
            procs.write(str(os.getpid()))
    except OSError as error:
        raise OSError(error.errno, f"cannot join the cgroup {cgroup}: {error.strerror}") from None
    libc = ctypes.CDLL(None, use_errno=True)  # os.unshare came with Python 3.12
    if libc.unshare(_CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"cannot make a network namespace: {os.strerror(code)}")


def _exit_with(control: socket.socket, agent: Agent) -> None:
    """Exit as soon as the owner is gone, also while the main thread is busy with a request."""
    poll = select.poll()
    poll.register(control, select.POLLRDHUP)
    poll.poll()
    agent.end()
    os._exit(0)


def _answer_all(agent: Agent, control: socket.socket) -> None:
    while (received := channel.receive(control)) is not None:
        request, descriptors = received
        channel.close_all(descriptors)
        number = request.pop("id", None)
        answer = agent.answer(request)
        values, sock = answer if isinstance(answer, tuple) else (answer, None)
        if sock is None:
            channel.send(control, values | {"id": number})
            continue
        with sock:
            channel.send(control, values | {"id": number}, [sock.fileno()])
