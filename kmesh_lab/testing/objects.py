"""Object files by hand: clang makes a ``.o``, libbpf loads it, and a socket of ours meets the program.

A machine without clang (``make lab`` does not install it: it takes 160 MB) uses the clang that is inside bcc. What
comes out is the same: programs and maps by name.
"""

from __future__ import annotations

import platform
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from kmesh_lab.display import html_table, one_line
from kmesh_lab.errors import CompileError
from kmesh_lab.kernel.compiler import BPF_DIR, compile_c
from kmesh_lab.kernel.maps import Map
from kmesh_lab.kernel.objectfile import ObjectFile
from kmesh_lab.kernel.program import Module, Program
from kmesh_lab.kernel.source import find_source
from kmesh_lab.kernel.testrun import outcome_on_packet

__all__ = ["Compiled", "Loaded", "PacketRuns", "compile_object", "packet_runs", "pair", "socket_key", "storage_row"]

_BUILD = BPF_DIR.parent / "build"
_TUPLE_SIZE = 36  # struct bpf_sock_tuple of linux/bpf.h


@dataclass(frozen=True, repr=False)
class Compiled:
    """A compiled C file of bpf/; ``command`` is how it was made, ``path`` the object file, None if bcc has to do."""

    source: Path
    command: str
    path: Path | None

    def load(self) -> Loaded:
        """Make the maps and let the verifier see the programs."""
        with ExitStack() as stack:
            if self.path is not None:
                file = stack.enter_context(ObjectFile(self.path))
                programs, maps = dict(file.programs), dict(file.maps)
            else:
                module = Module(self.source)
                stack.callback(module.close)
                programs, maps = {name: module.load(name) for name in module.sections}, module.maps
            return Loaded(self.source.stem, programs, maps, stack.pop_all())

    def __repr__(self) -> str:
        return f"<Compiled {self.command}>"


class Loaded:
    """Programs and maps in the kernel, by name, until `close`."""

    def __init__(self, name: str, programs: Mapping[str, Program], maps: Mapping[str, Map], stack: ExitStack) -> None:
        self.name, self.programs, self.maps, self._stack = name, programs, maps, stack

    def close(self) -> None:
        """Give all of it back; a second time, do nothing."""
        self._stack.close()

    def __repr__(self) -> str:
        return one_line(f"<Loaded {self.name}: {', '.join(self.programs)}; {', '.join(self.maps)}>")

    def _repr_html_(self) -> str:
        programs = [(each.name, f"program, {each.section}") for each in self.programs.values()]
        maps = [(each.name, f"map, key {each.key_size} B, value {each.value_size} B") for each in self.maps.values()]
        return html_table(self.name, [*programs, *maps])


def compile_object(name: str) -> Compiled:
    """Compile a file of bpf/ for the target bpf, for example ``sendmsg.c``, to build/sendmsg.o.

    Raises `kmesh_lab.errors.CompileError` with clang's output in ``.log``.
    """
    source = find_source(BPF_DIR, name)
    if shutil.which("clang") is None:
        return Compiled(source, f"bcc: {name}, in memory", None)
    _BUILD.mkdir(exist_ok=True)
    target = _BUILD / f"{source.stem}.o"
    flags = f"-O2 -g -target bpf -mcpu=v2 -Ibpf/include -idirafter /usr/include/{platform.machine()}-linux-gnu"
    command = f"clang {flags} -c bpf/{source.relative_to(BPF_DIR)} -o build/{target.name}"
    done = subprocess.run(command.split(), cwd=BPF_DIR.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        wanted = "; `apt-get install libbpf-dev linux-libc-dev`" if "file not found" in done.stderr else ""
        raise CompileError(
            f"clang: {name} did not compile{wanted}. The compiler's whole output is in .log", done.stderr
        )
    return Compiled(source, command, target)


# ---- a socket, and what the programs know about it


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a real TCP connection on loopback: the client's and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        server, _ = listener.accept()
    server.settimeout(5)
    return client, server


def socket_key(sock: socket.socket) -> bytes:
    """The key of an IPv4 socket in km_socket: its four-tuple, all in network order (struct bpf_sock_tuple)."""
    (local, local_port), (remote, remote_port) = sock.getsockname(), sock.getpeername()
    addresses = socket.inet_aton(local) + socket.inet_aton(remote)
    return (addresses + struct.pack("!HH", local_port, remote_port)).ljust(_TUPLE_SIZE, b"\0")


def storage_row(address: str, port: int) -> bytes:
    """A value of km_sockstorage: the socket goes to a waypoint, and wanted to go to this IPv4 address and port."""
    layout = compile_c(BPF_DIR / "kmesh.c", {}).maps["km_sockstorage"].value
    ipv4 = layout.variant("sk_tuple.__anon0", "ipv4")
    wanted = ipv4.pack(daddr=int.from_bytes(ip_address(address).packed, sys.byteorder), dport=socket.htons(port))
    return layout.pack(via_waypoint=1, has_set_ip=1, **{"sk_tuple.__anon0": wanted})


# ---- which programs can be run on a packet


@dataclass(frozen=True, repr=False)
class PacketRuns(Mapping[str, str]):
    """Program → what BPF_PROG_TEST_RUN said: ``returned 1``, or the name of an errno."""

    _rows: Mapping[str, tuple[str, str]]

    def __getitem__(self, name: str) -> str:
        return self._rows[name][1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return one_line(f"<PacketRuns {dict(self)}>")

    def _repr_html_(self) -> str:
        rows = [(name, *row) for name, row in self._rows.items()]
        return html_table("BPF_PROG_TEST_RUN", rows, header=("program", "hook", "the kernel"))


def packet_runs(programs: Mapping[str, Program]) -> PacketRuns:
    """Ask the kernel to run each program on a made-up packet."""
    return PacketRuns({name: (program.section, outcome_on_packet(program)) for name, program in programs.items()})
