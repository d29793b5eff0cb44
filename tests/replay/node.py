"""The programs under test on a cgroup, their maps, and the observers behind them."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmesh_lab.errors import CompileError
from kmesh_lab.kernel.compiler import compile_c
from kmesh_lab.kernel.maps import Map
from kmesh_lab.kernel.objectfile import ObjectFile
from kmesh_lab.kernel.program import Module, Program
from kmesh_lab.kernel.ringbuf import RingBuffer

from . import wire

WATCH = Path(__file__).with_name("watch.c")
OBJECTS = ("cgroup_sock", "sockops", "sendmsg", "cgroup_skb")
TRACE = {"KL_TRACE": 1, "KL_TRACE_RING_SIZE": 1 << 20}
ROWS = ("km_frontend", "km_service", "km_endpoint", "km_backend")
RINGS = ("km_tcp_probe", "km_auth_req", "kl_trace")
HOOKS = {10: "connect4", 11: "connect6", 14: "sendmsg4", 15: "sendmsg6", 19: "recvmsg4", 20: "recvmsg6"}
_TAIL_CALLS = (("km_cgr_tailcall", 0, "cgroup_connect4_prog"), ("km_cgr_tail6", 1, "cgroup_connect6_prog"))
_COLUMN = 64  # MAX_SEEN of watch.c
_KL_SOCKHASH = 15  # kl_step.step when sockops has put a socket into km_socket, or could not


@dataclass(frozen=True)
class Build:
    """Which text, by which compiler; ``objects`` is the folder of the .o files of clang."""

    toolchain: str
    bpf: Path
    trace: bool
    objects: Path

    def compile(self) -> None:
        """Compile once for all jobs; they inherit bcc's image by fork, and find clang's files."""
        compile_c(WATCH, {})
        if self.toolchain == "bcc":
            compile_c(self.bpf / "kmesh.c", TRACE if self.trace else {})
            return
        self.objects.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._clang, OBJECTS))

    def _clang(self, name: str) -> None:
        flags = f"-O2 -g -target bpf -Wall -Werror -idirafter /usr/include/{os.uname().machine}-linux-gnu".split()
        flags += [f"-D{key}={value}" for key, value in TRACE.items()] if self.trace else []
        command = ["clang", *flags, "-c", str(self.bpf / f"{name}.c"), "-o", str(self.objects / f"{name}.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompileError(f"clang: {name}.c did not compile:\n{done.stderr}", done.stderr)

    def load(self, stack: ExitStack) -> tuple[dict[str, Map], dict[str, Program]]:
        """A set of maps of its own, and the programs that use them."""
        if self.toolchain == "bcc":
            module = Module(self.bpf / "kmesh.c", TRACE if self.trace else {})
            stack.callback(module.close)
            return module.maps, {name: module.load(name) for name in module.sections}
        maps: dict[str, Map] = {}
        programs: dict[str, Program] = {}
        for name in OBJECTS:
            file = stack.enter_context(ObjectFile(self.objects / f"{name}.o", reuse=maps))
            maps = file.maps | maps
            programs |= file.programs
        return maps, programs


@dataclass(frozen=True)
class Seen:
    """One run of a hook, as the observer behind the program under test saw its context."""

    hook: str
    family: int
    user_family: int
    place: dict[str, Any]


class Node:
    """Programs, maps, rings and observers, until `close`."""

    def __init__(self, build: Build, cgroup: Path) -> None:
        self._stack = ExitStack()
        self.maps, self.programs = build.load(self._stack)
        watch = Module(WATCH)
        self._stack.callback(watch.close)
        self.watch = {name: watch.load(name) for name in watch.sections}
        self.listeners = watch.maps["listeners"]
        self.rings = {name: RingBuffer(self.maps[name]) for name in RINGS if name in self.maps}
        self._seen = mmap.mmap(watch.maps["seen"].fd, mmap.PAGESIZE)
        self._attach(cgroup)

    def _attach(self, cgroup: Path) -> None:
        """Ours first: programs of one cgroup run in the order in which they were attached."""
        descriptor = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        for program in [*self.programs.values(), *self.watch.values()]:
            if program.section == "sk_msg":
                program.attach_to_map(self.maps["km_socket"])
            elif program.section != "sk_lookup":
                self._stack.callback(program.attach(descriptor).close)
        os.close(descriptor)

    def steer(self, slot: int, netns: int) -> None:
        """From now on every TCP connect in a namespace reaches the listener in this slot, if there is one."""
        self._stack.callback(self.watch[("steer_first", "steer_second")[slot]].attach(netns).close)

    def listen(self, slot: int, listener: socket.socket) -> None:
        """Put a listener into a slot."""
        self.listeners.update(struct.pack("=i", slot), struct.pack("=Q", listener.fileno()))

    def refuse(self, slot: int) -> None:
        """Empty the slot: a connect is refused where nobody listens, as with no steering at all."""
        self.listeners.delete(struct.pack("=i", slot))

    # ---- maps

    def reset(self, config: Mapping[str, Sequence[Mapping[str, str]]], manage: Mapping[bytes, bytes]) -> None:
        """The maps as before a vector: its rows and no others, no records, Kmesh's default switches."""
        for name in (*ROWS, "km_auth_res"):
            self._replace(self.maps[name], {})
        for kind, rows in config.items():
            if f"km_{kind}" not in ROWS:
                raise wire.Unknown(f"config.{kind}: this harness does not know the map")
            filled = {bytes.fromhex(row["key_hex"]): bytes.fromhex(row["value_hex"]) for row in rows}
            self._replace(self.maps[f"km_{kind}"], filled)
        self.set_manage(manage)
        self.configure()
        self.tail_calls(True)
        self.drain()

    @staticmethod
    def _replace(target: Map, rows: Mapping[bytes, bytes]) -> None:
        for key in list(target.keys()):
            target.delete(key)
        for key, value in rows.items():
            target.update(key, value)

    def set_manage(self, rows: Mapping[bytes, bytes]) -> None:
        """km_manage holds these rows and no others."""
        self._replace(self.maps["km_manage"], rows)

    def manage(self) -> dict[bytes, bytes]:
        """The rows of km_manage."""
        km_manage = self.maps["km_manage"]
        return {key: km_manage.lookup(key) or b"" for key in list(km_manage.keys())}

    def tail_calls(self, present: bool) -> None:
        """Fill or empty the slots through which a connect program starts again."""
        for array, index, name in _TAIL_CALLS:
            slot = struct.pack("=i", index)
            if present:
                self.maps[array].update(slot, struct.pack("=i", self.programs[name].fd))
            else:
                self.maps[array].delete(slot)

    def configure(
        self, monitoring: int = 1, periodic: int = 0, node_ip: bytes = bytes(16), pod_gateway: bytes = bytes(16)
    ) -> None:
        """Kmesh's global variables, which here are one row of kl_config."""
        row = struct.pack("=II16s16s", not monitoring, periodic, node_ip, pod_gateway)
        self.maps["kl_config"].update(bytes(4), row)

    def storage(self, sock: socket.socket) -> bytes | None:
        """The row of km_sockstorage of one socket."""
        return self.maps["km_sockstorage"].lookup(struct.pack("=i", sock.fileno()))

    def set_storage(self, sock: socket.socket, data: bytes) -> None:
        """Write a socket's row."""
        self.maps["km_sockstorage"].update(struct.pack("=i", sock.fileno()), data)

    def sockets(self) -> list[bytes]:
        """The keys of km_socket."""
        return list(self.maps["km_socket"].keys())

    # ---- what happened

    def drain(self) -> None:
        """Forget everything reported and seen so far."""
        for ring in self.rings.values():
            ring.drain()
        self.forget()

    def probes(self) -> list[dict[str, Any]]:
        """The km_tcp_probe records since the last call."""
        return [wire.probe(record) for record in self.rings["km_tcp_probe"].drain()]

    def auths(self) -> list[dict[str, Any]]:
        """The km_auth_req records since the last call."""
        return [wire.auth(record) for record in self.rings["km_auth_req"].drain()]

    def sockhash_errors(self) -> list[int]:
        """What inserting into km_socket returned, where that was not 0; the build must have the trace."""
        steps = [struct.unpack_from("=QQIIi", record) for record in self.rings["kl_trace"].drain()]
        return [ret for _, _, step, _, ret in steps if step == _KL_SOCKHASH and ret]

    def forget(self) -> None:
        """Forget the runs of hooks seen so far."""
        self._seen[0:4] = bytes(4)

    def runs(self) -> int:
        """How many times a hook ran since `forget`."""
        return int.from_bytes(self._seen[0:4], "little")

    def seen(self) -> list[Seen]:
        """The runs of hooks since `forget`."""
        count = self.runs()
        if count > _COLUMN:
            raise wire.Unknown(f"{count} runs of hooks, more than watch.c can hold")
        columns = [self._seen[4 + 4 * _COLUMN * number :][: 4 * _COLUMN] for number in range(8)]
        return [_run([column[4 * row : 4 * row + 4] for column in columns]) for row in range(count)]

    def close(self) -> None:
        """Detach and free everything."""
        for ring in self.rings.values():
            ring.close()
        self._seen.close()
        self._stack.close()


def _run(fields: list[bytes]) -> Seen:
    hook, family, user_family = (int.from_bytes(field, "little") for field in fields[:3])
    address = fields[4] if user_family == socket.AF_INET else b"".join(fields[4:])
    return Seen(HOOKS.get(hook, str(hook)), family, user_family, wire.place(address, wire.u16be(fields[3])))
