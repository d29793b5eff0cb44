"""Network namespaces, and the wire between the nodes of a lab.

Namespaces have no names here: one lives as long as a process, a thread or a descriptor is in it, so nothing is left in
/run/netns. The main thread never enters one, because everything a notebook does later would happen there too: `run_in`
calls a function in a thread of its own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import IPv6Address
from itertools import count
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import ParamSpec, TypeVar

from pyroute2 import IPRoute, NetlinkError

from kmesh_lab.errors import KernelNotSupported, LabError, NotPrivileged, PodGone
from kmesh_lab.kernel import warden
from kmesh_lab.kernel.cgroup import forget_in_forked_child
from kmesh_lab.kernel.wire import (
    FABRIC_IPV4,
    FABRIC_IPV6,
    IPAddress,
    delete_port,
    make_bridge,
    wait_until_found,
    wire_pod,
)

__all__ = ["FABRIC_IPV4", "FABRIC_IPV6", "Fabric", "entered", "netns_cookie", "open_netns", "run_in", "run_in_new"]

P = ParamSpec("P")
T = TypeVar("T")

_SO_NETNS_COOKIE = 71
_libc = ctypes.CDLL(None, use_errno=True)


def open_netns(pid: int) -> int:
    """Return a descriptor, the caller's to close, of the namespace that a process is in; `PodGone` if it has ended."""
    try:
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        raise PodGone(f"process {pid} has ended, and its network namespace with it: start the pod again") from None
    except PermissionError:
        raise NotPrivileged(f"user {os.geteuid()} may not open the namespace of process {pid}: run as root") from None


@contextmanager
def entered(netns: int) -> Iterator[None]:
    """Move the calling thread into a namespace and back; the main thread is refused, use `run_in` there."""
    if current_thread() is main_thread():
        raise RuntimeError("the main thread stays in its namespace: use run_in(netns, function)")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(netns, warden.CLONE_NEWNET), "enter a network namespace")
        yield
    finally:
        _libc.setns(home, warden.CLONE_NEWNET)
        os.close(home)


def run_in(netns: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a namespace, in a thread that ends with it, and return what it returns.

    Sockets that it makes belong to the namespace for ever; /proc/sys/net and /proc/thread-self/net are the namespace's.
    """

    def work() -> T:
        with entered(netns):
            return function(*args, **kwargs)

    return _in_thread(work)


def run_in_new(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in an empty namespace, which is gone afterwards unless a socket or descriptor holds it."""

    def work() -> T:
        _check(_libc.unshare(warden.CLONE_NEWNET), "make a network namespace")
        return function(*args, **kwargs)

    return _in_thread(work)


def _in_thread(work: Callable[[], T]) -> T:
    outcome: Future[T] = Future()

    def body() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    # Not an executor: those refuse work in atexit handlers, where a lab may be closed.
    thread = Thread(target=body, name="kmesh-lab-netns", daemon=True)
    thread.start()
    thread.join()
    return outcome.result()


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        if code == errno.EPERM:
            raise NotPrivileged(f"user {os.geteuid()} may not {what}: that needs root with CAP_SYS_ADMIN")
        raise OSError(code, f"cannot {what}: {os.strerror(code)}")


def netns_cookie(fd: int) -> int:
    """Return the number by which the kernel, and bpf_get_netns_cookie, knows the namespace of a socket."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        try:
            return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            raise KernelNotSupported("this kernel has no socket option SO_NETNS_COOKIE (Linux 5.14)") from None


class Fabric:
    """The wire between the nodes of a lab: a namespace with one bridge, to which every pod is plugged.

    The namespace belongs to the lab's warden, a process that also removes the lab's cgroup if this process dies. So
    close the fabric last: `close` dismisses the warden.
    """

    def __init__(self, lab: Path) -> None:
        self._ports: dict[str, str] = {}
        self._numbers = count(1)
        self.netns = -1
        self._warden = _start_warden(lab)
        try:
            self.netns = open_netns(self._warden.pid)
            forget_in_forked_child(self)
            try:
                self._ipv6 = _in_thread(partial(_make_bridge, self.netns))
            except NetlinkError as error:
                raise KernelNotSupported(f"the fabric's bridge was not made: {error}; see `kmesh-lab check`") from error
        except BaseException:
            self._dismiss()
            raise

    def plug(self, pod: int, name: str, address: IPAddress, *, default_route: bool = False) -> None:
        """Wire up a pod: ``eth0`` with one address in the namespace of descriptor ``pod``, connected to the bridge.

        The pod reaches what is on the wire. Every other destination is refused at once with EHOSTUNREACH, without a
        packet; with ``default_route`` it goes to the fabric instead, as a proxy that redirects packets needs it.
        """
        if self.netns < 0:
            raise LabError(f"pod {name!r} cannot be plugged into a closed fabric: make a new lab")
        if name in self._ports:
            raise LabError(f"pod {name!r} is already plugged into the fabric: unplug it first or choose another name")
        wire = FABRIC_IPV4 if address.version == 4 else FABRIC_IPV6
        if address not in wire.network or address == wire.ip:
            raise ValueError(f"pod {name!r}: expected an address of {wire.network} other than {wire.ip}, not {address}")
        if address.version == 6 and not self._ipv6:
            raise KernelNotSupported(f"pod {name!r}: {address}, but IPv6 is off here; use an IPv4 address")
        port = f"pod{next(self._numbers)}"
        try:
            _in_thread(partial(_plug, self.netns, pod, port, name, address, default_route))
        except (NetlinkError, OSError) as error:
            _in_thread(partial(_unplug, self.netns, port))
            raise LabError(f"pod {name!r} was not plugged into the fabric: {error}") from error
        self._ports[name] = port

    def unplug(self, name: str) -> None:
        """Take a pod off the wire; its eth0 is gone, too. Without effect if it is not plugged."""
        if port := self._ports.pop(name, None):
            _in_thread(partial(_unplug, self.netns, port))

    def close(self) -> None:
        """Dismiss the warden and with it the bridge; a second time, do nothing."""
        if self.netns >= 0:
            self._dismiss()

    def forget(self) -> None:
        """Close the descriptor of the namespace and nothing else."""
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1

    def __repr__(self) -> str:
        state = f"{len(self._ports)} pods, held by process {self._warden.pid}" if self.netns >= 0 else "closed"
        return f"<Fabric {state}>"

    def _dismiss(self) -> None:
        self.forget()
        try:
            self._warden.communicate(warden.BYE, timeout=5)
        except subprocess.TimeoutExpired:  # somebody has stopped it
            self._warden.kill()
            self._warden.communicate()


def _start_warden(lab: Path) -> subprocess.Popen[bytes]:
    owner = os.pidfd_open(os.getpid())
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", warden.__file__, str(lab), str(owner)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[owner],
            cwd="/",
            start_new_session=True,  # Jupyter's interrupt goes to the whole process group
            bufsize=0,
        )
    finally:
        os.close(owner)
    try:
        reply = process.stdout.readline() if process.stdout else b""
    except BaseException:  # Ctrl-C: nobody would ever close its stdin, which ends it
        process.kill()
        process.communicate()
        raise
    if reply == warden.READY:
        return process
    process.communicate()
    reason = reply.decode(errors="replace").strip() or f"exit status {process.returncode}"
    raise NotPrivileged(f"the warden could not make a network namespace: {reason}. It needs root with CAP_SYS_ADMIN")


@contextmanager
def _netlink(netns: int) -> Iterator[IPRoute]:
    """Open a netlink socket in a namespace; it keeps working there when the thread is back home."""
    with entered(netns):
        ip = IPRoute()
    with ip:
        yield ip


def _make_bridge(fabric: int) -> bool:
    with entered(fabric):
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            with suppress(OSError):  # read-only in some containers: then strays are dropped instead of refused
                Path("/proc/sys/net", path).write_text("1")
    with _netlink(fabric) as ip:
        ipv6 = make_bridge(ip)
    if ipv6:
        with entered(fabric):
            wait_until_found(FABRIC_IPV6.ip)
    return ipv6


def _plug(fabric: int, pod: int, port: str, name: str, address: IPAddress, default_route: bool) -> None:
    with _netlink(pod) as inside, _netlink(fabric) as outside:
        wire_pod(inside, outside, pod, port, name, address, default_route)
    if isinstance(address, IPv6Address):
        with entered(pod):
            wait_until_found(address)


def _unplug(fabric: int, port: str) -> None:
    with _netlink(fabric) as ip:
        delete_port(ip, port)
