"""Everything a lab needs of the machine, each found out by trying it; a version number never decides.

A probe does the smallest real thing (load two instructions, make a map, attach to a cgroup of its own) and leaves
nothing behind. Where it is not allowed to try, it says so, instead of "absent". `FEATURES` is the one list.
Over 300 lines, because a feature and the way in which it is probed are read together.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from kmesh_lab.errors import CgroupUnavailable, KernelNotSupported, LabError, NotPrivileged
from kmesh_lab.kernel.cgroup import LabCgroup
from kmesh_lab.kernel.libbpf import ProgramLoadOptions, call, libbpf
from kmesh_lab.kernel.netns import netns_cookie, run_in_new
from kmesh_lab.kernel.proxying import COMPILER_REMEDY, ENVOY_REMEDY, NAT_REMEDY, find_compiler, find_envoy, find_nat

__all__ = ["ALL", "FEATURES", "Feature", "numbers", "probe_all", "require"]

ALL = tuple(range(10))  # the notebooks, by number
IPV6 = (4, 8, 9)
CAPTURE = (4, 5, 6)
SIDECARS = (6, 7, 9)
COMPARISON = (6, 9)
PROGRAM_TYPES = {"cgroup_skb": 8, "sock_ops": 13, "sk_msg": 16, "raw_tracepoint": 17, "cgroup_sock_addr": 18}
MAP_TYPES = {"hash": 1, "prog_array": 3, "sockhash": 18, "sk_storage": 24, "ringbuf": 27}
CGROUP_INET4_CONNECT = 10  # attach type; without one, no cgroup_sock_addr program loads
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
OTHER_USERS = {"CAP_SETGID": 6, "CAP_SETUID": 7}  # Envoy has a user of its own, as in Istio
RETURN_1 = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)  # r0 = 1; exit
ROOT_REMEDY = "run as root; in a container, with --privileged or --cap-add SYS_ADMIN, NET_ADMIN and NET_RAW"
BPF_REMEDY = "leave the user namespace (rootless container) or relax the seccomp profile, which both forbid bpf(2)"
BCC_REMEDY = "install Debian's python3-bpfcc and link its folder bcc into the venv (`make lab` does both)"
USER_REMEDY = "run as root; in a container, with --cap-add SETUID and SETGID"
CGROUP_REMEDY = "`mount -t cgroup2 none DIR`, or `mount -o remount,rw DIR`; in a container, use --privileged"

Outcome = tuple[bool | None, str]  # present or not (None: not allowed to try), and how that was found out


@dataclass(frozen=True)
class Feature:
    """One thing a lab needs; once it is `probed`, whether this machine has it.

    ``present`` is ``None`` if that could not be tried; ``how`` says what was tried, or why nothing was.
    """

    name: str
    needed_by: tuple[int, ...]
    attempt: Callable[[], Outcome]
    config: str = ""
    since: str = ""
    remedy: str = ""
    error: type[LabError] = KernelNotSupported
    present: bool | None = None
    how: str = ""

    def probed(self) -> Feature:
        """Try it; on macOS and the like there is nothing to try."""
        present, how = self.attempt() if sys.platform == "linux" else (False, "not tried: eBPF is a part of Linux")
        newer = f"Linux {self.since} or newer" if self.since else "a kernel"
        kernel = f"use {newer}{self.config and ' with ' + self.config}"
        return replace(self, present=present, how=how, remedy=self.remedy or kernel)

    def problem(self) -> LabError:
        """Return the error to raise because it is missing."""
        needed = "every notebook" if self.needed_by == ALL else f"notebooks {numbers(self.needed_by)}"
        tail = f"Needed by {needed}; `kmesh-lab check` lists the rest."
        if self.present is False and self.error is KernelNotSupported:
            origin = ", ".join(filter(None, (self.config, self.since and f"Linux {self.since}")))
            return KernelNotSupported(f"this kernel has no {self.name} ({origin}). {tail}")
        if self.present is None:
            return NotPrivileged(f"{self.name}: {self.how}. {tail}")
        return self.error(f"{self.name}: {self.how}; {self.remedy}. {tail}")

    def __repr__(self) -> str:
        state = {True: "present", False: "missing", None: "unknown"}[self.present]
        return f"<Feature {self.name}: {state}>"


def numbers(notebooks: Iterable[int]) -> str:
    """Write the numbers of notebooks as their file names do: ``04, 06, 08``."""
    return ", ".join(f"{number:02}" for number in notebooks)


def probe_all() -> list[Feature]:
    """Try every feature."""
    return [feature.probed() for feature in FEATURES]


def require(*names: str) -> None:
    """Raise the error of the first of these features that is missing; without names, of those every notebook needs.

    Raises `NotPrivileged`, `CgroupUnavailable` or `KernelNotSupported`, or `LabError` if a Debian package is missing.
    """
    known = [feature.name for feature in FEATURES]
    for name in names:
        if name not in known:
            raise ValueError(f"unknown feature {name!r}: expected one of {', '.join(known)}")
    if sys.platform != "linux":
        raise KernelNotSupported("a lab needs the Linux kernel, and this is none; `kmesh-lab check` says what to do")
    for feature in FEATURES:
        if feature.name in names or (not names and feature.needed_by == ALL):
            probed = feature.probed()
            if not probed.present:
                raise probed.problem()


def _capable(capabilities: Mapping[str, int]) -> Outcome:
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    lacking = [name for name, bit in capabilities.items() if not effective >> bit & 1]
    if lacking:
        return False, f"user {os.geteuid()} lacks {' and '.join(lacking)}"
    return True, f"this process has {' and '.join(capabilities)}"


def _refused(error: Exception) -> Outcome:
    return (False, str(error)) if _capable(CAPABILITIES)[0] else (None, "not tried: run as root")


def _other_users() -> Outcome:
    present, how = _capable(OTHER_USERS)
    return (True, how) if present else _refused(NotPrivileged(how))


def _bcc() -> Outcome:
    try:
        import bcc
    except (ImportError, OSError) as error:  # OSError: libbcc.so.0 itself is missing
        return False, f"import bcc: {error}"
    if not hasattr(bcc, "BPF"):
        return False, f"{bcc.__file__} is another project of the same name"
    return True, f"importing it: {bcc.__version__}"


def _libbpf() -> Outcome:
    try:
        libbpf()
    except OSError as error:
        return False, str(error)
    return True, "loading it by ctypes"


def _cgroup2() -> Outcome:
    try:
        with LabCgroup.create() as lab:
            return True, f"making one in {lab.path.parent}"
    except NotPrivileged as error:
        return _refused(error)
    except LabError as error:
        return False, str(error).partition(": ")[0]  # what comes after is the remedy


def _link(kind: str) -> Outcome:
    def attempt() -> None:
        with IPRoute() as ip:
            if kind:
                ip.link("add", ifname="probe", kind=kind)

    try:
        run_in_new(attempt)
    except NotPrivileged as error:
        return _refused(error)
    except (OSError, NetlinkError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise  # it says nothing about the kernel
        return False, f"making one: {error}"
    return True, "making one in a namespace of its own" if kind else "making one"


def _socket(name: str, kind: socket.SocketKind) -> Outcome:
    try:
        socket.socket(getattr(socket, name), kind).close()  # by name, because macOS has no AF_PACKET to import
    except OSError as error:
        if error.errno == errno.EPERM:
            return None, "not tried: run as root, in a container with --cap-add NET_RAW"
        return False, f"socket({name}): {error.strerror}"
    return True, "opening one"


def _netns_cookie() -> Outcome:
    with socket.socket() as own:
        try:
            netns_cookie(own.fileno())
        except KernelNotSupported as error:
            return False, str(error)
    return True, "asking a socket for it"


def _load(kind: str, instructions: bytes, log: ctypes.Array[ctypes.c_char] | None = None) -> int:
    """Load a program and return its descriptor; the verifier's words go to ``log``."""
    attach_type = CGROUP_INET4_CONNECT if kind == "cgroup_sock_addr" else 0
    options = ProgramLoadOptions(expected_attach_type=attach_type)
    if log is not None:
        options.log_level, options.log_size, options.log_buf = 1, len(log), ctypes.addressof(log)
    count = len(instructions) // 8
    return call("bpf_prog_load", PROGRAM_TYPES[kind], b"kl_probe", b"GPL", instructions, count, ctypes.byref(options))


def _found(find: Callable[[], str], remedy: str) -> Outcome:
    try:
        return True, find()
    except NotPrivileged as error:
        return _refused(error)
    except LabError as error:
        return False, str(error).removesuffix(f"; {remedy}")  # it has a column of its own


def _bpf_call() -> Outcome:
    if not _libbpf()[0]:
        return None, "not tried without libbpf.so.1"
    try:
        os.close(_load("cgroup_sock_addr", RETURN_1))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS):
            return _refused(error)
    return True, "loading a program of two instructions"


def _bpf(attempt: Callable[[], bool], how: str) -> Outcome:
    allowed, reason = _bpf_call()  # first, because a probe of libbpf says "absent" when it may not try
    if not allowed:
        return None, reason if allowed is None else "not tried without the bpf system call"
    try:
        return attempt(), how
    except (OSError, LabError) as error:
        return False, f"{how}: {error}"


def _probe_type(function: str, number: int, how: str) -> Outcome:
    return _bpf(lambda: call(function, number, None) == 1, how)


def _helper(number: int, kind: str) -> Outcome:
    # libbpf_probe_bpf_helper of Debian 12 does not know the words of newer kernels, and says "yes" to everything.
    def attempt() -> bool:
        log = ctypes.create_string_buffer(8192)
        with suppress(OSError):  # for want of arguments, or because there is no such call: the log tells
            os.close(_load(kind, struct.pack("=BBhi", 0x85, 0, 0, number) + RETURN_1, log))
        return not any(words in log.value for words in (b"invalid func", b"unknown func", b"cannot use helper"))

    return _bpf(attempt, "the verifier's answer to a call of it")


def _bpf_link() -> Outcome:
    def attempt() -> bool:
        program = _load("cgroup_sock_addr", RETURN_1)
        try:
            with LabCgroup.create() as lab:
                cgroup = os.open(lab.path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.close(call("bpf_link_create", program, cgroup, CGROUP_INET4_CONNECT, None))
                finally:
                    os.close(cgroup)
        finally:
            os.close(program)
        return True

    return _bpf(attempt, "attaching a program to a cgroup of its own")


def _program(kind: str, config: str, since: str, needed_by: tuple[int, ...] = ALL) -> Feature:
    attempt = partial(_probe_type, "libbpf_probe_bpf_prog_type", PROGRAM_TYPES[kind], "loading an empty one")
    return Feature(f"{kind} programs", needed_by, attempt, config, since)


def _map(kind: str, config: str, since: str) -> Feature:
    attempt = partial(_probe_type, "libbpf_probe_bpf_map_type", MAP_TYPES[kind], "making an empty one")
    return Feature(f"{kind} maps", ALL, attempt, config, since)


def _call(name: str, number: int, kind: str, since: str) -> Feature:
    return Feature(f"{name} in {kind}", ALL, partial(_helper, number, kind), "", since)


def _tool(name: str, needed_by: tuple[int, ...], find: Callable[[], str], remedy: str) -> Feature:
    return Feature(name, needed_by, partial(_found, find, remedy), remedy=remedy, error=LabError)


# A node loads all its programs with all their maps, so every notebook needs what any of them uses.
FEATURES = (
    Feature("root privileges", ALL, partial(_capable, CAPABILITIES), remedy=ROOT_REMEDY, error=NotPrivileged),
    Feature("bcc", ALL, _bcc, remedy=BCC_REMEDY, error=LabError),
    Feature("libbpf.so.1", ALL, _libbpf, remedy="install Debian's libbpf1", error=LabError),
    Feature("writable cgroup2", ALL, _cgroup2, "CONFIG_CGROUPS", "4.5", CGROUP_REMEDY, CgroupUnavailable),
    Feature("network namespaces", ALL, partial(_link, ""), "CONFIG_NET_NS", "3.0"),
    Feature("SO_NETNS_COOKIE", ALL, _netns_cookie, "CONFIG_NET_NS", "5.14"),
    Feature("veth pairs", ALL, partial(_link, "veth"), "CONFIG_VETH"),
    Feature("bridges", ALL, partial(_link, "bridge"), "CONFIG_BRIDGE"),
    Feature("IPv6", IPV6, partial(_socket, "AF_INET6", socket.SOCK_STREAM), "CONFIG_IPV6"),
    Feature("packet sockets", CAPTURE, partial(_socket, "AF_PACKET", socket.SOCK_RAW), "CONFIG_PACKET"),
    Feature("bpf system call", ALL, _bpf_call, "CONFIG_BPF_SYSCALL", "3.18", BPF_REMEDY, NotPrivileged),
    _program("cgroup_sock_addr", "CONFIG_CGROUP_BPF", "4.17"),
    _program("sock_ops", "CONFIG_CGROUP_BPF", "4.13"),
    _program("sk_msg", "CONFIG_NET_SOCK_MSG", "4.17"),
    _program("cgroup_skb", "CONFIG_CGROUP_BPF", "4.10"),
    _map("hash", "CONFIG_BPF_SYSCALL", "3.19"),
    _map("prog_array", "CONFIG_BPF_SYSCALL", "4.2"),
    _map("sk_storage", "CONFIG_BPF_SYSCALL", "5.2"),
    _map("ringbuf", "CONFIG_BPF_SYSCALL", "5.8"),
    _map("sockhash", "CONFIG_NET_SOCK_MSG", "4.18"),
    _call("get_netns_cookie", 122, "cgroup_sock_addr", "5.7"),
    _call("get_socket_cookie", 46, "cgroup_sock_addr", "4.19"),
    _call("sk_storage_get", 107, "cgroup_sock_addr", "5.3"),
    _call("ringbuf_reserve", 131, "cgroup_sock_addr", "5.8"),
    _call("sock_hash_update", 70, "sock_ops", "4.18"),
    _call("sk_storage_get", 107, "sk_msg", "5.8"),
    _call("msg_push_data", 90, "sk_msg", "4.20"),
    _call("tcp_sock", 96, "cgroup_skb", "5.1"),
    Feature("bpf_link on cgroups", ALL, _bpf_link, "CONFIG_CGROUP_BPF", "5.7"),
    _tool("Envoy", SIDECARS, find_envoy, ENVOY_REMEDY),
    _tool("iptables REDIRECT", SIDECARS, find_nat, NAT_REMEDY),
    Feature("a user for Envoy", SIDECARS, _other_users, remedy=USER_REMEDY, error=NotPrivileged),
    _program("raw_tracepoint", "CONFIG_BPF_EVENTS", "4.17", COMPARISON),
    _tool("C compiler", COMPARISON, find_compiler, COMPILER_REMEDY),
)
